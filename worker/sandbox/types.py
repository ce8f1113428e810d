"""What the worker and the sandbox say to each other. No docker in here: the fake of the tests implements the same."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from typing import Protocol

from abci_app.protocol.limits import RESERVED_LOSS


class OwnFailureError(Exception):
    """This machine, its engine, its disk or its line failed: no finding about anybody, the checker stays silent."""


class EngineRefusedError(OwnFailureError):
    """The engine answered that it cannot do something. With an image this may be the image's doing."""


class UnfitEngineError(OwnFailureError):
    """The container engine lacks something the sandbox needs; the message says what and how to get it."""


class NoSpaceError(OwnFailureError):
    """The disk holds less than what is needed beyond the reserve."""


class RegistryError(OwnFailureError):
    """A registry could not be reached, was too slow, limits this machine's rate or lacks a layer: to be asked again.

    Unlike the other own failures it counts in the end: a checker that never gets an image finds it UNRUNNABLE.
    """


class BrokenImageError(Exception):
    """The image cannot be pulled or breaks the contract: UNRUNNABLE for a checker, a job to leave for a worker."""


class SlowSampleError(BrokenImageError):
    """The image's own sample was too slow here: with less at work on this machine it may be fast enough."""


@dataclass(frozen=True, slots=True)
class Step:
    """What goes on, for people. Of a layer that is fetched it is told again and again how much of it is here."""

    text: str
    here: int = 0  # bytes
    size: int = 0  # bytes; 0 where nothing is fetched


class Finding(IntEnum):
    """What one evaluation found; the numbers are those of the chain (UNAVAILABLE is not the sandbox's to find)."""

    MEASURED = 1
    OVERRUN = 2
    UNRUNNABLE = 4


class StopReason(Enum):
    """Why the sandbox ended a container that did not end by itself."""

    TIME = "time"
    MEMORY = "memory"
    SPACE = "space"
    OUTPUT = "output"  # wrote more to stdout and stderr than the cap
    NO_MODEL = "no_model"  # a training that did not write its first model in time
    STOPPED = "stopped"  # the worker asked for it
    KILLED = "killed"  # not the worker: a machine short of memory, an engine that was restarted; only of trainings


@dataclass(frozen=True, slots=True)
class EvaluationLimits:
    """Limits of an evaluation class; `seconds` holds for predict and score together."""

    cores: int
    memory_mib: int
    seconds: int
    image_mib: int
    model_mib: int
    predictions_mib: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Largest use of a finished evaluation, each as a fraction of its limit (1.0 = all of it)."""

    seconds: float = 0.0
    memory: float = 0.0
    predictions: float = 0.0

    @property
    def largest(self) -> float:
        """Return the largest of the fractions: above 0.5 a worker does not announce."""
        return max(self.seconds, self.memory, self.predictions)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of predict and score on one model: exactly what a checker votes."""

    finding: Finding
    loss_nano: int  # units of 1e-9; RESERVED_LOSS without a valid score; 0 unless MEASURED
    receipt: bytes  # SHA-256 of the predictions file; empty where there is none
    seconds: float  # running time of predict and score together
    usage: Usage
    detail: str  # for people, sanitised: why, and the last lines the image printed
    may_change: bool = False  # UNRUNNABLE since the sample was too slow, which is tried again

    @property
    def has_score(self) -> bool:
        """Return whether a valid loss was measured."""
        return self.finding is Finding.MEASURED and self.loss_nano != RESERVED_LOSS


@dataclass(frozen=True, slots=True)
class TrainingLimits:
    """What a training container may use on this machine."""

    milli_cpus: int
    memory_mib: int
    state_mib: int  # cap of /lc/state
    image_mib: int  # cap of the training image, packed and unpacked
    model_mib: int  # of the class: /lc/out holds twice that and 64 MiB
    seconds: int  # running time over all starts of the attempt


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """One attempt at training a job. The same `attempt` continues with its seed, uid, state and seconds used."""

    attempt: str  # 16 to 64 lower-case hex digits, unique on this machine
    job_id: int
    image: str  # …@sha256:<64 hex>
    limits: TrainingLimits
    deadline_ms: int  # wall clock (Unix), when the container is killed as a whole


@dataclass(frozen=True, slots=True)
class Progress:
    """One progress line of a training program: untrusted, for people only, never announced."""

    step: int | None = None
    total: int | None = None
    loss: str = ""  # as printed, at most 40 characters
    metrics: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """Any other line a program printed, without control characters, cut to a cap."""

    text: str


class TrainingState(Enum):
    """Where a training container stands."""

    RUNNING = "running"
    ENDED = "ended"  # by itself; see exit_code
    STOPPED = "stopped"  # by the sandbox; see reason


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """State of a training container at one moment; `detail` says in words why it is not running."""

    state: TrainingState
    seconds: float  # running time over all starts of the attempt
    exit_code: int | None = None
    reason: StopReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A copy of /lc/out/model on the worker's disk."""

    path: Path
    digest: bytes  # SHA-256
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class OrphanReport:
    """What was left by processes that died, and is gone now."""

    containers: int = 0
    mounts: int = 0
    directories: int = 0


class Training(Protocol):
    """A started training container. All calls may be made from any thread; none waits longer than its own limit."""

    @property
    def spec(self) -> TrainingSpec:
        """Return what was started."""
        ...

    def status(self) -> TrainingStatus:
        """Return how it stands now; never waits. Raises OwnFailureError when the engine lost the container."""
        ...

    def lines(self) -> list[Progress | LogLine]:
        """Return what was printed since the last call, oldest first; at most a fixed number, the rest is dropped."""
        ...

    def checkpoint(self, into: Path) -> Checkpoint | None:
        """Copy a model newer than the last copy to the file `into`, with the container frozen or dead.

        Returns None when there is no newer valid model file. Works until close(), also after the end.
        """
        ...

    def stop(self, grace_seconds: float = 30.0) -> TrainingStatus:
        """Send SIGTERM, wait up to `grace_seconds`, kill what is left. The attempt can be started again."""
        ...

    def close(self, *, forget: bool) -> None:
        """Kill and remove the container and /lc/out; with `forget` also the attempt with its seed and state."""
        ...


class Sandbox(Protocol):
    """Runs untrusted images. Methods block: call them from a thread. OwnFailureError may come from each of them."""

    def prepare(self, image: str, image_mib: int, given_up: threading.Event | None = None) -> None:
        """Pull `image` and check the contract; quick when it is here. Raises BrokenImageError.

        Once `given_up` is set, or the sandbox closes, it ends soon with OwnFailureError.
        """
        ...

    def check_sample(self, image: str, limits: EvaluationLimits) -> None:
        """Prepare the eval image and evaluate its own sample model, once per image. Raises BrokenImageError."""
        ...

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        """Run predict and score of the eval image on the model file, after the image's own sample once.

        One evaluation at a time per sandbox; further callers wait. Raises OwnFailureError: then there is no finding.
        """
        ...

    def start_training(self, spec: TrainingSpec, given_up: threading.Event | None = None) -> Training:
        """Start or resume an attempt. Raises BrokenImageError. `given_up` ends the wait for its image, see prepare."""
        ...

    def forget_attempt(self, attempt: str) -> None:
        """Remove what is kept of an attempt; nothing is fine. Raises OwnFailureError while a process runs it."""
        ...

    def remove_orphans(self, keep_attempts: Collection[str] = ()) -> OrphanReport:
        """Remove what dead processes of this worker left: containers, mounts, files, attempts not in the list.

        Training containers of kept attempts get SIGTERM and their 30 s first.
        """
        ...

    def close(self) -> None:
        """Kill and remove everything that this object started; attempts stay."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Settings of the sandbox. `worker/settings.py` says which of them a worker's file has, and under which names."""

    home: Path  # work area on a disk with space; made with mode 0700. In "engine" storage its name is visible inside
    engine: str = ""  # unix:///… of the Docker Engine; empty: DOCKER_HOST, else the usual socket
    runtime: str = "runc"  # or runsc
    cpus: tuple[int, ...] = ()  # cores the sandbox may use; empty: all of this process
    storage: str = "auto"  # "loop" (needs root), "engine" (archive API and watchdog), "auto": loop where it works
    free_reserve_mib: int = 2048  # never filled by the sandbox
    plain_http_registries: tuple[str, ...] = ()  # host:port; loopback hosts always are
    trusted_registries: tuple[str, ...] = ()  # may be at private addresses, as those of the two settings around may
    mirrors: dict[str, tuple[str, ...]] = field(default_factory=dict)  # registry host -> hosts asked first
    allow_loopback: bool = False  # registries on this machine: where all nodes are on it too
    pull_seconds: int = 1800  # for all layers of an image, and once more for the engine to unpack them
