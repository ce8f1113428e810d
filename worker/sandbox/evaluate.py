"""One evaluation: predict in one container, score in another, the finding a checker votes."""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from abci_app.protocol.limits import MIB, RESERVED_LOSS
from learningchain.amounts import format_loss
from learningchain.registry import CONTRACT_VERSION
from worker.sandbox.artifacts import Artifact, ArtifactTooLargeError, NoArtifactError
from worker.sandbox.container import Container, End
from worker.sandbox.host import Host
from worker.sandbox.output import EVALUATION_OUTPUT, Tail
from worker.sandbox.score import SCORE_BYTES, InvalidScoreError, parse_score
from worker.sandbox.spec import Action, RunSpec, get_container_config
from worker.sandbox.storage import Inputs, Workspace
from worker.sandbox.types import (
    Evaluation,
    EvaluationLimits,
    Finding,
    StopReason,
    Usage,
)
from worker.sandbox.watch import Watch

SCORE_OUT_BYTES = MIB
JOB_JSON = json.dumps({"contract": int(CONTRACT_VERSION)}).encode("ascii")

_STOPPED = {
    StopReason.TIME: "stopped: out of time",
    StopReason.MEMORY: "stopped: out of memory",
    StopReason.SPACE: "stopped: wrote more than it may",
    StopReason.OUTPUT: f"stopped: printed more than {EVALUATION_OUTPUT // MIB} MiB",
}


class _FailedError(Exception):
    """The image or the model failed; `finding` says how."""

    def __init__(self, finding: Finding, detail: str) -> None:
        super().__init__(detail)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class _Run:
    """A container that ended, with its places still there."""

    action: Action
    container: Container
    workspace: Workspace
    end: End
    printed: str

    def copy_output(self, name: str, cap: int, into: BinaryIO) -> Artifact:
        return self.workspace.copy_output(self.container.id, name, cap, into)

    def check_end(self) -> None:
        """Raise _FailedError unless it ended by itself with exit status 0."""
        if self.end.reason is not None:
            raise self.fail(_STOPPED[self.end.reason], is_overrun=True)
        if self.end.exit_code != 0:
            raise self.fail(f"exit status {self.end.exit_code}")

    def fail(self, why: str, *, is_overrun: bool = False) -> _FailedError:
        """Return the error that says it left nothing valid; a full disk is an overrun."""
        finding = Finding.OVERRUN if is_overrun or self.workspace.is_full() else Finding.MEASURED
        return _FailedError(finding, f"{self.action.value}: {why}; it printed: {self.printed or 'nothing'}")


class OneEvaluation:
    """Predict and score of one model, once. Made for one use."""

    def __init__(self, host: Host, image: str, limits: EvaluationLimits) -> None:
        """`image` is the engine's image id. Raises OwnFailureError when this machine is too small."""
        host.check_memory(limits.memory_mib * MIB)
        self._cpus = host.choose_cpus(limits.cores)
        self._host = host
        self._image = image
        self._limits = limits
        self._seconds = 0.0
        self._peak = 0  # bytes of memory
        self._written = Artifact(b"", 0)

    def evaluate(self, model: Path) -> Evaluation:
        """Return the finding. Raises OwnFailureError, and BrokenImageError when a container cannot be made of it."""
        with tempfile.TemporaryDirectory(dir=self._host.get_process_folder()) as folder:
            predictions = Path(folder, "predictions")
            try:
                self._predict(model, predictions)
                loss = self._score(predictions)
            except _FailedError as failure:
                return self._get_evaluation(failure.finding, RESERVED_LOSS, str(failure))
        return self._get_evaluation(Finding.MEASURED, loss, f"loss {format_loss(loss)}")

    def _predict(self, model: Path, predictions: Path) -> None:
        cap = self._limits.predictions_mib * MIB
        problem: NoArtifactError | None = None
        with self._running(Action.PREDICT, {"model": model}, cap) as run:
            try:
                with predictions.open("xb") as into:
                    self._written = run.copy_output("predictions", cap, into)
            except NoArtifactError as error:
                problem = error
            run.check_end()
            if problem is not None:
                raise run.fail(str(problem), is_overrun=isinstance(problem, ArtifactTooLargeError))

    def _score(self, predictions: Path) -> int:
        content = io.BytesIO()
        with self._running(Action.SCORE, {"predictions": predictions}, SCORE_OUT_BYTES) as run:
            run.check_end()
            try:
                run.copy_output("score.json", SCORE_BYTES, content)
                return parse_score(content.getvalue())
            except (NoArtifactError, InvalidScoreError) as error:
                raise run.fail(str(error)) from None

    @contextlib.contextmanager
    def _running(self, action: Action, inputs: Inputs, out_bytes: int) -> Iterator[_Run]:
        """Run an action to its end and give what it left; all of it is gone after the block."""
        host, tail = self._host, Tail()
        with contextlib.ExitStack() as stack:
            name, uid = stack.enter_context(host.name()), stack.enter_context(host.uid())
            folder = host.get_process_folder() / name
            workspace = host.storage.open(folder, uid, {"job.json": JOB_JSON, **inputs}, out_bytes)
            stack.callback(workspace.close)
            config = get_container_config(self._get_spec(action, uid, workspace))
            container = Container(host.engine, name, config, tail.feed, EVALUATION_OUTPUT)
            stack.callback(container.remove)
            end = self._wait(container, workspace)
            yield _Run(action, container, workspace, end, tail.get_text())

    def _get_spec(self, action: Action, uid: int, workspace: Workspace) -> RunSpec:
        return RunSpec(
            action=action,
            image=self._image,
            uid=uid,
            cpus=self._cpus,
            memory_bytes=self._limits.memory_mib * MIB,
            mounts=workspace.mounts,
            runtime=self._host.runtime,
            labels=self._host.get_labels(),
        )

    def _wait(self, container: Container, workspace: Workspace) -> End:
        """Start it, and stop it when predict and score together used up the class's seconds."""
        watch = Watch(self._host.engine, container, workspace)
        container.start()
        watch.start()
        try:
            self._host.check_open()  # what was not running yet when all were killed is not waited for
            if not container.wait(self._limits.seconds - self._seconds):
                container.kill(StopReason.TIME)
        finally:
            self._seconds += time.monotonic() - container.started
            watch.stop()
        self._host.check_open()
        self._peak = max(self._peak, watch.peak_bytes)
        return container.get_end()

    def _get_evaluation(self, finding: Finding, loss: int, detail: str) -> Evaluation:
        is_measured = finding is Finding.MEASURED
        limits = self._limits
        usage = Usage(
            self._seconds / limits.seconds,
            self._peak / (limits.memory_mib * MIB),
            self._written.size / (limits.predictions_mib * MIB),
        )
        receipt = self._written.digest if is_measured else b""
        return Evaluation(finding, loss if is_measured else 0, receipt, self._seconds, usage, detail)
