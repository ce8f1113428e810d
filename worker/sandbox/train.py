"""One training container: watched from a thread of its own, its checkpoints copied while it is frozen or dead."""

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

import structlog

from abci_app.protocol.limits import MIB
from learningchain.registry import CONTRACT_VERSION
from worker.sandbox.artifacts import NoArtifactError
from worker.sandbox.attempts import Attempt
from worker.sandbox.container import Container, End
from worker.sandbox.host import Host
from worker.sandbox.output import TRAINING_OUTPUT, Lines
from worker.sandbox.spec import Action, RunSpec, get_container_config
from worker.sandbox.storage import State
from worker.sandbox.types import (
    Checkpoint,
    LogLine,
    OwnFailureError,
    Progress,
    StopReason,
    TrainingSpec,
    TrainingState,
    TrainingStatus,
)

log = structlog.get_logger()

OUT_SPARE_BYTES = 64 * MIB
LOOK_SECONDS = 1.0  # between two looks at the caps
NOTE_SECONDS = 5.0  # between two notes of the seconds used; each waits for the disk
KILLED_EXITS = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
MAX_KILLS = 3  # of an attempt, taken for the machine's doing; a program that always ends like that does it by itself
FIRST_MODEL_SECONDS = 60.0  # after a start, by the contract; an untrained one will do

_WORDS = {
    StopReason.TIME: "its time is over",
    StopReason.MEMORY: "it ran out of memory",
    StopReason.SPACE: "it wrote more than it may",
    StopReason.OUTPUT: f"it printed more than {TRAINING_OUTPUT // MIB} MiB",
    StopReason.NO_MODEL: f"it wrote no model within {FIRST_MODEL_SECONDS:.0f} s",
    StopReason.STOPPED: "the worker stopped it",
    StopReason.KILLED: "it was killed from outside of the worker",
}


class ContainerTraining:
    """See worker.sandbox.types.Training."""

    def __init__(self, host: Host, image: str, spec: TrainingSpec) -> None:
        """Start it. `image` is the engine's image id."""
        self.spec = spec
        self._host = host
        self._lock = threading.Lock()  # one checkpoint or close at a time
        self._lines = Lines()
        self._signature: object = None
        self._digest = b""
        self.is_closed = False
        self._has_model = False
        self._end: End | None = None
        self._failure: OwnFailureError | None = None
        with contextlib.ExitStack() as undo:
            # Counted down from here: a clock that is set meanwhile does not end a training.
            self._deadline = time.monotonic() + spec.deadline_ms / 1000 - time.time()
            with host.uid() as uid:
                self._attempt = Attempt.open(host.home, spec.attempt, uid)
            undo.callback(self._attempt.close, forget=False)
            host.hold_uid(self._attempt.uid)
            undo.callback(host.give_back_uid, self._attempt.uid)
            self._used_before = self._attempt.used_seconds
            self._create(image, undo)
            self._container.start()
            undo.pop_all()
        self._attendant = threading.Thread(target=self._attend, name="sandbox-train", daemon=True)
        self._attendant.start()

    @property
    def container_id(self) -> str:
        """Return the engine's name of the container."""
        return self._container.id

    def status(self) -> TrainingStatus:
        """See Training."""
        if self._failure is not None:
            raise self._failure
        seconds, end = self._attempt.used_seconds, self._end
        if end is None:
            return TrainingStatus(TrainingState.RUNNING, self._get_seconds())
        if end.reason is not None:
            return TrainingStatus(TrainingState.STOPPED, seconds, end.exit_code, end.reason, _WORDS[end.reason])
        return TrainingStatus(TrainingState.ENDED, seconds, end.exit_code, None, f"exit status {end.exit_code}")

    def lines(self) -> list[Progress | LogLine]:
        """See Training."""
        return self._lines.drain()

    def checkpoint(self, into: Path) -> Checkpoint | None:
        """See Training."""
        with self._lock:
            if self._workspace.get_signature(self._container.id, "model") in (None, self._signature):
                return None
            with self._container.frozen():
                return self._copy(into)

    def stop(self, grace_seconds: float = 30.0) -> TrainingStatus:
        """See Training."""
        if self._attendant.is_alive():
            self._container.terminate(grace_seconds)
            self._attendant.join()
        return self.status()

    def close(self, *, forget: bool) -> None:
        """See Training."""
        with self._lock, contextlib.ExitStack() as stack:
            if self.is_closed:
                return
            self.is_closed = True
            stack.callback(self._host.give_back_uid, self._attempt.uid)
            stack.callback(self._host.give_back_name, self._name)
            stack.callback(self._attempt.close, forget=forget)
            if forget:
                stack.callback(self._host.storage.remove_state, self._attempt.folder, self._attempt.id)
            stack.callback(self._workspace.close)
            stack.callback(self._container.remove)
            if self._attendant.is_alive():
                self._container.kill(StopReason.STOPPED)
                self._attendant.join()

    def _create(self, image: str, undo: contextlib.ExitStack) -> None:
        host, limits, uid = self._host, self.spec.limits, self._attempt.uid
        memory = limits.memory_mib * MIB
        host.check_memory(memory)
        host.choose_cpus(-(-limits.milli_cpus // 1000))
        name = host.take_name()
        undo.callback(host.give_back_name, name)
        self._name = name
        if self._attempt.is_new:  # a state without its attempt belongs to a uid that nobody knows any more
            host.storage.remove_state(self._attempt.folder, self._attempt.id)
        state = State(self._attempt.folder, self._attempt.id, limits.state_mib * MIB)
        out_bytes = 2 * limits.model_mib * MIB + OUT_SPARE_BYTES
        inputs = {"job.json": get_job_json(self.spec)}
        self._workspace = host.storage.open(host.get_process_folder() / name, uid, inputs, out_bytes, state)
        undo.callback(self._workspace.close)
        run = RunSpec(
            action=Action.TRAIN,
            image=image,
            uid=uid,
            cpus=host.cpus,
            memory_bytes=memory,
            mounts=self._workspace.mounts,
            runtime=host.runtime,
            labels=host.get_labels(self._attempt.id),
            milli_cpus=limits.milli_cpus,
            environment={"LC_SEED": str(self._attempt.seed), "LC_ATTEMPT": self._attempt.id},
        )
        self._container = Container(host.engine, name, get_container_config(run), self._lines.feed, TRAINING_OUTPUT)
        undo.callback(self._container.remove)

    def _attend(self) -> None:
        """Wait for the end, which comes at the deadline at the latest, and note how it ended."""
        try:
            while not self._container.wait(min(max(self._get_left(), 0.0), LOOK_SECONDS)):
                self._check_limits()
                self._note_seconds()
            self._attempt.used_seconds = self._get_seconds()
            end = self._judge(self._container.get_end())
            self._attempt.try_to_save()
            self._end = end
        except OwnFailureError as failure:
            self._fail(failure)
        except Exception as error:
            # Nobody else watches it: whatever happened here, it must not run on without a deadline.
            log.exception("training_not_watched", attempt=self._attempt.id)
            self._fail(OwnFailureError(f"a training could not be watched any more: {error!r}"))

    def _fail(self, failure: OwnFailureError) -> None:
        """Let `status` raise the failure, and end the container: it is watched no more."""
        self._failure = failure
        with contextlib.suppress(OwnFailureError):  # close() tries again
            self._container.kill(StopReason.STOPPED)

    def _judge(self, end: End) -> End:
        """Return how it ended; a kill that came neither from the sandbox nor from its memory limit has a reason too."""
        if end.reason is not None or end.exit_code not in KILLED_EXITS:
            return end
        if self._host.closing.is_set():
            return End(end.exit_code, StopReason.STOPPED)
        self._attempt.kills += 1
        return End(end.exit_code, StopReason.KILLED if self._attempt.kills <= MAX_KILLS else None)

    def _check_limits(self) -> None:
        if self._get_left() <= 0:
            self._container.kill(StopReason.TIME)
        elif self._workspace.is_over(self._container.id):
            self._container.kill(StopReason.SPACE)
        elif self._is_without_model():
            self._container.kill(StopReason.NO_MODEL)

    def _is_without_model(self) -> bool:
        """Tell whether the program breaks the contract: it has run long enough and has not written a model yet."""
        if self._has_model or time.monotonic() - self._container.started < FIRST_MODEL_SECONDS:
            return False
        self._has_model = self._workspace.get_signature(self._container.id, "model") is not None
        return not self._has_model

    def _copy(self, into: Path) -> Checkpoint | None:
        """Copy the model of the frozen or dead container; a file that is no model is not looked at again."""
        signature = self._workspace.get_signature(self._container.id, "model")
        part = into.with_name(f"{into.name}.part")
        try:
            with part.open("wb") as target:
                cap = self.spec.limits.model_mib * MIB
                copied = self._workspace.copy_output(self._container.id, "model", cap, target)
            if copied.digest != self._digest:
                part.replace(into)
        except NoArtifactError:
            self._signature = signature
            return None
        except OSError as error:
            raise OwnFailureError(f"a model cannot be copied to {into}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        self._signature = signature  # not before: what this machine failed to copy is copied next time
        if copied.digest == self._digest:
            return None
        self._digest = copied.digest
        return Checkpoint(into, copied.digest, copied.size)

    def _get_seconds(self) -> float:
        return self._used_before + time.monotonic() - self._container.started

    def _get_left(self) -> float:
        """Return seconds until the first of its limits: running time and deadline."""
        return min(self.spec.limits.seconds - self._get_seconds(), self._deadline - time.monotonic())

    def _note_seconds(self) -> None:
        seconds = self._get_seconds()
        if seconds >= self._attempt.used_seconds + NOTE_SECONDS:
            self._attempt.used_seconds = seconds
            self._attempt.try_to_save()


def get_job_json(spec: TrainingSpec) -> bytes:
    """Return /lc/in/job.json of train."""
    limits = spec.limits
    job = {
        "contract": int(CONTRACT_VERSION),
        "job": str(spec.job_id),
        "deadline_ms": spec.deadline_ms,
        "limits": {
            "milli_cpus": limits.milli_cpus,
            "memory_mib": limits.memory_mib,
            "state_mib": limits.state_mib,
            "model_mib": limits.model_mib,
            "seconds": limits.seconds,
        },
    }
    return json.dumps(job).encode("ascii")
