"""Training containers: progress, checkpoints, stop and resume, caps, deadline."""

import errno
import functools
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sandbox.support import TRAINING, get_spec, wait_for, wait_for_end, wait_for_line
from worker.resources import LEAST
from worker.sandbox import (
    DockerSandbox,
    LogLine,
    OwnFailureError,
    Progress,
    StopReason,
    Training,
    TrainingSpec,
    TrainingState,
)
from worker.sandbox import host as host_module
from worker.sandbox import train as train_module
from worker.sandbox.container import Container
from worker.sandbox.output import LINES_KEPT
from worker.sandbox.train import MAX_KILLS, ContainerTraining

Train = Callable[[DockerSandbox, TrainingSpec], Training]


def test_progress_is_parsed(sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int) -> None:
    training = train(sandbox, get_spec(hostile, "improve", deadline_ms))
    lines = wait_for(training.lines)
    assert lines[0] == Progress(step=1, total=10, loss="0.5", metrics=(("a", "1"),))
    assert training.status().state is TrainingState.RUNNING


def test_a_checkpoint_is_copied_while_the_container_is_frozen(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, tmp_path: Path
) -> None:
    """The program writes without a pause: a copy holds one or two neighbouring numbers with one place of change."""
    training = train(any_sandbox, get_spec(hostile, "improve", deadline_ms))
    wait_for(training.lines)
    for number in range(3):
        checkpoint = wait_for(functools.partial(training.checkpoint, tmp_path / str(number)))
        content = checkpoint.path.read_bytes()
        assert (checkpoint.size, len(content)) == (4 << 20, 4 << 20)
        numbers = [int(content[start : start + 8]) for start in range(0, len(content), 1 << 16)]
        assert max(numbers) - min(numbers) <= 1
        assert numbers == sorted(numbers, reverse=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    wait_for(training.lines)  # it goes on


def test_a_write_lease_on_the_model_does_not_block_the_copy(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, tmp_path: Path
) -> None:
    """The frozen holder cannot give the lease back: an ordinary open would have the model after 45 s of waiting."""
    training = train(sandbox, get_spec(hostile, "lease", deadline_ms))
    wait_for_line(training, "ready")
    assert training.checkpoint(tmp_path / "model") is None
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_no_checkpoint(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, tmp_path: Path
) -> None:
    training = train(any_sandbox, get_spec(hostile, "train_link", deadline_ms))
    wait_for_line(training, "ready")
    assert training.checkpoint(tmp_path / "model") is None
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_attempt_resumes_with_seed_uid_state_and_time(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, tmp_path: Path
) -> None:
    spec = get_spec(hostile, "resume", deadline_ms)
    facts, seconds = [], []
    for start in range(2):
        training = train(any_sandbox, spec)
        facts.append(json.loads(wait_for_line(training, "ready")[0]))
        first = training.checkpoint(tmp_path / "first")
        assert first is not None
        assert first.path.read_text(encoding="ascii") == f"start {start}"
        status = training.stop()
        assert (status.state, status.reason, status.exit_code) == (TrainingState.STOPPED, StopReason.STOPPED, 0)
        assert status.seconds < 20  # the grace was not used up
        last = training.checkpoint(tmp_path / "last")
        assert last is not None
        assert last.path.read_text(encoding="ascii") == f"saved {start + 1}"
        seconds.append(status.seconds)
        training.close(forget=start == 1)
    assert [fact["starts"] for fact in facts] == [0, 1]
    assert facts[0] | {"starts": 1} == facts[1]
    assert facts[0]["LC_ATTEMPT"] == spec.attempt
    assert seconds[1] > seconds[0]
    assert not (any_sandbox.host.home / "attempts" / spec.attempt).exists()


def test_two_attempts_have_different_seeds_and_uids(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    facts = []
    for _ in range(2):
        training = train(sandbox, get_spec(hostile, "resume", deadline_ms))
        facts.append(json.loads(wait_for_line(training, "ready")[0]))
    assert facts[0]["LC_SEED"] != facts[1]["LC_SEED"]
    assert facts[0]["uid"] != facts[1]["uid"]
    assert 0 not in (facts[0]["uid"], facts[1]["uid"])


def test_an_attempt_runs_once_at_a_time(sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int) -> None:
    spec = get_spec(hostile, "resume", deadline_ms)
    train(sandbox, spec)
    with pytest.raises(OwnFailureError, match="running already"):
        sandbox.start_training(spec)


def test_ignoring_sigterm_ends_with_the_grace(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms))
    wait_for_line(training, "ready")
    wait, waited = Container.wait, list[float]()

    def note(container: Container, seconds: float) -> bool:
        if threading.current_thread() is threading.main_thread():
            waited.append(seconds)
        return wait(container, seconds)

    monkeypatch.setattr(Container, "wait", note)
    status = training.stop(grace_seconds=1.5)
    assert waited == [1.5]
    assert (status.state, status.exit_code) == (TrainingState.STOPPED, 137)


@pytest.mark.parametrize("limit", ["seconds", "deadline"])
def test_it_is_killed_when_its_time_is_over(
    sandbox: DockerSandbox,
    hostile: str,
    train: Train,
    deadline_ms: int,
    limit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last model can still be had."""
    seconds = 60 if limit == "seconds" else 600
    training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms, limits=replace(TRAINING, seconds=seconds)))
    wait_for_line(training, "ready")
    later = 60 if limit == "seconds" else 120
    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + later)
    monkeypatch.setattr(train_module, "time", clock)
    wait_for_end(training)
    status = training.status()
    assert (status.state, status.reason) == (TrainingState.STOPPED, StopReason.TIME)
    assert training.checkpoint(tmp_path / "model") is not None


def test_its_time_ends_on_a_full_disk_too(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seconds used cannot be written down: that must not end the watch over it."""
    training = train(any_sandbox, get_spec(hostile, "ignore_term", deadline_ms, limits=replace(TRAINING, seconds=2)))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(train_module, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr("worker.sandbox.attempts.os.fsync", refuse)
    wait_for_end(training)
    assert training.status().reason is StopReason.TIME


def test_a_training_that_cannot_be_watched_is_ended(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(any_sandbox, get_spec(hostile, "ignore_term", deadline_ms))
    assert isinstance(training, ContainerTraining)

    def fail(_: str) -> bool:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(training._workspace, "is_over", fail)
    training._attendant.join(20)
    with pytest.raises(OwnFailureError, match="what nobody thought of"):
        training.status()
    assert not any_sandbox.host.engine.inspect(training.container_id)["State"]["Running"]


def test_a_kill_from_outside_is_no_end_by_itself_until_it_happens_too_often(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    """The machine's memory or the engine's restart may have done it; a program that always ends so is at its end."""
    spec = get_spec(hostile, "ignore_term", deadline_ms)
    ends = []
    for _ in range(MAX_KILLS + 1):
        training = train(sandbox, spec)
        assert isinstance(training, ContainerTraining)
        wait_for_line(training, "ready")
        assert sandbox.host.engine.kill(training.container_id)
        wait_for_end(training)
        status = training.status()
        ends.append((status.state, status.reason, status.exit_code))
        training.close(forget=False)
    killed = (TrainingState.STOPPED, StopReason.KILLED, 137)
    assert ends == [killed] * MAX_KILLS + [(TrainingState.ENDED, None, 137)]


def test_a_clock_that_is_set_forward_ends_no_training(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms))
    assert isinstance(training, ContainerTraining)
    wait_for_line(training, "ready")
    monkeypatch.setattr("worker.sandbox.train.time.time", lambda: deadline_ms / 1000 + 3700)
    training._attendant.join(2.5)
    assert training.status().state is TrainingState.RUNNING


def test_a_model_that_could_not_be_copied_is_copied_the_next_time(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int, tmp_path: Path
) -> None:
    training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms))
    wait_for_line(training, "ready")
    with pytest.raises(OwnFailureError, match="cannot be copied"):
        training.checkpoint(tmp_path / "missing" / "model")
    assert training.checkpoint(tmp_path / "model") is not None


def test_an_attempt_that_cannot_be_read_begins_with_an_empty_state(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    """The state belongs to the uid that was lost."""
    spec = get_spec(hostile, "resume", deadline_ms)
    for _ in range(2):
        training = train(any_sandbox, spec)
        assert json.loads(wait_for_line(training, "ready")[0])["starts"] == 0
        training.close(forget=False)
        (any_sandbox.host.home / "attempts" / spec.attempt / "attempt.json").write_bytes(b"")
    train(any_sandbox, spec).close(forget=True)


@pytest.mark.parametrize("action", ["idle", "ignore_term"])
def test_without_a_first_model_it_is_stopped(
    any_sandbox: DockerSandbox,
    hostile: str,
    train: Train,
    deadline_ms: int,
    action: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One program writes a model and goes on; the other never does."""
    training = train(any_sandbox, get_spec(hostile, action, deadline_ms))
    assert isinstance(training, ContainerTraining)
    wait_for_line(training, "ready")
    monkeypatch.setattr(train_module, "FIRST_MODEL_SECONDS", 0.0)
    if action == "idle":
        wait_for_end(training)
        status = training.status()
        assert (status.state, status.reason) == (TrainingState.STOPPED, StopReason.NO_MODEL)
        assert "no model within 60 s" in status.detail
    else:
        wait_for(lambda: training._has_model or not training._attendant.is_alive())
        assert training.status().state is TrainingState.RUNNING


def test_labels_are_hidden_and_the_environment_is_as_written(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    spec = get_spec(hostile, "train_facts", deadline_ms, limits=replace(TRAINING, milli_cpus=1500))
    training = train(any_sandbox, spec)
    (line,) = wait_for_end(training)
    assert isinstance(line, LogLine)
    facts = json.loads(line.text)
    assert facts["labels"] == facts["out"] == []
    assert facts["user"] == "lc"
    assert facts["cores"] == sorted(os.sched_getaffinity(0))
    assert facts["environment"]["OMP_NUM_THREADS"] == "2"
    assert facts["environment"]["LC_ATTEMPT"] == spec.attempt
    assert facts["environment"]["LC_SEED"].isdecimal()
    assert facts["job"] == {
        "contract": 1,
        "job": str(spec.job_id),
        "deadline_ms": deadline_ms,
        "limits": {"milli_cpus": 1500, "memory_mib": 96, "state_mib": 4, "model_mib": 4, "seconds": 60},
    }
    assert training.status().state is TrainingState.ENDED


def test_out_and_state_are_capped_in_bytes(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    training = train(sandbox, get_spec(hostile, "train_disk", deadline_ms))
    sizes: dict[str, int] = {}
    for line in wait_for_end(training):
        assert isinstance(line, LogLine)
        sizes |= json.loads(line.text)
    out_cap, state_cap = 2 * (4 << 20) + (64 << 20), 4 << 20
    assert out_cap <= sizes["/lc/out"] < out_cap + (4 << 20)  # less than a model more
    assert state_cap <= sizes["/lc/state"] <= state_cap + (8 << 20)


def test_state_is_capped_in_files(sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int) -> None:
    training = train(sandbox, get_spec(hostile, "train_state_inodes", deadline_ms))
    (line,) = wait_for_end(training)
    assert isinstance(line, LogLine)
    assert json.loads(line.text)["files"] <= 4096


def test_a_volume_that_grows_beyond_its_cap_stops_the_program(
    engine_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    training = train(engine_sandbox, get_spec(hostile, "train_disk", deadline_ms))
    wait_for_end(training)
    assert training.status().reason is StopReason.SPACE


def test_memory_is_limited(sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int) -> None:
    training = train(sandbox, get_spec(hostile, "memory", deadline_ms))
    wait_for_end(training)
    assert training.status().reason is StopReason.MEMORY


def test_a_flood_of_lines_is_thinned_and_training_goes_on(
    sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    training = train(sandbox, get_spec(hostile, "log", deadline_ms))
    wait_for(training.lines)
    time.sleep(1)
    assert len(training.lines()) <= LINES_KEPT
    assert training.stop(grace_seconds=0).seconds < TRAINING.seconds  # the engine's kill would hang longer than that


def test_closing_kills_a_frozen_container(sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int) -> None:
    """The engine refuses to kill a frozen container: it is thawed first."""
    training = train(sandbox, get_spec(hostile, "ignore_term", deadline_ms))
    assert isinstance(training, ContainerTraining)
    wait_for_line(training, "ready")
    assert sandbox.host.engine.pause(training.container_id)
    training.close(forget=True)
    assert sandbox.host.engine.containers(f"org.learningchain.sandbox.attempt={training.spec.attempt}") == []


def test_an_attempt_has_a_name_of_hex_digits(sandbox: DockerSandbox, hostile: str, deadline_ms: int) -> None:
    with pytest.raises(ValueError, match="hex"):
        sandbox.start_training(get_spec(hostile, "sleep", deadline_ms, attempt="../../../../etc/x"))


def test_a_uid_is_an_attempts_own_while_it_runs_and_free_afterwards(
    sandbox: DockerSandbox, hostile: str, deadline_ms: int
) -> None:
    """Also of an attempt that goes on; a worker that starts one again and again does not run out of uids."""
    spec, free = get_spec(hostile, "resume", deadline_ms), set(host_module._uids)
    for _ in range(3):
        training = sandbox.start_training(spec)
        uid = json.loads(wait_for_line(training, "ready")[0])["uid"]
        assert host_module._uids == free | {uid}
        training.close(forget=False)
        assert host_module._uids == free
    sandbox.forget_attempt(spec.attempt)


def test_the_least_that_a_training_gets_is_enough_for_the_engine(
    any_sandbox: DockerSandbox, hostile: str, train: Train, deadline_ms: int
) -> None:
    least = {"milli_cpus": LEAST.milli_cpus, "memory_mib": LEAST.memory_mib, "state_mib": LEAST.disk_mib}
    training = train(any_sandbox, get_spec(hostile, "resume", deadline_ms, limits=replace(TRAINING, **least)))
    wait_for_line(training, "ready", 60)
