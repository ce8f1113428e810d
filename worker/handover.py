"""Candidacies that `lc job announce` made in this worker's home, taken over so that the worker reveals them in time."""

from pathlib import Path

import structlog

from abci_app.protocol.hashing import compute_model_commitment
from learningchain.claims import Claim, ClaimError, Claims
from worker import events as ev
from worker.models.store import ModelStore, ModelStoreError
from worker.state import Memory
from worker.view import ChainView

log = structlog.get_logger()


class Handover:
    """Finds claims of commitments that stand in a list and that the journal does not know."""

    def __init__(self, claims: Claims, store: ModelStore) -> None:
        """Look into the home's claims; their models go into `store`."""
        self._claims = claims
        self._store = store
        self._told: set[bytes] = set()
        self._wrong: dict[bytes, tuple[int, ...]] = {}
        """By commitment the state of a file that turned out to be another model: it is not copied again as it is."""

    def find(self, view: ChainView, memory: Memory) -> list[tuple[int, bytes]]:
        """Return jobs with this account's commitments in their lists that the journal cannot open."""
        own = [(job_id, view.get_candidacy(job_id)) for job_id in view.jobs]
        standing = [(job_id, entry.commitment) for job_id, entry in own if entry is not None]
        return [entry for entry in standing if not _is_known(memory, view.me.address, *entry)]

    def take_over(self, job_id: int, commitment: bytes) -> ev.Announced | None:
        """Copy in the model of a claim and return what is to be remembered; None if there is none, or no use of it."""
        try:
            claim = self._claims.find(commitment)
            return None if claim is None else self._take(claim)
        except (ClaimError, ModelStoreError, OSError) as error:
            self._tell(commitment, job_id, str(error))
            return None

    def _take(self, claim: Claim) -> ev.Announced:
        path = Path(claim.path)
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        is_wrong = self._wrong.get(claim.commitment) == state
        digest = b"" if is_wrong else self._store.add_file(path, claim.size)
        if digest != claim.digest:
            self._wrong[claim.commitment] = state
            raise ClaimError(f"{claim.path} is not the model that was announced")
        log.info("announcement_taken_over", job=claim.job_id, loss=claim.loss, model=digest.hex())
        return ev.Announced(claim.job_id, digest, claim.salt, claim.loss)

    def _tell(self, commitment: bytes, job_id: int, reason: str) -> None:
        """Say it once: it is tried again with every block."""
        if commitment not in self._told:
            self._told.add(commitment)
            log.warning("announcement_not_taken_over", job=job_id, reason=reason)


def _is_known(memory: Memory, account: bytes, job_id: int, commitment: bytes) -> bool:
    return any(
        commitment == compute_model_commitment(memory.chain_tag, job, account, digest, own.salt)
        for (job, digest), own in memory.announced.items()
        if job == job_id
    )
