"""The thin loop of the worker: view in, decisions, actions out; each result is the next happening."""

import asyncio
import traceback
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import structlog

from learningchain.client import errors
from worker import events as ev
from worker.actions import Actions
from worker.follower import Follower, NodeBehind
from worker.handover import Handover
from worker.journal import Journal, JournalError
from worker.policy import Policy
from worker.relaying import Relaying
from worker.report import Report
from worker.state import WorkerState
from worker.tools import EXPECTED_FAILURES, Overtaken, Tools
from worker.training import Trainer
from worker.view import ChainView

log = structlog.get_logger()

BLOCK_WAIT_SECONDS = 10.0
RECONNECT_SECONDS = 2.0


class Daemon:
    """One worker: an account, a node, a sandbox."""

    def __init__(self, tools: Tools, policy: Policy, journal: Journal, report_path: Path, stop: asyncio.Event) -> None:
        """Restore what the journal kept; `stop` ends the daemon, and trainings can go on at the next start."""
        self._tools = tools
        self._policy = policy
        self._journal = journal
        self._report = Report(report_path)
        self.state = WorkerState(policy, journal.restore())
        tools.store.hold(self.state.list_held_models())
        self._actions = Actions(tools, self.state, self.deliver, lambda: journal.save(self.state.memory))
        self._handover = Handover(tools.claims, tools.store)
        self.relaying = Relaying(tools.client, tools.store, tools.account)
        self._trainers: dict[int, Trainer] = {}
        self._follower = Follower(tools.client, tools.account, self.state.rank_job)
        self._tasks: asyncio.TaskGroup | None = None
        self._interruptible: set[asyncio.Task[None]] = set()
        self._stopping = stop
        self._is_unsaved = False
        self._is_away = False

    async def run(self) -> None:
        """Work until the stop. Raises OwnFailureError (engine) or what is not expected at all."""
        memory = self.state.memory
        attempts = [attempt for job_id, attempt in memory.taken.items() if attempt and job_id not in memory.over]
        report = await asyncio.to_thread(self._tools.sandbox.remove_orphans, attempts)
        log.info("orphans_removed", containers=report.containers, mounts=report.mounts)
        for settled in await self._tools.sender.settle():
            code = None if settled.result is None else settled.result.code
            log.info("settled_transaction", hash=settled.pending.tx_hash.hex(), code=code)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._follow()
                for trainer in self._trainers.values():
                    trainer.stop(forget=False)
                for task in self._interruptible:
                    task.cancel()
        finally:
            self._report.write(self.state, has_ended=True)
        self._journal.save(self.state.memory)

    async def _follow(self) -> None:
        height = 0
        while not self._stopping.is_set():
            try:
                view = await self._follower.observe(self.state.list_stakes())
                await self._take_over(view)
                self.deliver(ev.Observed(view))
                await self.relaying.update(view)
                height = await self._wait(view.height)
                if self._is_away:
                    log.info("node_of_use_again", height=height)
                self._is_away = False
            except (errors.NodeUnreachable, errors.BadAnswer, NodeBehind) as error:
                if not self._is_away:  # it may be away for days
                    log.warning("node_of_no_use", reason=str(error), last_height=height)
                self._is_away = True
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), RECONNECT_SECONDS)

    async def _take_over(self, view: ChainView) -> None:
        for job_id, commitment in self._handover.find(view, self.state.memory):
            announced = await asyncio.to_thread(self._handover.take_over, job_id, commitment)
            if announced is not None:
                self.deliver(announced)

    async def _wait(self, height: int) -> int:
        """Wait for the next block, or for `stop`."""
        block = asyncio.ensure_future(self._tools.client.wait_for_block(height, BLOCK_WAIT_SECONDS))
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({block, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not block.done():
            block.cancel()
            return height
        try:
            return block.result()
        except errors.WaitTimeout:
            return height

    def deliver(self, happening: ev.Happening) -> None:
        """Take in what happened, make it durable, and start what follows from it."""
        instructions = self.state.handle(happening)
        self._tools.store.hold(self.state.list_held_models())
        self._try_to_save()
        self._report.write(self.state)
        if self._tasks is None or self._stopping.is_set():
            return
        for instruction in instructions:
            task = self._tasks.create_task(self._carry_out(instruction))
            if not isinstance(instruction, ev.Train):  # trainings end by themselves, and save first
                self._interruptible.add(task)
                task.add_done_callback(self._interruptible.discard)

    def _try_to_save(self) -> None:
        """Write the journal; what must be in it before it is sent, fails without it and is tried again later."""
        try:
            self._journal.save(self.state.memory)
        except JournalError as error:
            if not self._is_unsaved:
                log.warning("journal_not_written", reason=str(error))
            self._is_unsaved = True
        else:
            self._is_unsaved = False

    async def _carry_out(self, todo: ev.Instruction) -> None:
        try:
            await self._act(todo)
        except errors.TxRefused as error:
            self.deliver(ev.Failed(todo))
            log.warning("transaction_refused", **_describe(todo), error=error.name)
        except Overtaken as error:
            self.deliver(ev.Failed(todo))
            log.info("overtaken", **_describe(todo), reason=str(error))
        except (*EXPECTED_FAILURES, errors.ClientError) as error:
            self.deliver(ev.Failed(todo))
            log.warning("failed", **_describe(todo), reason=str(error))
        except Exception as error:  # noqa: BLE001 (one input that nobody thought of must not end all other jobs)
            kind, frames = type(error).__name__, traceback.format_tb(error.__traceback__)
            log.error("failed_unexpectedly", **_describe(todo), error=kind, reason=str(error), frames=frames)
            self.deliver(ev.Failed(todo))  # tried again, but not before RETRY_BLOCKS
        else:
            if not isinstance(todo, ev.Train | ev.Evaluate):  # these say themselves how they ended
                self.deliver(ev.Done(todo))

    async def _act(self, todo: ev.Instruction) -> None:
        if isinstance(todo, ev.Train):
            await self._train(todo.job_id)
        elif isinstance(todo, ev.StopTraining):
            if todo.job_id in self._trainers:
                self._trainers[todo.job_id].stop(forget=todo.forget)
        else:
            await self._actions.carry_out(todo)

    async def _train(self, job_id: int) -> None:
        view = self.state.view
        job = None if view is None else view.jobs.get(job_id)
        if view is None or job is None:
            self.deliver(ev.TrainingEnded(job_id, "the job is over", final=False))
            return
        trainer = Trainer(self._tools, self._policy, self._report, self.deliver)
        self._trainers[job_id] = trainer
        try:
            attempt = self.state.memory.taken.get(job_id, "")
            await trainer.run(job, view.params.classes[job.terms.job_class], attempt, view.now_ms)
        finally:
            del self._trainers[job_id]


def _describe(todo: ev.Instruction) -> dict[str, Any]:
    """Return an instruction as fields of a line in the log, named as in other lines."""
    names = {"job_id": "job", "digest": "model"}
    values = {names.get(field.name, field.name): getattr(todo, field.name) for field in fields(todo)}
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
    return {"todo": type(todo).__name__, **shown}
