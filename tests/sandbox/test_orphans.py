"""What a worker leaves when it is killed, and who may remove it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.support import get_spec, list_mounts, wait_for_line
from worker.sandbox import DockerSandbox, OrphanReport, SandboxSettings
from worker.sandbox.processes import get_process_name, is_alive
from worker.sandbox.spec import ATTEMPT_LABEL, OWNER_LABEL

# Starts one training of an attempt, freezes another, says so, and waits to be killed.
WORKER = """
import sys, time
from pathlib import Path
from tests.sandbox.support import get_spec, wait_for_line
from worker.sandbox import DockerSandbox, SandboxSettings
home, engine, storage, image, kept, frozen, deadline_ms = sys.argv[1:]
settings = SandboxSettings(home=Path(home), engine=engine, storage=storage, free_reserve_mib=64)
sandbox = DockerSandbox(settings)
for attempt in (kept, frozen):
    training = sandbox.start_training(get_spec(image, "resume", int(deadline_ms), attempt=attempt))
    wait_for_line(training, "ready")
sandbox.host.engine.pause(training.container_id)
print("started", flush=True)
time.sleep(600)
"""
KEPT, FROZEN = "aa" * 8, "bb" * 8


@pytest.fixture(params=["loop", "engine"])
def settings(request: pytest.FixtureRequest, docker_host: str, tmp_path: Path) -> Iterator[SandboxSettings]:
    settings = SandboxSettings(home=tmp_path / "home", engine=docker_host, storage=request.param, free_reserve_mib=64)
    yield settings
    sandbox = DockerSandbox(settings)
    sandbox.remove_orphans()
    sandbox.close()


@pytest.fixture
def killed(settings: SandboxSettings, hostile: str, deadline_ms: int) -> SandboxSettings:
    """Leave what a worker had when kill -9 hit it."""
    arguments = [str(settings.home), settings.engine, settings.storage, hostile, KEPT, FROZEN, str(deadline_ms)]
    with subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "started\n"
        worker.send_signal(signal.SIGKILL)
    return settings


def test_a_killed_worker_leaves_nothing_but_its_kept_attempt(
    killed: SandboxSettings, hostile: str, deadline_ms: int
) -> None:
    sandbox = DockerSandbox(killed)
    label = f"{OWNER_LABEL}={sandbox.host.owner}"
    assert len(sandbox.host.engine.containers(label)) == 2
    report = sandbox.remove_orphans(keep_attempts=[KEPT])
    assert (report.containers, report.directories) == (2, 1)
    assert sandbox.host.engine.containers(label) == []
    assert list_mounts(killed.home) == []
    assert [path.name for path in (killed.home / "attempts").iterdir()] == [KEPT]
    assert list((killed.home / "runs").glob("*/*")) == []
    assert sandbox.remove_orphans(keep_attempts=[KEPT]) == OrphanReport()
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
    """A command beside the daemon, in the same home, finds no orphans while the daemon lives."""
    daemon, command = DockerSandbox(settings), DockerSandbox(settings)
    training = daemon.start_training(get_spec(hostile, "resume", deadline_ms))
    assert command.remove_orphans() == OrphanReport()
    wait_for_line(training, "ready")
    command_of_another_home = DockerSandbox(
        SandboxSettings(home=settings.home.with_name("other"), engine=settings.engine, free_reserve_mib=64)
    )
    assert command_of_another_home.remove_orphans() == OrphanReport()
    training.close(forget=True)
    for sandbox in (command_of_another_home, daemon):
        sandbox.close()


def test_a_process_is_known_by_more_than_its_number() -> None:
    name = get_process_name()
    boot, pid, start = name.split("-")
    assert is_alive(name)
    assert not is_alive(f"{boot}-{pid}-{int(start) + 1}")
    assert not is_alive(f"00000000-{pid}-{start}")
    assert not is_alive("no process")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_alive(f"{boot}-{child.pid}-{_get_start(child.pid)}")
    assert not is_alive(f"{boot}-{child.pid}-{start}")


def _get_start(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]


def test_closing_ends_everything_of_this_process(settings: SandboxSettings, hostile: str, deadline_ms: int) -> None:
    sandbox = DockerSandbox(settings)
    sandbox.start_training(get_spec(hostile, "ignore_term", deadline_ms))
    sandbox.close()
    assert sandbox.host.engine.containers(f"{OWNER_LABEL}={sandbox.host.owner}") == []
    assert list_mounts(settings.home) == []
    assert os.listdir(settings.home / "runs" / sandbox.host.process) == []
