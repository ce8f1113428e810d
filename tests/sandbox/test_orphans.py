"""What a worker leaves when it is killed, and who may remove it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.sandbox.support import LIMITS, get_spec, list_mounts, wait_for, wait_for_line
from worker.sandbox import DockerSandbox, OwnFailureError, SandboxSettings, kept
from worker.sandbox.engine import Engine
from worker.sandbox.host import get_owner
from worker.sandbox.processes import get_process_name, is_alive, is_surely_dead
from worker.sandbox.spec import ATTEMPT_LABEL, OWNER_LABEL
from worker.sandbox.storage import Workspace

# Starts one training of an attempt, freezes another, says so with its guard's number, and waits to be killed.
WORKER = """
import sys, time
from pathlib import Path
from tests.sandbox.support import get_spec, wait_for_line
from worker.sandbox import DockerSandbox, SandboxSettings
home, engine, storage, image, kept, frozen, deadline_ms = sys.argv[1:]
settings = SandboxSettings(allow_loopback=True, home=Path(home), engine=engine, storage=storage, free_reserve_mib=64)
sandbox = DockerSandbox(settings)
for attempt in (kept, frozen):
    training = sandbox.start_training(get_spec(image, "resume", int(deadline_ms), attempt=attempt))
    wait_for_line(training, "ready")
sandbox.host.engine.pause(training.container_id)
print(sandbox._guard.pid, flush=True)
time.sleep(600)
"""
KEPT, FROZEN = "aa" * 8, "bb" * 8


@pytest.fixture(params=["loop", "engine"])
def settings(request: pytest.FixtureRequest, docker_host: str, tmp_path: Path) -> Iterator[SandboxSettings]:
    settings = SandboxSettings(
        allow_loopback=True, home=tmp_path / "home", engine=docker_host, storage=request.param, free_reserve_mib=64
    )
    yield settings
    sandbox = DockerSandbox(settings)
    sandbox.remove_orphans()
    sandbox.close()


def kill_worker(settings: SandboxSettings, image: str, deadline_ms: int, *, and_guard: bool) -> None:
    """Leave what a worker had when kill -9 hit it, and its guard before it."""
    arguments = [str(settings.home), settings.engine, settings.storage, image, KEPT, FROZEN, str(deadline_ms)]
    with subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        guard = int(worker.stdout.readline())
        if and_guard:
            os.kill(guard, signal.SIGKILL)
        worker.send_signal(signal.SIGKILL)


@pytest.fixture
def killed(settings: SandboxSettings, hostile: str, deadline_ms: int) -> SandboxSettings:
    """Leave what a worker had when kill -9 hit it and its guard."""
    kill_worker(settings, hostile, deadline_ms, and_guard=True)
    return settings


def list_containers(client: docker.APIClient, home: Path) -> list[str]:
    label = f"{OWNER_LABEL}={get_owner(home.resolve())}"
    return [container["Id"] for container in client.containers(all=True, filters={"label": label})]


def test_the_guard_of_a_killed_worker_removes_what_it_left(
    settings: SandboxSettings, hostile: str, deadline_ms: int, engine_client: docker.APIClient
) -> None:
    """Without a next start. The state of both attempts stays, the frozen one's too."""
    kill_worker(settings, hostile, deadline_ms, and_guard=False)
    wait_for(lambda: list_containers(engine_client, settings.home) == [])
    wait_for(lambda: list_mounts(settings.home) == [])
    wait_for(lambda: "containers=2" in (settings.home / "guard.log").read_text(encoding="utf-8"))
    assert list((settings.home / "runs").glob("*/*")) == []
    sandbox = DockerSandbox(settings)
    for attempt in (KEPT, FROZEN):
        training = sandbox.start_training(get_spec(hostile, "resume", deadline_ms, attempt=attempt))
        assert json.loads(wait_for_line(training, "ready")[0])["starts"] == 1
    sandbox.close()


def test_a_guard_that_is_dismissed_goes_and_removes_nothing(
    settings: SandboxSettings, hostile: str, deadline_ms: int
) -> None:
    """Two sandboxes of one process: the end of one is not the end of the process."""
    first, second = DockerSandbox(settings), DockerSandbox(settings)
    training = second.start_training(get_spec(hostile, "resume", deadline_ms))
    guard = Path(f"/proc/{first._guard.pid}")
    first._guard.dismiss()
    assert not guard.exists()
    wait_for_line(training, "ready")
    second.close()
    first.close()
    assert (settings.home / "guard.log").read_text(encoding="utf-8") == ""


def test_any_worker_on_the_engine_removes_what_a_dead_one_of_another_home_left(
    killed: SandboxSettings, hostile: str, deadline_ms: int, tmp_path: Path, engine_client: docker.APIClient
) -> None:
    """Its guard died with it, and nobody starts a worker in its home again. What it can resume from stays there."""
    other = DockerSandbox(
        SandboxSettings(allow_loopback=True, home=tmp_path / "other", engine=killed.engine, free_reserve_mib=64)
    )
    other.remove_orphans()
    assert list_containers(engine_client, killed.home) == []
    other.close()
    sandbox = DockerSandbox(killed)
    sandbox.remove_orphans(keep_attempts=[KEPT])
    training = sandbox.start_training(get_spec(hostile, "resume", deadline_ms, attempt=KEPT))
    assert json.loads(wait_for_line(training, "ready")[0])["starts"] == 1
    sandbox.close()


def test_a_killed_worker_leaves_nothing_but_its_kept_attempt(
    killed: SandboxSettings, hostile: str, deadline_ms: int, engine_client: docker.APIClient
) -> None:
    sandbox = DockerSandbox(killed)
    label = f"{OWNER_LABEL}={sandbox.host.owner}"
    report = sandbox.remove_orphans(keep_attempts=[KEPT])
    assert report.directories == 1
    assert list_containers(engine_client, killed.home) == []
    assert list_mounts(killed.home) == []
    assert [path.name for path in (killed.home / "attempts").iterdir()] == [KEPT]
    assert list((killed.home / "runs").glob("*/*")) == []
    # The kept one got SIGTERM and saved: it goes on where it was.
    training = sandbox.start_training(get_spec(hostile, "resume", deadline_ms, attempt=KEPT))
    assert json.loads(wait_for_line(training, "ready")[0])["starts"] == 1
    training.close(forget=True)
    assert list((killed.home / "attempts").iterdir()) == []
    assert sandbox.host.engine.volumes(label) == []
    sandbox.close()


def test_an_attempt_goes_on_even_if_its_old_container_still_runs(
    killed: SandboxSettings, hostile: str, deadline_ms: int
) -> None:
    """Two containers never write to one state."""
    sandbox = DockerSandbox(killed)
    training = sandbox.start_training(get_spec(hostile, "resume", deadline_ms, attempt=KEPT))
    assert json.loads(wait_for_line(training, "ready")[0])["starts"] == 1
    containers = sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}")
    assert [container["Labels"].get(ATTEMPT_LABEL) for container in containers].count(KEPT) == 1
    sandbox.close()


def test_the_living_are_left_alone(settings: SandboxSettings, hostile: str, deadline_ms: int) -> None:
    """A command beside the daemon, in the same home or another, finds no orphans of it while the daemon lives."""
    daemon, command = DockerSandbox(settings), DockerSandbox(settings)
    training = daemon.start_training(get_spec(hostile, "resume", deadline_ms))
    command_of_another_home = DockerSandbox(
        SandboxSettings(
            allow_loopback=True, home=settings.home.with_name("other"), engine=settings.engine, free_reserve_mib=64
        )
    )
    for sandbox in (command, command_of_another_home):
        sandbox.remove_orphans()
        assert sandbox.host.engine.inspect(training.container_id)["State"]["Running"]
    wait_for_line(training, "ready")
    training.close(forget=True)
    for sandbox in (command_of_another_home, command, daemon):
        sandbox.close()


def test_files_that_a_killed_worker_was_writing_are_removed(
    settings: SandboxSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing counts them. Those of a living process stay."""

    class Killed(BaseException):
        pass

    def die(_: int) -> None:
        raise Killed

    sandbox = DockerSandbox(settings)
    boot, namespace, pid, start = sandbox.host.process.split("-")
    for process in (sandbox.host.process, f"{boot}-{namespace}-{pid}-{int(start) + 1}"):
        with monkeypatch.context() as patch:
            patch.setattr(kept, "get_process_name", lambda process=process: process)
            patch.setattr(os, "fsync", die)
            for folder in ("manifests", "images", "layers"):
                with pytest.raises(Killed):
                    kept.write(settings.home / folder, "sha256:" + "ab" * 32, b"x")
    sandbox.remove_orphans()
    left = [path.name for folder in ("manifests", "images", "layers") for path in (settings.home / folder).iterdir()]
    assert [name.split(".")[1] for name in left] == [sandbox.host.process] * 3
    sandbox.close()


def test_a_process_is_known_by_more_than_its_number() -> None:
    name = get_process_name()
    boot, namespace, pid, start = name.split("-")
    assert is_alive(name)
    assert not is_alive(f"{boot}-{namespace}-{pid}-{int(start) + 1}")
    assert not is_alive(f"00000000-{namespace}-{pid}-{start}")
    assert not is_alive(f"{boot}-1-{pid}-{start}")
    assert not is_alive("no process")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        child_name = f"{boot}-{namespace}-{child.pid}-{_get_start(child.pid)}"
        assert is_alive(child_name)
        child.kill()
        wait_for(lambda: not is_alive(child_name))  # while it waits for this process to take note of its end
    assert not is_alive(f"{boot}-{namespace}-{child.pid}-{start}")


def test_only_a_process_that_would_be_seen_here_is_surely_dead() -> None:
    """Another worker on the engine may live in another PID namespace, where its number means another process."""
    boot, namespace, pid, start = get_process_name().split("-")
    assert is_surely_dead(f"{boot}-{namespace}-{pid}-{int(start) + 1}")
    assert not is_surely_dead(f"{boot}-{namespace}-{pid}-{start}")
    assert not is_surely_dead(f"{boot}-1-{pid}-{int(start) + 1}")
    assert not is_surely_dead(f"00000000-{namespace}-{pid}-{int(start) + 1}")
    assert not is_surely_dead("no process")


def _get_start(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]


def test_closing_ends_everything_of_this_process(settings: SandboxSettings, hostile: str, deadline_ms: int) -> None:
    sandbox = DockerSandbox(settings)
    sandbox.start_training(get_spec(hostile, "ignore_term", deadline_ms))
    sandbox.close()
    assert sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}") == []
    assert list_mounts(settings.home) == []
    assert os.listdir(settings.home / "runs" / sandbox.host.process) == []


def test_closing_ends_a_training_that_is_just_starting(
    settings: SandboxSettings, hostile: str, deadline_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look at its deadline any more."""
    sandbox = DockerSandbox(settings)
    sandbox.prepare(hostile, 1024)
    opened, open_workspace = threading.Event(), sandbox.host.storage.open

    def open_slowly(*args: Any) -> Workspace:
        workspace = open_workspace(*args)
        opened.set()
        sandbox.host.closing.wait()
        return workspace

    monkeypatch.setattr(sandbox.host.storage, "open", open_slowly)
    spec = get_spec(hostile, "ignore_term", deadline_ms)
    starting = threading.Thread(target=sandbox.start_training, args=(spec,))
    starting.start()
    opened.wait()
    sandbox.close()
    starting.join()
    assert sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}") == []
    assert list_mounts(settings.home) == []
    with pytest.raises(OwnFailureError, match="closing"):
        sandbox.start_training(spec)


def test_closing_does_not_wait_for_an_evaluation_that_is_just_starting(
    settings: SandboxSettings, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not run yet cannot be killed."""
    sandbox, model, limits = DockerSandbox(settings), tmp_path / "model", replace(LIMITS, seconds=600)
    sandbox.check_sample(hostile, limits)
    model.write_text("until_told", encoding="ascii")
    created, killed, start, kill = threading.Event(), threading.Event(), Engine.start, Engine.kill

    def start_slowly(engine: Engine, container: str) -> None:
        created.set()
        killed.wait()
        start(engine, container)

    def note(engine: Engine, container: str, signal: str = "SIGKILL") -> bool:
        is_killed = kill(engine, container, signal)
        killed.set()
        return is_killed

    monkeypatch.setattr(Engine, "start", start_slowly)
    monkeypatch.setattr(Engine, "kill", note)

    def evaluate() -> None:
        with pytest.raises(OwnFailureError, match="closing"):
            sandbox.evaluate(hostile, model, limits)

    waiting = threading.Thread(target=evaluate)
    waiting.start()
    created.wait()
    sandbox.close()
    waiting.join()
