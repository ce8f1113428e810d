"""The sandbox on the Docker Engine, put together; the interface is worker.sandbox.types.Sandbox."""

import contextlib
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.protocol.limits import MIB
from worker.sandbox.disks import check_tools
from worker.sandbox.engine import Engine, find_unfit
from worker.sandbox.evaluate import OneEvaluation
from worker.sandbox.guard import Guard
from worker.sandbox.host import Host, get_allowed_cpus, get_owner
from worker.sandbox.images import Images
from worker.sandbox.orphans import forget_attempt, remove_attempt_containers, remove_orphans
from worker.sandbox.sample import copy_sample
from worker.sandbox.spec import PROCESS_LABEL
from worker.sandbox.storage import LoopStorage, Storage
from worker.sandbox.train import ContainerTraining
from worker.sandbox.types import (
    BrokenImageError,
    Evaluation,
    EvaluationLimits,
    Finding,
    NoSpaceError,
    OrphanReport,
    OwnFailureError,
    SandboxSettings,
    SlowSampleError,
    Step,
    TrainingSpec,
    UnfitEngineError,
    Usage,
)
from worker.sandbox.volumes import EngineStorage, can_see

log = structlog.get_logger()

SLOW_SAMPLE_SECONDS = 900.0
"""For so long, more than most votes take, a sample that was too slow is not tried again: the machine may be busy."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """About the sample of an image."""

    wrong: str  # empty: nothing
    until: float  # monotonic; then it is tried again
    trainings: int = 0  # of this worker that ran beside one that was too slow: with fewer it is tried again at once


class DockerSandbox:
    """See worker.sandbox.types.Sandbox. Several may share an engine, each with a home of its own."""

    def __init__(self, settings: SandboxSettings, on_layer: Callable[[Step], None] | None = None) -> None:
        """Connect to the engine. `on_layer` is told of each layer before and while it is fetched.

        Raises UnfitEngineError, OwnFailureError.
        """
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = settings.home.resolve()
        self._engine = Engine(settings.engine)
        info = self._engine.info()
        root = _find_root(str(info.get("DockerRootDir", "")), home)
        owner = get_owner(home)
        self.host = Host(
            engine=self._engine,
            storage=EngineStorage(self._engine, owner, root, settings.free_reserve_mib * MIB),
            owner=owner,
            home=home,
            runtime=settings.runtime,
            cpus=get_allowed_cpus(settings.cpus),
            memory_bytes=int(info.get("MemTotal", 0)),
        )
        self.host.storage = self._choose_storage(settings)
        self._images = Images(self._engine, settings, root, self.host.check_open, on_layer)
        self._evaluations = threading.Lock()
        self._samples: dict[tuple[str, EvaluationLimits], _Verdict] = {}
        self._starts = threading.Lock()  # of trainings, one at a time: the end waits for it, and then ends that one too
        self._trainings: list[ContainerTraining] = []
        self.check_engine()
        self._guard = Guard(self.host)

    def check_engine(self) -> str:
        """Return a line that names engine, runtime and storage mode. Raises UnfitEngineError."""
        info, version = self._engine.info(), self._engine.version()
        if lacks := find_unfit(info, self.host.runtime):
            raise UnfitEngineError(f"the engine at {self._engine.url} lacks {'; '.join(lacks)}")
        parts = ", ".join(f"{part['Name']} {part['Version']}" for part in version.get("Components") or ())
        return f"{parts}; runtime {self.host.runtime}; storage {self.host.storage.name}"

    def prepare(self, image: str, image_mib: int, given_up: threading.Event | None = None) -> None:
        """See Sandbox."""
        self._images.prepare(image, image_mib, given_up)

    def check_sample(self, image: str, limits: EvaluationLimits) -> None:
        """See Sandbox."""
        image_id = self._images.prepare(image, limits.image_mib)
        with self._evaluating():
            self._check_sample(image_id, limits)

    def evaluate_sample(self, image: str, limits: EvaluationLimits) -> Evaluation:
        """Prepare the eval image and evaluate its own sample model. Raises BrokenImageError, OwnFailureError."""
        image_id = self._images.prepare(image, limits.image_mib)
        with self._evaluating():
            return self._evaluate_sample(image_id, limits)

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        """See Sandbox."""
        try:
            image_id = self._images.prepare(image, limits.image_mib)
            with self._evaluating():
                self._check_sample(image_id, limits)
                return self._evaluate(image_id, model, limits)
        except BrokenImageError as error:
            may_change = isinstance(error, SlowSampleError)
            return Evaluation(Finding.UNRUNNABLE, 0, b"", 0.0, Usage(), str(error), may_change)

    def start_training(self, spec: TrainingSpec, given_up: threading.Event | None = None) -> ContainerTraining:
        """See Sandbox."""
        image_id = self._images.prepare(spec.image, spec.limits.image_mib, given_up)
        remove_attempt_containers(self.host, spec.attempt)
        with self._starts:
            self.host.check_open()
            training = ContainerTraining(self.host, image_id, spec)
            self._trainings = [*(each for each in self._trainings if not each.is_closed), training]
        return training

    def forget_attempt(self, attempt: str) -> None:
        """See Sandbox."""
        forget_attempt(self.host, attempt)

    def remove_orphans(self, keep_attempts: Collection[str] = ()) -> OrphanReport:
        """See Sandbox."""
        return remove_orphans(self.host, keep_attempts)

    def close(self) -> None:
        """See Sandbox."""
        self.host.closing.set()
        for container in self._engine.containers(f"{PROCESS_LABEL}={self.host.process}"):
            self._engine.kill(container["Id"])
        with self._starts:
            trainings = self._trainings
        for training in trainings:
            training.close(forget=False)
        with self._evaluations:  # the last one ends now, and cleans up
            self._engine.close()
        self._guard.dismiss()

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Let one evaluation at a time run. Images are prepared before: a slow registry holds up its own jobs only."""
        with self._evaluations:
            self.host.check_open()
            yield

    def _choose_storage(self, settings: SandboxSettings) -> Storage:
        """Return what the settings say; "auto": loop file systems where they work and the engine sees them."""
        if settings.storage == "engine":
            return self.host.storage
        loop = LoopStorage(settings.free_reserve_mib * MIB)
        try:
            self._try_loop(loop)
        except NoSpaceError:
            raise
        except OwnFailureError as error:
            if settings.storage == "loop":
                raise
            log.warning("outputs_without_hard_caps", reason=str(error))
            return self.host.storage
        return loop

    def _try_loop(self, loop: LoopStorage) -> None:
        if os.geteuid() != 0:
            raise OwnFailureError("loop file systems need root")
        check_tools()
        with self.host.name() as name, self.host.uid() as uid:
            workspace = loop.open(self.host.get_process_folder() / name, uid, {"probe": b""}, MIB)
            try:
                if not can_see(self._engine, workspace.mounts[0], "probe", self.host):
                    raise OwnFailureError(
                        "the engine does not see this process's mounts: both need one mount namespace"
                    )
            finally:
                workspace.close()

    def _check_sample(self, image_id: str, limits: EvaluationLimits) -> None:
        """Raise BrokenImageError unless the image gives its own sample a valid score; tried once per image."""
        key = (image_id, limits)
        verdict, trainings = self._samples.get(key), self._count_trainings()
        if verdict is None or time.monotonic() >= verdict.until or trainings < verdict.trainings:
            evaluation = self._evaluate_sample(image_id, limits)
            verdict = self._samples[key] = _judge_sample(evaluation, limits, trainings)
        if verdict.wrong:
            raise (BrokenImageError if verdict.until == math.inf else SlowSampleError)(verdict.wrong)

    def _evaluate_sample(self, image_id: str, limits: EvaluationLimits) -> Evaluation:
        with tempfile.TemporaryDirectory(dir=self.host.get_process_folder()) as folder:
            sample = Path(folder, "sample")
            copy_sample(self.host, image_id, limits.model_mib * MIB, sample)
            return self._evaluate(image_id, sample, limits)

    def _count_trainings(self) -> int:
        return sum(not training.is_closed for training in self._trainings)

    def _evaluate(self, image_id: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        """Evaluate; what gave no valid score, or failed on this machine, is tried once more."""
        with contextlib.suppress(OwnFailureError, BrokenImageError):
            evaluation = OneEvaluation(self.host, image_id, limits).evaluate(model)
            if evaluation.has_score:
                return evaluation
        self.host.check_open()
        return OneEvaluation(self.host, image_id, limits).evaluate(model)


def evaluate_model(
    image: str, model: Path, limits: EvaluationLimits, settings: SandboxSettings, on_layer: Callable[[Step], None]
) -> Evaluation:
    """Evaluate one model file as a checker would; `on_layer` is told of each layer before and while it is fetched.

    Raises OwnFailureError.
    """
    sandbox = DockerSandbox(settings, on_layer)
    try:
        return sandbox.evaluate(image, model, limits)
    finally:
        sandbox.close()


def limits_of_class(job_class: state_pb2.EvaluationClass) -> EvaluationLimits:
    """Return the limits of an evaluation class of the chain."""
    return EvaluationLimits(
        cores=job_class.cores,
        memory_mib=job_class.memory_mib,
        seconds=job_class.seconds,
        image_mib=job_class.image_mib,
        model_mib=job_class.model_mib,
        predictions_mib=job_class.predictions_mib,
    )


def _judge_sample(evaluation: Evaluation, limits: EvaluationLimits, trainings: int) -> _Verdict:
    """Judge a sample that was evaluated while so many trainings of this worker ran."""
    if evaluation.has_score:
        return _Verdict("", math.inf)
    wrong = f"no valid score for its sample: {evaluation.detail}"
    if evaluation.seconds < limits.seconds:
        return _Verdict(wrong, math.inf)
    return _Verdict(wrong, time.monotonic() + SLOW_SAMPLE_SECONDS, trainings)


def _find_root(engine_root: str, home: Path) -> Path:
    """Return a folder on the engine's disk: its own where this process may ask about it, else the worker's home."""
    with contextlib.suppress(OSError):
        os.statvfs(engine_root)
        return Path(engine_root)
    return home
