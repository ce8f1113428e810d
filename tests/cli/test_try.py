"""`lc job try`: an image before it is paid for."""

from types import SimpleNamespace
from typing import Any

import pytest

from learningchain.cli import exit_codes, worker_tools
from tests.cli.terminal import DIGEST, IMAGE, Terminal, make_image
from worker.sandbox import BrokenImageError, OwnFailureError, Step


class Trials:
    """Stands for the worker's sandbox."""

    def __init__(self) -> None:
        self.largest = 0.5
        self.asked: list[tuple[Any, ...]] = []

    def try_job(self, _: object, *arguments: Any) -> object:
        self.asked.append(arguments)
        evaluation = SimpleNamespace(
            loss_nano=2_500_000_000, seconds=1.25, usage=SimpleNamespace(largest=self.largest), has_score=True
        )
        return SimpleNamespace(sample=evaluation, first=evaluation, first_bytes=77)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    stand_in = Trials()
    monkeypatch.setattr(worker_tools, "try_job", stand_in.try_job)
    return stand_in


def test_it_tells_what_was_measured(terminal: Terminal, trials: Trials) -> None:
    outcome = terminal.json("job", "try", f"{IMAGE}:1", "--cpus", "0.5")
    assert outcome.code == exit_codes.OK, outcome.err
    assert outcome.data == {
        "image": f"{IMAGE}@{DIGEST}",
        "eval_image": f"{IMAGE}@{DIGEST}",
        "packed_bytes": str(make_image().size),
        "sample_loss": "2.5",
        "first_model_loss": "2.5",
        "first_model_bytes": "77",
        "seconds": "1.250",
        "largest_use": "0.50",
        "is_usable": True,
    }
    [(image, eval_image, job_class, *needs)] = trials.asked
    assert (image, eval_image, needs) == (f"{IMAGE}@{DIGEST}", f"{IMAGE}@{DIGEST}", [500, 1024, 1024])
    assert job_class.name


def test_an_image_that_no_worker_would_announce_for_fails(terminal: Terminal, trials: Trials) -> None:
    trials.largest = 0.51
    outcome = terminal.json("job", "try", f"{IMAGE}:1")
    assert outcome.code == exit_codes.FAILED
    assert "51% of a limit" in outcome.error["message"]
    assert outcome.data["is_usable"] is False


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            BrokenImageError("it unpacks to more than the 10 MiB that are allowed"),
            "breaks the job contract: it unpacks",
        ),
        (OwnFailureError("no container engine answers"), "this machine cannot evaluate: no container engine"),
    ],
)
def test_whose_failure_it_is_is_told(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(worker_tools, "try_image", fail)
    outcome = terminal.json("job", "try", f"{IMAGE}:1")
    assert outcome.code == exit_codes.FAILED
    assert words in outcome.error["message"]


def test_what_goes_on_is_told_on_stderr(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(*arguments: Any) -> object:
        arguments[-1](Step("fetching layer 1 of 2, 3.0 MiB", 0, 3 << 20))
        raise OwnFailureError("the line is down")

    monkeypatch.setattr(worker_tools, "try_image", tell)
    outcome = terminal.run("job", "try", f"{IMAGE}:1")
    assert "fetching layer 1 of 2, 3.0 MiB …" in outcome.err
    assert "layer" not in outcome.out


def test_a_class_that_does_not_exist_is_named(terminal: Terminal, trials: Trials) -> None:
    outcome = terminal.json("job", "try", f"{IMAGE}:1", "--class", "9")
    assert outcome.code == exit_codes.USAGE
    assert "class 9 does not exist" in outcome.error["message"]
    assert trials.asked == []
