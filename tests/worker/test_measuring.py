"""What several runs of an own model say together."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from abci_app.protocol.limits import RESERVED_LOSS
from tests.support.fake_sandbox import FakeSandbox
from tests.worker.worlds import MODEL, make_job, start
from worker import events as ev
from worker.measuring import Measuring
from worker.sandbox import Evaluation, EvaluationLimits, Finding, Usage

EVAL_IMAGE = "registry.example:5000/digits-eval@sha256:" + "b" * 64


def run(loss: int = 5, finding: Finding = Finding.MEASURED, **usage: float) -> Evaluation:
    return Evaluation(finding, loss, b"", 0.1, Usage(**usage), "")


@dataclass
class ScriptedSandbox(FakeSandbox):
    """Gives one prepared result after the other."""

    results: list[Evaluation] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        self.images.append(image)
        return self.results.pop(0)


def measure(*results: Evaluation, **terms: Any) -> tuple[ev.Evaluated, ScriptedSandbox]:
    """Evaluate a model of an open job for which every loss would lead."""
    sandbox = ScriptedSandbox(results=list(results))
    tools = cast(Any, SimpleNamespace(sandbox=sandbox, get_model=lambda _: Path("model")))
    delivered: list[Any] = []
    asyncio.run(Measuring(tools, start(make_job(**terms)), delivered.append).evaluate(ev.Evaluate(1, MODEL)))
    (result,) = delivered
    return result, sandbox


def test_every_run_counts() -> None:
    result, sandbox = measure(run(5), run(7), run(6))
    assert result == ev.Evaluated(1, MODEL, (5, 7, 6), 0)
    assert sandbox.results == []


def test_the_largest_use_of_any_limit_in_any_run_counts_rounded_up() -> None:
    result, _ = measure(run(memory=0.1), run(seconds=0.501, predictions=0.2), run(memory=0.3))
    assert result.largest_use == 51


def test_a_run_that_ends_without_a_score_after_one_with_a_score_is_noise() -> None:
    result, _ = measure(run(5), run(RESERVED_LOSS))
    assert result.losses == (5, RESERVED_LOSS)


def test_of_a_model_that_was_stopped_once_no_loss_is_known() -> None:
    result, _ = measure(run(5), run(0, Finding.OVERRUN))
    assert result.losses == ()


def test_the_image_for_evaluation_evaluates() -> None:
    _, sandbox = measure(run(), run(), run(), eval_image=EVAL_IMAGE)
    assert sandbox.images == [EVAL_IMAGE] * 3
    assert sandbox.prepared == [EVAL_IMAGE]
