"""Running one training: start or resume it, pass on what it prints, bring its checkpoints home, end it in time."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MIB
from worker import events as ev
from worker.models.store import StoreFull
from worker.policy import Policy
from worker.report import Report
from worker.resources import compute_use
from worker.sandbox import (
    BrokenImageError,
    OwnFailureError,
    StopReason,
    Training,
    TrainingLimits,
    TrainingSpec,
    TrainingState,
    TrainingStatus,
)
from worker.tools import Tools

log = structlog.get_logger()

POLL_SECONDS = 0.5


class Trainer:
    """The training of one job, from start to end."""

    def __init__(self, tools: Tools, policy: Policy, report: Report, deliver: Callable[[ev.Happening], None]) -> None:
        """Use the sandbox and the store of `tools`."""
        self._tools = tools
        self._policy = policy
        self._report = report
        self._deliver = deliver
        self._stop = asyncio.Event()
        self._given_up = threading.Event()  # the same for the thread that waits for the image
        self._forget = False

    def stop(self, *, forget: bool) -> None:
        """Ask the training to end; `run` then returns."""
        self._forget = forget
        self._stop.set()
        self._given_up.set()

    async def run(self, job: pb.Job, class_: pb.EvaluationClass, attempt: str, now_ms: int) -> None:
        """Train until the program ends, the job closes or `stop` is called; tells how it ended as a happening."""
        if not attempt:
            attempt = secrets.token_hex(16)
            self._deliver(ev.Taken(job.id, attempt))
        spec = self._make_spec(job, class_, attempt, now_ms)
        try:
            training = await asyncio.to_thread(self._tools.sandbox.start_training, spec, self._given_up)
        except BrokenImageError as error:
            await self._forget_attempt(attempt)
            self._deliver(ev.TrainingEnded(job.id, f"the image cannot be used: {error}", final=True))
            return
        except OwnFailureError as error:
            log.warning("training_not_started", job=job.id, reason=str(error))
            self._deliver(ev.TrainingEnded(job.id, str(error), final=False))
            return
        log.info("training_started", job=job.id, attempt=attempt)
        try:
            is_stopped = await self._follow(job, training)
        finally:
            await asyncio.to_thread(training.close, forget=self._forget)
        if is_stopped:  # not before it is closed: a job that is over is forgotten at once, with the attempt
            self._deliver(ev.TrainingEnded(job.id, "stopped, as the job or the worker ends", final=False))

    async def _forget_attempt(self, attempt: str) -> None:
        """Free the disk of an attempt that will not go on; at the job's end it is tried again."""
        try:
            await asyncio.to_thread(self._tools.sandbox.forget_attempt, attempt)
        except OwnFailureError as error:
            log.warning("attempt_not_removed", attempt=attempt, reason=str(error))

    def _make_spec(self, job: pb.Job, class_: pb.EvaluationClass, attempt: str, now_ms: int) -> TrainingSpec:
        needs = job.terms.needs
        use = compute_use(self._policy, needs)
        limits = TrainingLimits(
            milli_cpus=use.milli_cpus,
            memory_mib=use.memory_mib,
            state_mib=use.disk_mib,
            image_mib=self._policy.max_image_mib,  # the class limits the image that evaluates
            model_mib=class_.model_mib,
            seconds=needs.seconds or (job.deadline_ms - job.submitted_ms) // 1000 + 1,
        )
        # The chain's clock decides, this machine's only counts down.
        deadline_ms = int(time.time() * 1000) + job.deadline_ms - now_ms
        return TrainingSpec(attempt, job.id, job.terms.image, limits, deadline_ms)

    async def _follow(self, job: pb.Job, training: Training) -> bool:
        """Return whether it was stopped; that a training ended by itself is told before its state goes."""
        clock = asyncio.get_running_loop()
        next_checkpoint = clock.time()
        while True:
            status = await asyncio.to_thread(training.status)
            for line in await asyncio.to_thread(training.lines):
                self._report.add_line(job.id, line)
            running = status.state is TrainingState.RUNNING
            is_last = not running or self._stop.is_set()
            if is_last or clock.time() >= next_checkpoint:
                await self._save_checkpoint(job, training, is_last=is_last)
                next_checkpoint = clock.time() + self._policy.checkpoint_ms / 1000
            if not running:
                self._end(job, status, training.spec.limits)
                return False
            if self._stop.is_set():
                await asyncio.to_thread(training.stop)
                return True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), POLL_SECONDS)

    def _end(self, job: pb.Job, status: TrainingStatus, limits: TrainingLimits) -> None:
        log.info("training_ended", job=job.id, detail=status.detail, exit_code=status.exit_code, seconds=status.seconds)
        is_final = is_end_of_training(status, limits)
        self._forget = self._forget or is_final  # nothing of it goes on: its state would hold its disk for ever
        self._deliver(ev.TrainingEnded(job.id, f"its training has ended ({status.detail})", final=is_final))

    async def _save_checkpoint(self, job: pb.Job, training: Training, *, is_last: bool) -> None:
        path = self._tools.scratch / get_scratch_name(job.id)
        try:
            await asyncio.to_thread(training.checkpoint, path)
            if not path.exists():  # else it is new, or one that the store could not take yet
                return
            digest = await asyncio.to_thread(self._tools.store.add_file, path, 2**24 * MIB)
        except (OwnFailureError, StoreFull) as error:
            if is_last:
                raise
            # A busy machine may fail to freeze a container, a full one to keep a copy: no reason to end a training
            # that goes on well.
            log.warning("checkpoint_missed", job=job.id, reason=str(error))
            return
        self._deliver(ev.CheckpointSaved(job.id, digest))
        path.unlink(missing_ok=True)  # not before it is in the journal: the container does not give it again


def get_scratch_name(job_id: int) -> str:
    """Return the name of the file through which a job's checkpoints go into the store."""
    return f"checkpoint-{job_id}"


def is_end_of_training(status: TrainingStatus, limits: TrainingLimits) -> bool:
    """Return whether a training that ended is not worth another start.

    That the job's deadline is over says the chain, not this machine's clock: until then it may be started again.
    """
    if status.reason is StopReason.TIME:
        return status.seconds >= limits.seconds
    return status.reason is not StopReason.KILLED
