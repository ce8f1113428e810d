"""Services of the set-up: started below the state folder, shared, stopped by the last user, nothing left behind."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import reserved_ports
from tools.setup import cli, engine, registry, services
from tools.setup.board import Board
from tools.setup.engine_api import Engine
from tools.setup.processes import get_start_time, read_record
from tools.setup.settings import ROOT, SetupError
from tools.setup.steps import Stopped, Work

FAKE = Path(__file__).with_name("fake_dockerd.py")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    board = Board()
    board.open(["test"])
    return Work("test", board, threading.Event())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point engine and registry to another state folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    for module in (engine, registry, services):
        monkeypatch.setattr(module, "STATE", folder, raising=False)
    for module, name, path in (
        (engine, "DATA", "engine"), (engine, "RECORD", "engine.json"), (engine, "LOG", "dockerd.log"),
        (engine, "OUTSIDE_NOTE", "note.json"), (registry, "FOLDER", "registry"), (registry, "RECORD", "registry.json"),
        (registry, "PORT", "registry/port"), (registry, "CONFIG", "registry/config.json"),
        (registry, "LOG", "registry.log"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, folder / path)
    return folder


@pytest.fixture
def fake_dockerd(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a stand-in for dockerd first; it needs no root."""
    script = tmp_path / "dockerd"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(engine, "find_program", lambda name: str(script))
    monkeypatch.setattr(engine, "as_root", list)
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", tmp_path / "none")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    yield
    engine.stop_private()


def is_at_work(folder: Path) -> bool:
    """Tell whether a process works below a folder."""
    return any(any(text.startswith(f"{folder}/") for text in arguments) for _, arguments in engine.list_processes())


@pytest.mark.usefixtures("fake_dockerd")
def test_a_private_engine_answers_and_leaves_nothing_when_stopped(work: Work) -> None:
    host, text = engine.ensure(work, just_installed=False)
    assert Engine(host).why_not() == ""
    assert "private" in text
    assert engine.stop_private()
    assert not engine.get_run_folder().exists()
    assert not is_at_work(engine.get_run_folder())


@pytest.mark.usefixtures("fake_dockerd")
def test_a_private_engine_that_runs_is_used_again(work: Work) -> None:
    first, _ = engine.ensure(work, just_installed=False)
    pid = read_record(engine.RECORD)
    second, text = engine.ensure(work, just_installed=False)
    assert (first, pid) == (second, read_record(engine.RECORD))
    assert "already running" in text


@pytest.fixture
def system_engine(tmp_path: Path) -> Iterator[Path]:
    """An engine that comes up a moment later at the system's place; return its socket."""
    path = tmp_path / "system.sock"
    options = ["-H", f"unix://{path}", "--exec-root", f"{tmp_path}/s", "--pidfile", f"{tmp_path}/s.pid"]
    command = [sys.executable, str(FAKE), *options, "--data-root", f"{tmp_path}/d"]
    with subprocess.Popen(command) as process:
        yield path
        process.terminate()


@pytest.mark.usefixtures("fake_dockerd")
def test_an_engine_that_its_package_started_is_waited_for_used_and_said_so(
    work: Work, tmp_path: Path, system_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", system_engine)
    monkeypatch.setattr(engine, "SYSTEMD", tmp_path)
    host, text = engine.ensure(work, just_installed=True)
    assert host == f"unix://{system_engine}"
    assert text == "the system's engine; its package started it, it is used and left running"
    assert not engine.stop_private()
    assert Engine(host).why_not() == ""


@pytest.mark.usefixtures("fake_dockerd")
def test_what_a_killed_engine_leaves_is_ended_before_the_next_one_starts(work: Work) -> None:
    engine.ensure(work, just_installed=False)
    pid = read_record(engine.RECORD)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    run = engine.get_run_folder()
    helpers = [number for number, arguments in engine.list_processes() if engine.is_helper(arguments, run / "exec")]
    family = [*helpers, *engine.list_descendants(helpers)]
    assert len(family) == 2
    host, _ = engine.ensure(work, just_installed=False)
    assert Engine(host).why_not() == ""
    assert [get_start_time(number) for number in family] == [None, None]


@pytest.mark.usefixtures("fake_dockerd")
def test_an_engine_that_cannot_start_is_quoted(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(SetupError, match=r"dockerd did not start[\s\S]*cgroup isn't mounted") as caught:
        engine.ensure(work, just_installed=False)
    assert "dockerd.log" in caught.value.remedy


def test_a_missing_engine_says_what_to_install(work: Work, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", state / "none")
    monkeypatch.setattr(engine, "find_program", lambda name: None)
    with pytest.raises(SetupError, match="not installed") as caught:
        engine.ensure(work, just_installed=False)
    assert caught.value.remedy == "apt-get install docker.io"


@pytest.mark.usefixtures("nobody_is_root")
def test_who_may_not_start_an_engine_is_told_both_ways_out(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", state / "none")
    with pytest.raises(SetupError, match="there is none") as caught:
        engine.check_startable()
    assert "with sudo" in caught.value.remedy
    assert "usermod -aG docker" in caught.value.remedy


@pytest.mark.usefixtures("nobody_is_root")
def test_an_engine_that_refuses_this_user_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state / "docker.sock").touch()
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", state / "docker.sock")
    with pytest.raises(SetupError, match=r"docker\.sock: \[Errno"):
        engine.check_startable()


@pytest.fixture
def nobody_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_root_in_reach", lambda: False)


@pytest.mark.usefixtures("fake_dockerd")
def test_what_an_engine_makes_outside_is_removed_and_what_was_there_stays(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRUST_KEY", tmp_path / "etc" / "key.json")
    monkeypatch.setattr(engine, "FOLDERS_OUTSIDE", (str(tmp_path / "etc"), str(tmp_path / "before")))
    monkeypatch.setattr(engine, "CGROUPS", tmp_path / "cgroup")
    for name in ("before", "cgroup/cpu", "cgroup/pids/docker"):
        (tmp_path / name).mkdir(parents=True)
    engine.start_private(work)
    (tmp_path / "cgroup/cpu/docker").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/key.json").touch()
    engine.stop_private()
    assert not (tmp_path / "etc").exists()
    assert not (tmp_path / "cgroup/cpu/docker").exists()
    assert (tmp_path / "before").exists()
    assert (tmp_path / "cgroup/pids/docker").exists()


def test_own_files_are_removed_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "as_root", lambda argv: pytest.fail("root was asked for"))
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    engine.remove_tree(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_an_engine_that_docker_host_names_must_answer(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{state}/none.sock")
    with pytest.raises(SetupError, match="does not answer") as caught:
        engine.find_running()
    assert "unset DOCKER_HOST" in caught.value.remedy


def test_an_engine_that_goes_away_is_reported_in_words(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="went away") as caught:
        Engine(f"unix://{tmp_path}/none.sock").has_image("some:image")
    assert caught.value.remedy == "run the same command again"


def test_an_address_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SetupError, match="neither unix"):
        Engine("ssh://host").connect(1)


def test_a_folder_too_deep_for_sockets_gets_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STATE", tmp_path / ("deep" * 30))
    folder = engine.get_run_folder()
    assert len(os.fsencode(folder / engine.LONGEST_SOCKET)) <= 107
    monkeypatch.setattr(engine, "STATE", tmp_path / ("deep" * 31))
    assert engine.get_run_folder() != folder


def test_a_comma_in_the_path_is_refused_in_words(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "DATA", tmp_path / "a,b")
    monkeypatch.setattr(engine, "find_program", lambda name: "/bin/true")
    with pytest.raises(SetupError, match="comma"):
        engine.start_private(work)


def test_the_variables_of_the_services_can_be_read_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "ENV_FILE", tmp_path / "env")
    services.write_env_file(services.Services(cometbft="/it's here/$HOME/cometbft"))
    script = f'. {tmp_path}/env; printf "%s" "$LC_COMETBFT"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "/it's here/$HOME/cometbft"


def test_a_shell_that_goes_on_to_another_checkout_does_not_take_the_state_folder_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STATE", ROOT / ".state")
    assert "LC_STATE" not in services.Services().environ
    monkeypatch.setattr(services, "STATE", tmp_path)
    assert services.Services().environ["LC_STATE"] == str(tmp_path)


def test_notes_that_a_full_disk_has_torn_are_no_notes(work: Work, state: Path) -> None:
    (state / "registry").mkdir()
    for note in (registry.PORT, registry.RECORD, engine.OUTSIDE_NOTE, engine.RECORD):
        note.write_text("")
    assert not engine.stop_private()
    assert not engine.OUTSIDE_NOTE.exists()
    assert registry.answers(registry.ensure(work))
    assert registry.stop()


def test_a_registry_that_was_not_unpacked_whole_is_not_there(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str], **_: object) -> None:
        if argv[0] == "apt-get":
            (registry.UNPACKED.with_name("registry.part") / "docker-registry_1.deb").touch()
            return
        target = Path(argv[-1]) / "usr" / "bin"
        target.mkdir(parents=True)
        (target / "docker-registry").touch()
        if broken_off:
            raise Stopped

    broken_off = True
    monkeypatch.setattr(registry, "UNPACKED", tmp_path / "registry")
    monkeypatch.setattr(registry, "find_program", lambda name: None)
    monkeypatch.setattr(work, "run", run)
    with pytest.raises(Stopped):
        registry.fetch_binary(work)
    assert registry.find_binary() is None
    broken_off = False
    assert registry.fetch_binary(work) == registry.find_binary()


def test_a_full_disk_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")

    monkeypatch.setattr(cli, "perform", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cli.main(["status"]) == 1
    err = capsys.readouterr().err
    assert "No space left on device: '/some/file'" in err
    assert "next: make room on the disk" in err


def test_the_registry_starts_again_at_the_same_address(work: Work, state: Path) -> None:
    (state / "registry").mkdir()
    with reserved_ports(1) as (port,):
        registry.PORT.write_text(str(port))
        address = registry.ensure(work)
        assert registry.answers(address)
        assert registry.ensure(work) == address
        assert registry.stop()
        assert not registry.answers(address)
        assert registry.ensure(work) == address == f"127.0.0.1:{port}"
        assert registry.stop()


@pytest.mark.usefixtures("state")
def test_the_registry_knows_nothing_before_a_push(work: Work) -> None:
    address = registry.ensure(work)
    assert registry.get_digest(address, "learningchain/none", "tag") is None
    assert not registry.is_stored("learningchain/none", "tag")
    assert registry.stop()


def test_only_the_last_user_stops_the_services(tmp_path: Path) -> None:
    path = tmp_path / "users.lock"
    with path.open("a") as mine:
        fcntl.flock(mine, fcntl.LOCK_SH)
        with path.open("a") as other:
            fcntl.flock(other, fcntl.LOCK_SH)
            assert not services.is_last(mine)
        assert services.is_last(mine)


def test_a_failed_set_up_says_what_to_do_next(tmp_path: Path) -> None:
    environ = os.environ | {"LC_STATE": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    command = [sys.executable, "-m", "tools.setup", "run", "--", "true"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "set-up failed: DOCKER_HOST=" in done.stderr
    assert "next: start that engine, or: unset DOCKER_HOST" in done.stderr
