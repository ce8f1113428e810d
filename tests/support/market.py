"""A chain with a contractor, workers and checkers, and short words for what they do with jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.block import TxResult
from abci_app.protocol.events import Event
from abci_app.protocol.hashing import compute_model_commitment, compute_vote_commitment
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Chain, Holding

IMAGE: Final = "registry.example/job@sha256:" + "0123456789abcdef" * 4
SALT: Final = b"s" * 32
RECEIPT: Final = b"r" * 32
TERMS: Final[Mapping[str, Any]] = {
    "image": IMAGE,
    "title": "digits",
    "metric": "log loss",
    "bounty": 10 * UCREDIT,
    "verify_fee": 3 * UCREDIT // 2,
    "free_places": 1,
    "reveal_window_ms": 10_000,
    "tolerance": 1_000,
    "ban_margin": 100_000,
    "min_improvement": 2_000,
    "loss_ceiling": 2**40,
}
"""Terms of a job of class 0, without its expiry."""
JOB_MS: Final = 20_000
"""How long the jobs of tests are open."""
CHECKERS: Final = {f"checker{number}": Holding(bond=100 * UCREDIT, checker=2) for number in range(5)}
WORKERS: Final = ("worker0", "worker1", "worker2", "worker3", "worker4", "worker5")


@dataclass(frozen=True)
class Finding:
    """What a checker says about a model."""

    finding: int = tx_pb2.FINDING_MEASURED
    loss: int = 0
    receipt: bytes = RECEIPT


def measured(loss: int, receipt: bytes = RECEIPT) -> Finding:
    """The model was run and had this loss."""
    return Finding(loss=loss, receipt=receipt)


OVERRUN: Final = Finding(tx_pb2.FINDING_OVERRUN, receipt=b"")
UNAVAILABLE: Final = Finding(tx_pb2.FINDING_UNAVAILABLE, receipt=b"")
UNRUNNABLE: Final = Finding(tx_pb2.FINDING_UNRUNNABLE, receipt=b"")


def digest_of(name: str) -> bytes:
    """Return the model digest that a worker of this name commits to."""
    return (name.encode() + bytes(32))[:32]


class Market(Chain):
    """A chain whose contractor is `carl`, whose workers are `WORKERS`; other accounts are checkers."""

    def __init__(
        self,
        checkers: Mapping[str, Holding] | None = None,
        overrides: Mapping[str, int] | None = None,
        audited: bool = True,
    ) -> None:
        checkers = CHECKERS if checkers is None else checkers
        accounts = {"carl": Holding(), **{name: Holding() for name in WORKERS}, **checkers}
        super().__init__("minimal", accounts, overrides=overrides, audited=audited)
        self.block()

    # --- messages -------------------------------------------------------------------------------------------------

    def terms(self, **changed: Any) -> tx_pb2.SubmitJob:
        """Return a valid SubmitJob with some fields changed."""
        runner_ups = changed.get("runner_ups", 0)
        base = {**TERMS, "free_places": 1 + runner_ups, "expiry_ms": self.time_ms + JOB_MS}
        return tx_pb2.SubmitJob(**{**base, **changed})

    def announcement(
        self, worker: str, job_id: int, loss: int, secured: bool = False, digest: bytes | None = None
    ) -> tx_pb2.Announce:
        """Return an Announce that commits to the worker's model."""
        digest = digest_of(worker) if digest is None else digest
        commitment = compute_model_commitment(self.tag, job_id, self.address(worker), digest, SALT)
        return tx_pb2.Announce(job_id=job_id, loss=loss, commitment=commitment, secured=secured)

    def revelation(self, worker: str, job_id: int, **changed: Any) -> tx_pb2.Reveal:
        """Return the Reveal that opens the worker's commitment."""
        base = {"model_digest": digest_of(worker), "size": 1_000, "salt": SALT, "locations": ["https://w.example/m"]}
        return tx_pb2.Reveal(job_id=job_id, **{**base, **changed})

    def commitment(
        self, checker: str, job_id: int, found: Finding, round_number: int | None = None
    ) -> tx_pb2.CommitVote:
        """Return the CommitVote for a finding."""
        number = self.job(job_id).round if round_number is None else round_number
        address = self.address(checker)
        commitment = compute_vote_commitment(
            self.tag, job_id, number, address, found.finding, found.loss, found.receipt, SALT
        )
        return tx_pb2.CommitVote(job_id=job_id, round=number, commitment=commitment)

    def vote(self, job_id: int, found: Finding, **changed: Any) -> tx_pb2.RevealVote:
        """Return the RevealVote of a finding."""
        base = {
            "round": self.job(job_id).round,
            "finding": found.finding,
            "loss": found.loss,
            "receipt": found.receipt,
            "salt": SALT,
        }
        return tx_pb2.RevealVote(job_id=job_id, **{**base, **changed})

    # --- steps ----------------------------------------------------------------------------------------------------

    def submit(self, contractor: str = "carl", **changed: Any) -> int:
        """Submit a job and return its id."""
        result = self.must(contractor, self.terms(**changed))
        return int(get_attribute(result.events, "job.submitted", "job_id"))

    def announce(self, worker: str, job_id: int, loss: int, secured: bool = False) -> TxResult:
        """Announce successfully."""
        return self.must(worker, self.announcement(worker, job_id, loss, secured))

    def expire(self, job_id: int) -> None:
        """Make blocks until the present deadline of the job is processed."""
        self.skip_to(self.job(job_id).deadline_ms)

    def reveal(self, worker: str, job_id: int) -> TxResult:
        """Reveal the worker's model."""
        return self.must(worker, self.revelation(worker, job_id))

    def open_vote(self, worker: str = "worker0", loss: int = 0, **terms: Any) -> int:
        """Bring a new job with one announcement to VOTE and return its id."""
        job_id = self.submit(**terms)
        self.announce(worker, job_id, loss, secured=bool(terms.get("deposit")))
        self.expire(job_id)
        self.reveal(worker, job_id)
        return job_id

    def seats(self, job_id: int) -> dict[str, int]:
        """Return the seats of the present round by name of the seated account."""
        names = {self.address(name): name for name in self.wallets}
        votes = self.round(job_id, self.job(job_id).round).votes
        return {names[vote.account]: vote.seats for vote in votes}

    def commit_votes(self, job_id: int, findings: Mapping[str, Finding]) -> None:
        """Let the named accounts commit, in one block."""
        results = self.block([(name, self.commitment(name, job_id, found)) for name, found in findings.items()])
        assert [result.code for result in results.tx_results] == [0] * len(findings)

    def reveal_votes(self, job_id: int, findings: Mapping[str, Finding]) -> None:
        """Let the named accounts reveal what they committed to, in one block."""
        results = self.block([(name, self.vote(job_id, found)) for name, found in findings.items()])
        assert [result.code for result in results.tx_results] == [0] * len(findings)

    def decide(self, job_id: int, findings: Mapping[str, Finding]) -> None:
        """Let the named seated accounts vote; the others stay silent and both windows run out for them."""
        number = self.job(job_id).round
        self.commit_votes(job_id, findings)
        while self.job(job_id).state == pb.JOB_STATE_VOTE:
            self.expire(job_id)
        self.reveal_votes(job_id, findings)
        assert self.round(job_id, number).outcome

    def decide_all(self, job_id: int, found: Finding) -> None:
        """Let all seated accounts find the same."""
        self.decide(job_id, dict.fromkeys(self.seats(job_id), found))


def get_attribute(events: tuple[Event, ...] | list[Event], kind: str, name: str) -> str:
    """Return an attribute of the only event of a type."""
    (found,) = [event for event in events if event.type == kind]
    return dict(found.attributes)[name]


def name_of(code: int) -> str:
    """Return the stable name of a result code, `ok` for 0."""
    return "ok" if code == 0 else errors.REASONS[code].name
