"""Carrying out instructions: one coroutine each. What they find out goes back to the daemon as a happening."""

import asyncio
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment, compute_vote_commitment
from abci_app.protocol.limits import RESERVED_LOSS, SALT_BYTES
from learningchain.claims import Claims
from learningchain.client import ChainClient, Relay, Sender
from learningchain.models import get_model_url
from learningchain.wallet import SecretKey
from worker import events as ev
from worker.models.store import ModelStore, StoreFull
from worker.models.transfer import ModelTransfer, TransferError
from worker.models.uploads import UploadClaim
from worker.sandbox import (
    BrokenImageError,
    Evaluation,
    Finding,
    OwnFailureError,
    Sandbox,
    limits_of_class,
)
from worker.state import WorkerState
from worker.turns import Turns
from worker.view import ChainView

log = structlog.get_logger()

SEND_SECONDS = 30.0
"""How long to wait for a transaction to be in a block."""
RELAYS = 3
"""Relays that a model is brought to."""
FETCH_PAUSE_SECONDS = 2.0
"""Between two rounds over the sources of a model; doubled after each, up to the longest."""
LONGEST_PAUSE_SECONDS = 16.0
NEAR_RELAYS = 2 * RELAYS
"""Relays asked before the candidate's own locations; the rest of a long list comes after them."""


class ActionFailed(Exception):
    """An instruction could not be carried out now; the text says why."""


@dataclass(slots=True)
class Tools:
    """What actions work with."""

    client: ChainClient
    sender: Sender
    key: SecretKey
    account: bytes
    chain_tag: bytes
    sandbox: Sandbox
    store: ModelStore
    transfer: ModelTransfer
    endpoint: str
    scratch: Path
    claims: Claims


class Actions:
    """The instructions that end by themselves; training is in `training.py`."""

    def __init__(self, tools: Tools, state: WorkerState, deliver: Callable[[ev.Happening], None]) -> None:
        """Read the view and the memory of `state`, tell `deliver` what happened."""
        self._tools = tools
        self._state = state
        self._deliver = deliver
        self._turns = Turns()

    async def carry_out(self, todo: ev.Instruction) -> None:
        """Carry out any instruction but those about trainings. Raises one of EXPECTED_FAILURES or a ClientError."""
        match todo:
            case ev.Evaluate():
                await self.evaluate(todo)
            case ev.Check():
                await self.check(todo)
            case ev.Announce() | ev.Upload() | ev.Reveal():
                await self._carry_out_candidacy(todo)
            case ev.CommitVote():
                await self.commit_vote(todo)
            case ev.RevealVote():
                await self.reveal_vote(todo)
            case ev.Forget():
                await self.forget(todo)

    async def _carry_out_candidacy(self, todo: ev.Announce | ev.Upload | ev.Reveal) -> None:
        match todo:
            case ev.Announce():
                await self.announce(todo)
            case ev.Upload():
                await self.upload(todo)
            case ev.Reveal():
                await self.reveal(todo)

    def _get_job(self, job_id: int) -> pb.Job:
        job = None if self._state.view is None else self._state.view.jobs.get(job_id)
        if job is None:
            raise ActionFailed("the job is over")
        return job

    def _get_class(self, job: pb.Job) -> pb.EvaluationClass:
        if self._state.view is None:
            raise ActionFailed("nothing is known of the chain yet")
        return self._state.view.params.classes[job.terms.job_class]

    async def evaluate(self, todo: ev.Evaluate) -> None:
        """Measure an own model several times, each in a fresh sandbox. Checks go before each of them."""
        job = self._get_job(todo.job_id)
        path = self._get_model(todo.digest)
        losses: list[int] = []
        use = 0.0
        for _ in range(self._state.policy.evaluations):
            async with self._turns.take((1, -job.bounty)):
                result = await self._measure(job, path)
            use = max(use, result.usage.largest)
            if not result.has_score:
                log.warning("own_model_without_score", job=job.id, finding=result.finding.name, detail=result.detail)
                # One that scores now and then not by itself is as noisy as one that scores differently.
                losses = [*losses, RESERVED_LOSS] if result.finding is Finding.MEASURED else []
                break
            losses.append(result.loss_nano)
        self._deliver(ev.Evaluated(todo.job_id, todo.digest, tuple(losses), math.ceil(100 * use)))

    async def check(self, todo: ev.Check) -> None:
        """Fetch the revealed model, run it, and remember the finding with a fresh salt."""
        job = self._get_job(todo.job_id)
        found = None if self._state.view is None else self._state.view.rounds.get(job.id)
        if self._state.view is None or found is None or found.number != todo.round:
            raise ActionFailed("the round is over")
        try:
            async with asyncio.timeout(max(0, job.deadline_ms - self._state.view.now_ms) / 1000):
                finding, loss, receipt = await self._find(job, found)
        except TimeoutError:
            raise ActionFailed("the window for votes closed before there was a finding") from None
        log.info("measured", job=job.id, round=todo.round, finding=finding, loss=loss)
        salt = secrets.token_bytes(SALT_BYTES)
        self._deliver(ev.Measured(todo.job_id, todo.round, finding, loss, receipt, salt))

    async def _find(self, job: pb.Job, current: pb.Round) -> tuple[int, int, bytes]:
        """Return finding, loss and receipt. The image comes first: one that does not run says nothing of a model."""
        fetching = asyncio.create_task(self._fetch(job, current))
        try:
            await self._prepare(job)
            path = await fetching
        except BrokenImageError as error:
            log.warning("unrunnable", job=job.id, reason=str(error))
            return tx_pb2.FINDING_UNRUNNABLE, 0, b""
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        if path is None:
            return tx_pb2.FINDING_UNAVAILABLE, 0, b""
        if self._tools.store.may_promise(current.size):
            self._tools.store.keep(current.model_digest, self._get_retention_seconds())
        async with self._turns.take((0, -job.bounty)):
            result = await self._measure(job, path)
        measured = result.finding is Finding.MEASURED
        receipt = b"" if result.finding is Finding.UNRUNNABLE else result.receipt
        return int(result.finding), result.loss_nano if measured else 0, receipt

    async def _prepare(self, job: pb.Job) -> None:
        """Pull the eval image and try its sample. Raises BrokenImageError, OwnFailureError."""
        image, limits = job.terms.eval_image or job.terms.image, limits_of_class(self._get_class(job))
        await asyncio.to_thread(self._tools.sandbox.prepare, image, limits.image_mib)
        async with self._turns.take((0, -job.bounty)):
            await asyncio.to_thread(self._tools.sandbox.check_sample, image, limits)

    def keep_own(self, view: ChainView, job_id: int, digest: bytes) -> None:
        """Keep an announced model until its job is over, however long it is open, and for the retention after that."""
        job = view.jobs.get(job_id)
        left_ms = 0 if job is None else job.deadline_ms - view.now_ms
        self._tools.store.keep(digest, (left_ms + view.params.model_retention_ms) / 1000)

    def _get_retention_seconds(self) -> float:
        return 0.0 if self._state.view is None else self._state.view.params.model_retention_ms / 1000

    async def _fetch(self, job: pb.Job, current: pb.Round) -> Path | None:
        """Try relays, then locations, again and again until only the time of an evaluation is left."""
        digest = current.model_digest
        end = job.deadline_ms - 1000 * self._get_class(job).seconds
        pause, patience = FETCH_PAUSE_SECONDS, 1
        while self._state.view is not None:
            sources = await self._list_sources(digest, current.locations)
            seconds = (end - self._state.view.now_ms) / 1000
            path = await self._tools.transfer.fetch(
                digest, current.size, sources, max(seconds, FETCH_PAUSE_SECONDS), patience
            )
            if path is not None or seconds <= pause:
                return path
            await asyncio.sleep(pause)
            pause, patience = min(2 * pause, LONGEST_PAUSE_SECONDS), 2 * patience
        return None

    async def _list_sources(self, digest: bytes, locations: Sequence[str]) -> list[str]:
        """Return where a model may be: relays in the order in which its candidate tried them, and its locations."""
        relays = [get_model_url(relay.endpoint, digest) for relay in await self._list_relays(digest)]
        return [*relays[:NEAR_RELAYS], *locations, *relays[NEAR_RELAYS:]]

    async def _list_relays(self, digest: bytes) -> list[Relay]:
        """Return all relays but this node. The digest says where to begin: every model begins elsewhere in the list."""
        relays = [relay for relay in await self._tools.client.list_relays() if relay.account != self._tools.account]
        start = int.from_bytes(digest[:4], "big") % max(1, len(relays))
        return relays[start:] + relays[:start]

    async def _measure(self, job: pb.Job, path: Path) -> Evaluation:
        image = job.terms.eval_image or job.terms.image
        limits = limits_of_class(self._get_class(job))
        return await asyncio.to_thread(self._tools.sandbox.evaluate, image, path, limits)

    def _get_model(self, digest: bytes) -> Path:
        path = self._tools.store.get_path(digest)
        if path is None:
            raise ActionFailed("the model is not in the store any more")
        return path

    async def announce(self, todo: ev.Announce) -> None:
        """Commit to a model; digest and salt are in the journal before anything is sent."""
        self._get_model(todo.digest)
        known = self._state.memory.announced.get((todo.job_id, todo.digest))
        salt = secrets.token_bytes(SALT_BYTES) if known is None else known.salt
        if self._state.view is not None:
            self.keep_own(self._state.view, todo.job_id, todo.digest)
        self._deliver(ev.Announced(todo.job_id, todo.digest, salt, todo.loss))
        tools = self._tools
        commitment = compute_model_commitment(tools.chain_tag, todo.job_id, tools.account, todo.digest, salt)
        await self._send(
            tx_pb2.Announce(job_id=todo.job_id, loss=todo.loss, commitment=commitment, secured=todo.secured)
        )
        log.info("announced", job=todo.job_id, loss=todo.loss, model=todo.digest.hex())

    async def upload(self, todo: ev.Upload) -> None:
        """Bring the model to some relays; one success, or an own endpoint, is enough."""
        known = self._state.memory.announced[todo.job_id, todo.digest]
        path = self._get_model(todo.digest)
        reached = 0
        for relay in await self._list_relays(todo.digest):
            if reached == RELAYS:
                break
            try:
                await self._tools.transfer.upload(path, self._make_claim(todo, known, path), relay.endpoint)
                reached += 1
            except TransferError as error:
                log.warning("relay_failed", relay=relay.endpoint, reason=str(error))
        if not reached and not self._tools.endpoint:
            raise ActionFailed("no relay took the model, and this node serves none itself")
        log.info("uploaded", job=todo.job_id, relays=reached)

    def _make_claim(self, todo: ev.Upload, known: ev.Announced, path: Path) -> UploadClaim:
        tools = self._tools
        size = path.stat().st_size
        claim = UploadClaim(
            todo.job_id, tools.account, tools.key.public_key, todo.digest, size, known.salt, signature=b""
        )
        signature = tools.key.sign(claim.get_sign_bytes(tools.chain_tag))
        return UploadClaim(todo.job_id, tools.account, tools.key.public_key, todo.digest, size, known.salt, signature)

    async def reveal(self, todo: ev.Reveal) -> None:
        """Name the model and where it is."""
        known = self._state.memory.announced[todo.job_id, todo.digest]
        size = self._get_model(todo.digest).stat().st_size
        endpoint = self._tools.endpoint
        locations = [get_model_url(endpoint, todo.digest)] if endpoint else []
        await self._send(
            tx_pb2.Reveal(job_id=todo.job_id, model_digest=todo.digest, size=size, salt=known.salt, locations=locations)
        )
        log.info("revealed", job=todo.job_id, model=todo.digest.hex())

    async def commit_vote(self, todo: ev.CommitVote) -> None:
        """Commit to the finding in the journal."""
        vote = self._state.memory.votes[todo.job_id, todo.round]
        commitment = compute_vote_commitment(
            self._tools.chain_tag, vote.job_id, vote.round, self._tools.account, vote.finding, vote.loss, vote.receipt,
            vote.salt,
        )  # fmt: skip
        await self._send(tx_pb2.CommitVote(job_id=vote.job_id, round=vote.round, commitment=commitment))

    async def reveal_vote(self, todo: ev.RevealVote) -> None:
        """Open the commitment."""
        vote = self._state.memory.votes[todo.job_id, todo.round]
        await self._send(
            tx_pb2.RevealVote(
                job_id=vote.job_id,
                round=vote.round,
                finding=tx_pb2.Finding.Name(vote.finding),
                loss=vote.loss,
                receipt=vote.receipt,
                salt=vote.salt,
            )
        )
        log.info("voted", job=vote.job_id, round=vote.round, finding=vote.finding, loss=vote.loss)

    async def forget(self, todo: ev.Forget) -> None:
        """Release what a job held; what was promised to be served stays until its time."""
        self._tools.store.unpin(f"job {todo.job_id}")

    async def _send(self, message: Message) -> None:
        await self._tools.sender.send(message, timeout_s=SEND_SECONDS)


EXPECTED_FAILURES = (ActionFailed, OwnFailureError, StoreFull, TransferError)
