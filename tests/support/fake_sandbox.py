"""A sandbox in memory: what an image does is read from the model itself.

A model is a line of ASCII. A number is the loss it scores. Other words: `crash` (no valid score), `overrun`,
`own-failure` (raises OwnFailureError), `hungry 0.123` (scores, but uses 0.9 of its memory). An image whose name
contains `broken` is UNRUNNABLE, so is one with `sampleless`, which can be pulled; the registry of one with `dark` does
not answer, that of one with `drip` answers without an end. Training writes the
checkpoints of `checkpoints`, one per call of `status`.
"""

import hashlib
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from abci_app.protocol.limits import RESERVED_LOSS
from tests.support.virtual_time import wait_for_test
from worker.sandbox import (
    BrokenImageError,
    Checkpoint,
    Evaluation,
    EvaluationLimits,
    Finding,
    InvalidScoreError,
    LogLine,
    OrphanReport,
    OwnFailureError,
    Progress,
    RegistryError,
    StopReason,
    TrainingSpec,
    TrainingState,
    TrainingStatus,
    Usage,
    parse_loss,
)


@dataclass
class FakeTraining:
    """Gives one checkpoint per look at its status; ends after the last."""

    spec: TrainingSpec
    checkpoints: list[bytes]
    published: int = 0
    copied: int = 0
    stopped: bool = False
    forgotten: bool = False
    closed: bool = False
    failures: int = 0
    """So many checkpoints fail, as if the engine could not freeze the container."""

    def status(self) -> TrainingStatus:
        if self.stopped:
            return TrainingStatus(TrainingState.STOPPED, float(self.published), reason=StopReason.STOPPED)
        if self.published == len(self.checkpoints):
            return TrainingStatus(TrainingState.ENDED, float(self.published), exit_code=0)
        self.published += 1
        return TrainingStatus(TrainingState.RUNNING, float(self.published))

    def lines(self) -> list[Progress | LogLine]:
        return [Progress(step=self.published, total=len(self.checkpoints))]

    def checkpoint(self, into: Path) -> Checkpoint | None:
        if self.copied == self.published:
            return None
        if self.failures > 0:
            self.failures -= 1
            raise OwnFailureError("the fake engine cannot freeze a container")
        self.copied = self.published
        model = self.checkpoints[self.copied - 1]
        into.write_bytes(model)
        return Checkpoint(into, hashlib.sha256(model).digest(), len(model))

    def stop(self, grace_seconds: float = 30.0) -> TrainingStatus:
        self.stopped = True
        return self.status()

    def close(self, *, forget: bool) -> None:
        self.closed = True
        self.forgotten = forget


@dataclass
class FakeSandbox:
    """Implements worker.sandbox.Sandbox and records what was asked of it."""

    checkpoints: Iterable[bytes] = (b"0.5", b"0.4", b"0.3")
    evaluated: list[tuple[str, bytes]] = field(default_factory=list)
    trainings: list[FakeTraining] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    forgotten_attempts: list[str] = field(default_factory=list)
    kept_attempts: list[str] | None = None
    failing_checkpoints: int = 0
    slow_samples: int = 0
    closed: bool = False

    def prepare(self, image: str, image_mib: int, given_up: threading.Event | None = None) -> None:
        self.prepared.append(image)
        if "broken" in image:
            raise BrokenImageError(f"{image} breaks the contract")
        if "dark" in image:
            raise RegistryError(f"the registry of {image} does not answer")
        if "drip" in image:
            assert given_up is not None, "nobody could give this up"
            wait_for_test(given_up)
            raise OwnFailureError(f"nobody waits for {image} any more")

    def check_sample(self, image: str, limits: EvaluationLimits) -> None:
        self.prepare(image, limits.image_mib)
        if "sampleless" in image:
            raise BrokenImageError(f"no valid score for the sample of {image}")

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        content = model.read_bytes()
        self.evaluated.append((image, content))
        if "broken" in image or "sampleless" in image:
            return _unscored(Finding.UNRUNNABLE)
        if self.slow_samples:
            self.slow_samples -= 1
            return replace(_unscored(Finding.UNRUNNABLE), may_change=True)
        words = content.decode("ascii").split() or ["crash"]
        if words[0] == "own-failure":
            raise OwnFailureError("the fake engine is down")
        if words[0] == "overrun":
            return _unscored(Finding.OVERRUN)
        return _measure(words[-1], Usage(memory=0.9 if words[0] == "hungry" else 0.1))

    def start_training(self, spec: TrainingSpec, given_up: threading.Event | None = None) -> FakeTraining:
        self.prepare(spec.image, spec.limits.image_mib, given_up)
        training = FakeTraining(spec, list(self.checkpoints), failures=self.failing_checkpoints)
        self.trainings.append(training)
        return training

    def forget_attempt(self, attempt: str) -> None:
        if any(training.spec.attempt == attempt and not training.closed for training in self.trainings):
            raise OwnFailureError(f"attempt {attempt} is running")
        self.forgotten_attempts.append(attempt)

    def remove_orphans(self, keep_attempts: Collection[str] = ()) -> OrphanReport:
        self.kept_attempts = list(keep_attempts)
        return OrphanReport()

    def close(self) -> None:
        self.closed = True


def _measure(word: str, usage: Usage) -> Evaluation:
    receipt = hashlib.sha256(b"predictions of " + word.encode()).digest()
    try:
        loss = parse_loss(word)
    except InvalidScoreError:
        loss = RESERVED_LOSS
    return Evaluation(Finding.MEASURED, loss, receipt, 0.1, usage, "")


def _unscored(finding: Finding) -> Evaluation:
    return Evaluation(finding, 0, b"", 0.1, Usage(), finding.name)
