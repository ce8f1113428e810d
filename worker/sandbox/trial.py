"""Tries an image before anybody pays for it: does what checkers and workers would do with it."""

import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.sandbox.sandbox import DockerSandbox
from worker.sandbox.types import (
    BrokenImageError,
    Evaluation,
    EvaluationLimits,
    LogLine,
    SandboxSettings,
    Step,
    Training,
    TrainingLimits,
    TrainingSpec,
    TrainingState,
)

MODEL_SECONDS: Final = 90.0
"""For the first model of a training. The sandbox ends one without a model sooner, by the time that it ran."""
POLL_SECONDS: Final = 0.2
LAST_LINES: Final = 10  # of what a training printed that wrote no model
JOB_ID: Final = 1  # told to the image, which must not care


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured of an image that keeps the contract."""

    sample: Evaluation  # of the image's own sample model
    first: Evaluation  # of the first model that its training wrote
    first_bytes: int


def try_image(
    image: str,
    eval_image: str,
    limits: EvaluationLimits,
    training: TrainingLimits,
    settings: SandboxSettings,
    on_step: Callable[[Step], None],
) -> Trial:
    """Fetch images, evaluate the sample, train until there is a model, and evaluate that one.

    `on_step` is told what goes on, of each layer too before and while it is fetched. Raises BrokenImageError, of which
    the text says what checkers or workers would hold against the image, and OwnFailureError.
    """
    sandbox = DockerSandbox(settings, on_step)
    try:
        on_step(Step("fetching and counting the image"))
        sandbox.prepare(eval_image, limits.image_mib)
        on_step(Step("predict and score, on the image's own sample"))
        sample = sandbox.evaluate_sample(eval_image, limits)
        _require_score(sample, "its sample")
        on_step(Step("train, until the first model"))
        with tempfile.TemporaryDirectory(dir=sandbox.host.get_process_folder()) as folder:
            model = Path(folder, "model")
            size = _train(sandbox, image, training, model)
            on_step(Step("predict and score, on that model"))
            first = sandbox.evaluate(eval_image, model, limits)
        _require_score(first, "the first model of its training")
        return Trial(sample, first, size)
    finally:
        sandbox.close()


def _require_score(evaluation: Evaluation, what: str) -> None:
    if not evaluation.has_score:
        raise BrokenImageError(f"no valid score for {what}: {evaluation.detail}")


def _train(sandbox: DockerSandbox, image: str, limits: TrainingLimits, model: Path) -> int:
    """Write the first model of a training to a file and return its size in bytes."""
    deadline_ms = int((time.time() + limits.seconds) * 1000)
    training = sandbox.start_training(TrainingSpec(secrets.token_hex(16), JOB_ID, image, limits, deadline_ms))
    try:
        return _wait_for_model(training, model)
    finally:
        training.close(forget=True)


def _wait_for_model(training: Training, model: Path) -> int:
    end = time.monotonic() + MODEL_SECONDS
    last: deque[str] = deque(maxlen=LAST_LINES)
    while True:
        status = training.status()
        last.extend(line.text for line in training.lines() if isinstance(line, LogLine))
        if found := training.checkpoint(model):
            return found.size
        if status.state is not TrainingState.RUNNING or time.monotonic() > end:
            how = status.detail or f"it ended with exit code {status.exit_code}"
            raise BrokenImageError("\n".join([f"train wrote no valid model to /lc/out/model: {how}", *last]))
        time.sleep(POLL_SECONDS)
