"""Carrying out instructions: one coroutine each. What they find out goes back to the daemon as a happening."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment, compute_vote_commitment
from abci_app.protocol.jobs import UNSETTLED
from abci_app.protocol.limits import SALT_BYTES
from learningchain.client.journal import JournalError as SentListError
from learningchain.models import get_model_url
from learningchain.wallet.files import FileError
from worker import events as ev
from worker.measuring import Measuring
from worker.models.keeping import make_promise
from worker.models.store import StoreFull
from worker.models.transfer import RELAYS
from worker.models.uploads import SignClaim, UploadClaim, make_signer
from worker.state import WorkerState
from worker.tools import ActionFailed, ModelGone, Tools
from worker.training import get_scratch_name

log = structlog.get_logger()

T = TypeVar("T")

SEND_SECONDS = 30.0
"""How long to wait for a transaction to be in a block."""
TURN_LOOK_SECONDS = 1.0
"""Between two looks whether relays still take a model that is on its way."""


class Actions:
    """The instructions that end by themselves; training is in `training.py`."""

    def __init__(
        self, tools: Tools, state: WorkerState, deliver: Callable[[ev.Happening], None], save: Callable[[], None]
    ) -> None:
        """Read the view and the memory of `state`, tell `deliver` what happened.

        `save` returns when all of the memory is on the disk. Raises JournalError.
        """
        self._tools = tools
        self._state = state
        self._deliver = deliver
        self._save = save
        self._measuring = Measuring(tools, state, deliver)

    async def carry_out(self, todo: ev.Instruction) -> None:
        """Carry out any instruction but those about trainings. Raises one of EXPECTED_FAILURES or a ClientError."""
        try:
            await self._carry_out(todo)
        except ModelGone:
            if isinstance(todo, ev.Evaluate | ev.Announce):
                self._deliver(ev.ModelLost(todo.job_id, todo.digest))
            raise

    async def _carry_out(self, todo: ev.Instruction) -> None:
        match todo:
            case ev.Evaluate():
                await self._measuring.evaluate(todo)
            case ev.Check():
                await self._measuring.check(todo)
            case ev.MakeWay():
                self._measuring.make_way(todo)
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

    async def announce(self, todo: ev.Announce) -> None:
        """Commit to a model; digest and salt are in the journal before anything is sent."""
        self._tools.get_model(todo.digest)
        if not await asyncio.to_thread(self._tools.store.is_intact, todo.digest):
            raise ModelGone("the model's file was damaged on this machine's disk: nobody would take it after a win")
        await self._require_way_out(todo.digest)
        known = self._state.memory.announced.get((todo.job_id, todo.digest))
        salt = secrets.token_bytes(SALT_BYTES) if known is None else known.salt
        self._deliver(ev.Announced(todo.job_id, todo.digest, salt, todo.loss))
        self._tools.get_model(todo.digest)  # from here on it is held
        self._save()  # without the salt the commitment could not be opened any more
        tools = self._tools
        commitment = compute_model_commitment(tools.chain_tag, todo.job_id, tools.account, todo.digest, salt)
        await self._send(
            tx_pb2.Announce(job_id=todo.job_id, loss=todo.loss, commitment=commitment, secured=todo.secured)
        )
        log.info("announced", job=todo.job_id, loss=todo.loss, model=todo.digest.hex())

    async def _require_way_out(self, digest: bytes) -> None:
        """Raise ActionFailed if a win could not be delivered: it would end as a default, with a strike."""
        if self._tools.endpoint:
            return
        relays = await self._tools.list_relays(digest)
        if await self._tools.transfer.may_reach_one([relay.endpoint for relay in relays]):
            return
        raise ActionFailed(
            f"nothing is announced, a win could not be delivered: of {len(relays)} relays none has a public address, "
            "and this node serves no models (settings, section models: endpoint; allow_loopback = true in a devnet)"
        )

    async def upload(self, todo: ev.Upload) -> None:
        """Bring the model to some relays; one success, or an own endpoint, is enough."""
        known = self._state.memory.announced[todo.job_id, todo.digest]
        path = self._tools.get_model(todo.digest)
        relays = [relay.endpoint for relay in await self._tools.list_relays(todo.digest)]
        sign = self._make_signer(todo, known, path)
        reached, reasons = await self._during_turn(todo, self._tools.transfer.bring(path, sign, relays, RELAYS))
        for reason in reasons:
            log.warning("relay_failed", job=todo.job_id, reason=reason)
        if not reached and not self._tools.endpoint:
            raise ActionFailed("no relay took the model, and this node serves none itself")
        log.info("uploaded", job=todo.job_id, relays=len(reached))

    async def _during_turn(self, todo: ev.Upload, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns. Raises ActionFailed when the turn is over: slow relays could hold it for days."""
        working, before = asyncio.ensure_future(work), self._get_turn(todo)
        try:
            while working not in (await asyncio.wait({working}, timeout=TURN_LOOK_SECONDS))[0]:
                if before is None or self._get_turn(todo) != before:
                    raise ActionFailed("the turn is over: no relay takes the model any more")
            return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def _get_turn(self, todo: ev.Upload) -> tuple[int, int] | None:
        """Return job and round in which relays take a model now."""
        job = None if self._state.view is None else self._state.view.jobs.get(todo.job_id)
        is_open = job is not None and job.state in (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE)
        return (job.id, job.round) if job is not None and is_open else None

    def _make_signer(self, todo: ev.Upload, known: ev.Announced, path: Path) -> SignClaim:
        tools, size = self._tools, path.stat().st_size
        unsigned = UploadClaim(todo.job_id, tools.account, tools.key.public_key, todo.digest, size, known.salt)
        return make_signer(unsigned, tools.key, tools.chain_tag)

    async def reveal(self, todo: ev.Reveal) -> None:
        """Name the model and where it is."""
        self._keep(todo)  # first: that a Reveal is in a block is not always seen
        known = self._state.memory.announced[todo.job_id, todo.digest]
        size = self._tools.get_model(todo.digest).stat().st_size
        endpoint = self._tools.endpoint
        locations = [get_model_url(endpoint, todo.digest)] if endpoint else []
        await self._send(
            tx_pb2.Reveal(job_id=todo.job_id, model_digest=todo.digest, size=size, salt=known.salt, locations=locations)
        )
        log.info("revealed", job=todo.job_id, model=todo.digest.hex())

    def _keep(self, todo: ev.Reveal) -> None:
        """Keep the model for its contractor; until the job is over it is held anyway. A full disk stops no Reveal."""
        view = self._state.view
        job = None if view is None else view.jobs.get(todo.job_id)
        try:
            if view is not None and job is not None:
                self._tools.store.keep(todo.digest, make_promise(job, view.params.model_retention_ms, time.time()))
        except StoreFull as error:
            log.warning("model_not_kept", job=todo.job_id, reason=str(error))

    async def commit_vote(self, todo: ev.CommitVote) -> None:
        """Commit to the finding in the journal."""
        self._save()
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
        """Remove what a job left besides its models, which are held no more."""
        await self._require_over(todo.job_id)
        if attempt := self._state.memory.taken.get(todo.job_id):
            await asyncio.to_thread(self._tools.sandbox.forget_attempt, attempt)
        (self._tools.scratch / get_scratch_name(todo.job_id)).unlink(missing_ok=True)

    async def _require_over(self, job_id: int) -> None:
        """Raise ActionFailed unless the node knows the job to be over: one that was set back shows no later job."""
        found = await self._tools.client.get_job(job_id)
        if found is not None and found.job.state not in UNSETTLED:
            return
        newest = await self._tools.client.list_jobs(limit=1, newest_first=True)
        is_pruned = found is None and bool(newest) and newest[0].id > job_id
        if not is_pruned:
            raise ActionFailed(f"the node shows neither job {job_id} nor that it is over: it may be behind")

    async def _send(self, message: Message) -> None:
        try:
            await self._tools.sender.send(message, timeout_s=SEND_SECONDS)
        except (OSError, FileError, SentListError) as error:
            # It is written before anything is sent; sent again later, the same message is the same transaction.
            raise ActionFailed(f"the list of what was sent cannot be kept: {error}") from error
