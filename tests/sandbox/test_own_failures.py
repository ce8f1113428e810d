"""What is this machine's own failure is never a finding, and a failed evaluation is tried once more."""

import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from abci_app.protocol.limits import RESERVED_LOSS
from tests.sandbox.engine_proxy import EngineProxy
from tests.sandbox.fake_registry import DrippingServer
from tests.sandbox.support import LIMITS, get_spec, list_mounts, wait_for, wait_for_line, wait_until_running
from worker.sandbox import (
    DockerSandbox,
    Evaluation,
    Finding,
    NoSpaceError,
    OwnFailureError,
    SandboxSettings,
    UnfitEngineError,
    Usage,
    evaluate_model,
)
from worker.sandbox import sandbox as sandbox_module
from worker.sandbox.container import Container
from worker.sandbox.memory import Meter
from worker.sandbox.spec import OWNER_LABEL

GOOD = Evaluation(Finding.MEASURED, 5, b"r" * 32, 0.1, Usage(), "")
CRASHED = Evaluation(Finding.MEASURED, RESERVED_LOSS, b"", 0.1, Usage(), "")
OVERRUN = Evaluation(Finding.OVERRUN, 0, b"", 0.1, Usage(), "")


@pytest.fixture
def proxy(docker_host: str, tmp_path: Path) -> Iterator[EngineProxy]:
    proxy = EngineProxy(tmp_path / "engine.sock", docker_host)
    yield proxy
    proxy.stop()


class Script:
    """Stands for OneEvaluation: gives one result after the other, the first for the sample."""

    def __init__(self, *results: Evaluation | OwnFailureError) -> None:
        self.results = list(results)

    def __call__(self, *_: object) -> "Script":
        return self

    def evaluate(self, _: Path) -> Evaluation:
        result = self.results.pop(0)
        if isinstance(result, OwnFailureError):
            raise result
        return result


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ((GOOD, GOOD), GOOD),
        ((GOOD, CRASHED, GOOD), GOOD),
        ((GOOD, OVERRUN, GOOD), GOOD),
        ((GOOD, CRASHED, CRASHED), CRASHED),
        ((GOOD, OVERRUN, OVERRUN), OVERRUN),
        ((GOOD, OwnFailureError("x"), GOOD), GOOD),
        ((CRASHED, GOOD, GOOD), GOOD),
    ],
)
def test_a_failed_evaluation_is_repeated_once(
    docker_host: str,
    hostile: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: tuple[Evaluation | OwnFailureError, ...],
    expected: Evaluation,
) -> None:
    script = Script(*results)
    monkeypatch.setattr(sandbox_module, "OneEvaluation", script)
    settings = SandboxSettings(
        allow_loopback=True, home=tmp_path, engine=docker_host, storage="engine", free_reserve_mib=64
    )
    assert evaluate_model(hostile, tmp_path / "model", LIMITS, settings, print) == expected
    assert script.results == []


def test_a_machine_that_fails_twice_says_nothing(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "OneEvaluation", Script(GOOD, OwnFailureError("a"), OwnFailureError("b")))
    settings = SandboxSettings(
        allow_loopback=True, home=tmp_path, engine=docker_host, storage="engine", free_reserve_mib=64
    )
    with pytest.raises(OwnFailureError, match="b"):
        evaluate_model(hostile, tmp_path / "model", LIMITS, settings, print)


def test_the_sample_is_tried_once_per_image(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(CRASHED, CRASHED)
    monkeypatch.setattr(sandbox_module, "OneEvaluation", script)
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, storage="engine", free_reserve_mib=64)
    )
    for _ in range(2):
        evaluation = sandbox.evaluate(hostile, tmp_path / "model", LIMITS)
        assert (evaluation.finding, evaluation.may_change) == (Finding.UNRUNNABLE, False)
    sandbox.close()


@pytest.mark.parametrize("change", [{"HostConfig": {"Runtime": "none-such"}}, {"Image": "sha256:" + "ab" * 32}])
def test_what_no_image_can_be_started_with_is_an_own_failure(
    sandbox: DockerSandbox, hostile: str, change: dict[str, object]
) -> None:
    """Neither is an image that was removed meanwhile."""
    sandbox.prepare(hostile, LIMITS.image_mib)
    config = {"Image": hostile, "Entrypoint": ["/lc/run"], "Labels": sandbox.host.get_labels(), **change}
    with sandbox.host.name() as name, pytest.raises(OwnFailureError):
        Container(sandbox.host.engine, name, config, lambda _: None, 1)


def test_a_sample_that_took_too_long_is_tried_again_after_a_while(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may have been busy."""
    slow = replace(OVERRUN, seconds=float(LIMITS.seconds))
    script = Script(slow, slow, GOOD, GOOD, GOOD)
    monkeypatch.setattr(sandbox_module, "OneEvaluation", script)
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, storage="engine", free_reserve_mib=64)
    )
    for _ in range(2):
        evaluation = sandbox.evaluate(hostile, tmp_path / "model", LIMITS)
        assert (evaluation.finding, evaluation.may_change) == (Finding.UNRUNNABLE, True)
    later = time.monotonic() + sandbox_module.SLOW_SAMPLE_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        assert sandbox.evaluate(hostile, tmp_path / "model", LIMITS) == GOOD
    assert sandbox.evaluate(hostile, tmp_path / "model", LIMITS) == GOOD
    assert script.results == []
    sandbox.close()


def test_a_sample_that_took_too_long_is_tried_again_when_fewer_own_trainings_run(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose training slowed its evaluation down is often over before a while has passed."""

    class Busy:
        is_closed = False

        def close(self, *, forget: bool) -> None:
            self.is_closed = True

    slow = replace(OVERRUN, seconds=float(LIMITS.seconds))
    script = Script(slow, slow, slow, slow, GOOD, GOOD)
    monkeypatch.setattr(sandbox_module, "OneEvaluation", script)
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, storage="engine", free_reserve_mib=64)
    )
    trainings = [Busy(), Busy()]
    monkeypatch.setattr(sandbox, "_trainings", trainings)
    for left in (4, 2):
        for _ in range(3):  # once for so many trainings
            assert sandbox.evaluate(hostile, tmp_path / "model", LIMITS).finding is Finding.UNRUNNABLE
            assert len(script.results) == left
        trainings[left // 4].is_closed = True
    assert sandbox.evaluate(hostile, tmp_path / "model", LIMITS) == GOOD
    assert script.results == []
    sandbox.close()


def test_an_engine_that_dies_under_an_evaluation_is_no_finding(
    proxy: EngineProxy, hostile: str, tmp_path: Path
) -> None:
    """What could not be removed then is removed later, by the same process."""
    home = tmp_path / "home"
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=home, engine=proxy.url, storage="loop", free_reserve_mib=64)
    )
    model = tmp_path / "model"
    model.write_text("until_told", encoding="ascii")
    sandbox.check_sample(hostile, LIMITS)

    def cut() -> None:
        wait_until_running(sandbox, "predict")
        proxy.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()
    with pytest.raises(OwnFailureError, match="engine"):
        sandbox.evaluate(hostile, model, LIMITS)
    cutting.join()
    proxy.mend()
    assert sandbox.remove_orphans().containers == 1
    assert sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}") == []
    assert list_mounts(home) == []
    sandbox.close()


def test_an_evaluation_that_cannot_be_watched_is_no_finding(
    sandbox: DockerSandbox, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended at once: nobody sees what it writes any more."""
    model, limits = tmp_path / "model", replace(LIMITS, seconds=600)
    sandbox.check_sample(hostile, limits)
    model.write_text("until_told", encoding="ascii")

    def fail(_: Meter) -> int:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(Meter, "read", fail)
    with pytest.raises(OwnFailureError, match="what nobody thought of"):
        sandbox.evaluate(hostile, model, limits)


def test_a_training_whose_engine_dies_says_so(
    proxy: EngineProxy, hostile: str, tmp_path: Path, deadline_ms: int
) -> None:
    home = tmp_path / "home"
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=home, engine=proxy.url, storage="loop", free_reserve_mib=64)
    )
    training = sandbox.start_training(get_spec(hostile, "ignore_term", deadline_ms))
    wait_for_line(training, "ready")
    proxy.cut()

    def is_lost() -> bool:
        try:
            training.status()
        except OwnFailureError:
            return True
        return False

    wait_for(is_lost)
    proxy.mend()
    training.close(forget=True)
    assert sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}") == []
    sandbox.close()


def test_closing_under_an_evaluation_is_no_finding(docker_host: str, hostile: str, tmp_path: Path) -> None:
    home, model, limits = tmp_path / "home", tmp_path / "model", replace(LIMITS, seconds=600)
    sandbox = DockerSandbox(SandboxSettings(allow_loopback=True, home=home, engine=docker_host, free_reserve_mib=64))
    sandbox.check_sample(hostile, limits)
    model.write_text("until_told", encoding="ascii")

    def close() -> None:
        wait_until_running(sandbox, "predict")
        sandbox.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(OwnFailureError, match="closing"):
        sandbox.evaluate(hostile, model, limits)
    closing.join()
    assert list_mounts(home) == []


def test_an_image_that_drips_holds_up_neither_other_evaluations_nor_the_end(
    docker_host: str, hostile: str, dripping: DrippingServer, tmp_path: Path
) -> None:
    sandbox = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=tmp_path / "home", engine=docker_host, free_reserve_mib=64)
    )
    model = tmp_path / "model"
    model.write_text("0.5", encoding="ascii")
    found: list[str] = []

    def evaluate() -> None:
        with pytest.raises(OwnFailureError) as caught:
            sandbox.evaluate(dripping.image, model, LIMITS)
        found.append(str(caught.value))

    waiting = threading.Thread(target=evaluate, daemon=True)
    waiting.start()
    closing = threading.Thread(target=sandbox.close, daemon=True)
    try:
        dripping.asked.wait()
        good: list[Evaluation] = []
        other = threading.Thread(target=lambda: good.append(sandbox.evaluate(hostile, model, LIMITS)), daemon=True)
        other.start()
        other.join()
        assert [evaluation.has_score for evaluation in good] == [True]
        assert waiting.is_alive()
    finally:
        closing.start()
    closing.join()
    waiting.join()
    assert found == ["the sandbox is closing"]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_engine_that_is_not_there_is_an_own_failure(tmp_path: Path) -> None:
    with pytest.raises(OwnFailureError, match="engine"):
        DockerSandbox(SandboxSettings(allow_loopback=True, home=tmp_path, engine=f"unix://{tmp_path}/nothing"))
    gc.collect()  # the SDK does not close a socket that finds nobody; warned of here, it is not held against others


def test_an_engine_across_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitEngineError, match="unix"):
        DockerSandbox(SandboxSettings(allow_loopback=True, home=tmp_path, engine="tcp://127.0.0.1:2375"))


def test_an_engine_without_the_runtime_is_refused(docker_host: str, tmp_path: Path) -> None:
    with pytest.raises(UnfitEngineError, match="the runtime none-such"):
        DockerSandbox(SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, runtime="none-such"))


def test_cores_that_are_not_ours_are_refused(docker_host: str, tmp_path: Path) -> None:
    with pytest.raises(OwnFailureError, match="4095"):
        DockerSandbox(SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, cpus=(4095,)))


def test_a_full_disk_is_an_own_failure(docker_host: str, tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="in reserve"):
        DockerSandbox(
            SandboxSettings(
                allow_loopback=True, home=tmp_path, engine=docker_host, storage="loop", free_reserve_mib=1 << 40
            )
        )


def test_why_outputs_have_no_hard_caps_is_said(
    docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator who gave all rights and misses a tool would not notice."""
    monkeypatch.setattr("worker.sandbox.disks._SEARCH", str(tmp_path))
    with structlog.testing.capture_logs() as logs:
        sandbox = DockerSandbox(
            SandboxSettings(allow_loopback=True, home=tmp_path / "home", engine=docker_host, free_reserve_mib=64)
        )
    assert "storage engine" in sandbox.check_engine()
    sandbox.close()
    assert [each["reason"] for each in logs] == ["mkfs.ext4 is not installed: apt-get install e2fsprogs mount"]


def test_the_engine_is_described(sandbox: DockerSandbox, engine_sandbox: DockerSandbox) -> None:
    assert "runtime runc; storage loop" in sandbox.check_engine()
    assert "storage engine" in engine_sandbox.check_engine()
