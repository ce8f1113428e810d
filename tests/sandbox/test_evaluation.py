"""What an evaluation finds, for models that behave."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from abci_app.protocol.limits import RESERVED_LOSS
from tests.sandbox.fake_registry import FakeRegistry, make_layer
from tests.sandbox.support import LIMITS, Evaluate, tell
from worker.sandbox import BrokenImageError, DockerSandbox, Finding, OwnFailureError
from worker.sandbox.container import Container
from worker.sandbox.memory import Meter
from worker.sandbox.pulls import get_own_name
from worker.sandbox.reference import parse_reference


def test_a_model_gets_its_loss_and_a_receipt_of_its_predictions(evaluate: Evaluate, any_sandbox: DockerSandbox) -> None:
    evaluation = evaluate("0.0123", chosen=any_sandbox)
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, 12_300_000), evaluation.detail
    assert evaluation.receipt == hashlib.sha256(b"0.0123").digest()
    assert evaluation.has_score
    assert 0 < evaluation.usage.seconds == evaluation.seconds / LIMITS.seconds < 0.5
    assert 0 <= evaluation.usage.memory < 0.5  # nobody may have looked at so short a run
    assert evaluation.usage.predictions == 6 / (4 << 20)
    assert evaluation.usage.largest == max(evaluation.usage.seconds, evaluation.usage.memory)


@pytest.mark.parametrize("model", ["until_told", "score until_told"])
def test_the_largest_memory_of_both_runs_is_measured(
    evaluate: Evaluate,
    any_sandbox: DockerSandbox,
    model: str,
    hostile: str,
    engine_client: docker.APIClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    any_sandbox.check_sample(hostile, LIMITS)
    command = ["score" if model.startswith("score") else "predict"]
    read, seen = Meter.read, list[int]()

    def read_and_tell(meter: Meter) -> int:
        found = read(meter)
        if found and any_sandbox.host.engine.inspect(meter._container)["Config"]["Cmd"] == command:
            found += 20 << 20  # else both runs use about the same
            if not seen:
                seen.append(found)
                tell(engine_client, meter._container)
        return found

    monkeypatch.setattr(Meter, "read", read_and_tell)
    evaluation = evaluate(model, chosen=any_sandbox)
    assert evaluation.finding is Finding.MEASURED, evaluation.detail
    assert seen[0] / (LIMITS.memory_mib << 20) <= evaluation.usage.memory < 0.5


@pytest.mark.parametrize("model", ["crash", "score exit", "score large", "score link"])
def test_a_run_that_ends_by_itself_without_a_score_has_the_reserved_loss(evaluate: Evaluate, model: str) -> None:
    evaluation = evaluate(model)
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail
    assert not evaluation.has_score
    predictions = model.encode() if model.startswith("score") else None
    assert evaluation.receipt == (hashlib.sha256(predictions).digest() if predictions else b"")


def test_a_score_in_another_form_is_none(evaluate: Evaluate) -> None:
    evaluation = evaluate('score text {"loss":1e3000000}')
    assert (evaluation.finding, evaluation.loss_nano) == (Finding.MEASURED, RESERVED_LOSS), evaluation.detail


@pytest.mark.parametrize("model", ["sleep 60", "score sleep 60"])
def test_a_run_that_takes_too_long_is_an_overrun(evaluate: Evaluate, model: str) -> None:
    evaluation = evaluate(model, replace(LIMITS, seconds=2))
    assert (evaluation.finding, evaluation.loss_nano, evaluation.receipt) == (Finding.OVERRUN, 0, b"")
    assert evaluation.seconds >= 2
    assert "out of time" in evaluation.detail


def test_predict_and_score_share_the_seconds(
    evaluate: Evaluate, sandbox: DockerSandbox, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.check_sample(hostile, LIMITS)
    wait, given = Container.wait, list[float]()

    def note(container: Container, seconds: float) -> bool:
        given.append(seconds)
        return wait(container, seconds)

    monkeypatch.setattr(Container, "wait", note)
    assert evaluate("sleep 0.5").finding is Finding.MEASURED
    assert given[0] == LIMITS.seconds
    assert given[1] <= LIMITS.seconds - 0.5


def test_an_image_without_a_score_for_its_sample_is_unrunnable(
    build: Callable[..., str], sandbox: DockerSandbox, tmp_path: Path
) -> None:
    image = build("bad-sample", _variant("RUN echo crash > /lc/sample"))
    model = tmp_path / "model"
    model.write_text("0.5", encoding="ascii")
    evaluation = sandbox.evaluate(image, model, LIMITS)
    assert (evaluation.finding, evaluation.loss_nano, evaluation.receipt) == (Finding.UNRUNNABLE, 0, b"")
    assert "sample" in evaluation.detail
    with pytest.raises(BrokenImageError, match="sample"):  # found without any other model
        sandbox.check_sample(image, LIMITS)


def test_an_image_that_runs_passes_with_its_sample_alone(sandbox: DockerSandbox, hostile: str) -> None:
    sandbox.check_sample(hostile, LIMITS)


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("no-sample", "RUN rm /lc/sample", "no /lc/sample"),
        ("link-sample", "RUN ln -sf /lc/run /lc/sample", "not a regular file"),
        ("large-sample", "RUN head -c 2000000 /dev/zero > /lc/sample", "larger than"),
        ("no-run", "RUN rm /lc/run", "no valid score"),
        ("folder-passwd", "RUN rm /etc/passwd && mkdir /etc/passwd", "no container can be started"),
        ("loop-sample", "RUN ln -sf sample /lc/sample", "no /lc/sample"),
        ("loop-passwd", "RUN rm /etc/passwd && ln -s passwd /etc/passwd", "no container can be started"),
        ("loop-tmp", "RUN rm -rf /tmp && ln -s tmp /tmp", "no container can be started"),
        ("volume", "VOLUME /data", "VOLUME"),
        ("unlabelled", "LABEL org.learningchain.contract=2", "lacks the label"),
    ],
)
def test_an_image_that_breaks_the_contract_is_unrunnable(
    build: Callable[..., str], sandbox: DockerSandbox, tmp_path: Path, name: str, lines: str, words: str
) -> None:
    model = tmp_path / "model"
    model.write_text("0.5", encoding="ascii")
    evaluation = sandbox.evaluate(build(name, _variant(lines)), model, LIMITS)
    assert evaluation.finding is Finding.UNRUNNABLE
    assert words in evaluation.detail
    assert evaluation.receipt == b""


def test_an_image_whose_environment_the_runtime_refuses_is_unrunnable(
    fake: FakeRegistry, any_sandbox: DockerSandbox, tmp_path: Path
) -> None:
    layer, diff = make_layer(**{"lc/sample": 10})
    image = fake.add_manifest(fake.make_manifest(layer, diff, config={"Env": ["=x"]}))
    try:
        evaluation = any_sandbox.evaluate(image, tmp_path / "model", LIMITS)
    finally:
        any_sandbox.host.engine.remove_image(get_own_name(parse_reference(image).digest))
    assert evaluation.finding is Finding.UNRUNNABLE
    assert "no container can be started" in evaluation.detail


def test_a_machine_that_is_too_small_finds_nothing(evaluate: Evaluate) -> None:
    with pytest.raises(OwnFailureError, match="cores"):
        evaluate("0.5", replace(LIMITS, cores=4096))
    with pytest.raises(OwnFailureError, match="memory"):
        evaluate("0.5", replace(LIMITS, memory_mib=1 << 30))


def test_a_model_that_cannot_be_read_is_the_workers_own_failure(sandbox: DockerSandbox, hostile: str) -> None:
    with pytest.raises(OwnFailureError, match="cannot be read"):
        sandbox.evaluate(hostile, Path("/nowhere/model"), LIMITS)


def _variant(lines: str) -> str:
    return f"ARG BASE\nFROM ${{BASE}}\nLABEL org.learningchain.contract=1\nCOPY run sample /lc/\n{lines}\n"
