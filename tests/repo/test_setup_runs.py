"""The command that the set-up runs: it gets the services, and nothing of it stays, however it or the set-up ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.setup import cli, runs
from tools.setup.processes import wait_for_end
from tools.setup.settings import ROOT, SetupError


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the notes of these tests apart from those of a set-up that runs them."""
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")


def test_a_command_gets_the_variables_and_its_exit_code_counts() -> None:
    found = {"LC_REGISTRY": "127.0.0.1:1", "LC_COMETBFT": "/x/cometbft"}
    script = 'test "$LC_REGISTRY $LC_COMETBFT" = "127.0.0.1:1 /x/cometbft" && exit 7'
    assert runs.run_command(["sh", "-c", script], found) == 7


def test_a_command_that_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "pid"
    script = f"sleep 60 & echo $! > {note}.part; mv {note}.part {note}; wait"
    wait = subprocess.Popen.wait

    def wait_for_note(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        while not note.exists():
            time.sleep(0.01)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_for_note)
    assert runs.run_command(["sh", "-c", script], {}, 1.0, 1.0) == runs.TIMED_OUT
    assert wait_for_end(int(note.read_text()), 5)


def test_children_that_a_command_leaves_behind_are_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    assert runs.run_command(["sh", "-c", f"sleep 60 & echo $! > {note}"], {}) == 0
    assert wait_for_end(int(note.read_text()), 5)


def test_temporary_files_of_a_command_go_with_it(tmp_path: Path) -> None:
    note = tmp_path / "folder"
    script = f'touch "$TMPDIR/file" && printf %s "$TMPDIR" > {note}'
    assert runs.run_command(["sh", "-c", script], {}) == 0
    assert not Path(note.read_text()).exists()
    assert list((tmp_path / "runs").iterdir()) == []


def test_tests_without_root_are_refused_before_anything_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="need root") as caught:
        cli.perform(cli.parse(["run", "--tests", "--", "true"]))
    assert "sudo" in caught.value.remedy


def start_set_up(state: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the set-up with an own state folder and without containers."""
    environ = os.environ | {"LC_STATE": str(state)}
    command = [sys.executable, "-m", "tools.setup", "run", "--no-containers", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True)


def start_sleeper(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a set-up whose command notes its process id and its temporary folder, then sleeps; wait for the notes."""
    note = folder / "note"
    script = f'echo "$$ $TMPDIR" > {note}.part; mv {note}.part {note}; exec sleep 60'
    process = start_set_up(folder / "state", *arguments, "--", "sh", "-c", script)
    try:
        deadline = time.monotonic() + 60
        while not note.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    except BaseException:
        process.terminate()  # it ends the commands of its own steps
        process.communicate(timeout=60)
        raise
    return process


def read_note(folder: Path) -> tuple[int, Path]:
    pid, _, files = (folder / "note").read_text().strip().partition(" ")
    return int(pid), Path(files)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    with start_sleeper(tmp_path) as process:
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert f"ended by {number.name}" in shown
    pid, files = read_note(tmp_path)
    assert wait_for_end(pid, 5)
    assert not files.exists()


def test_a_set_up_that_was_killed_is_cleaned_up_by_the_next_one(tmp_path: Path) -> None:
    with start_sleeper(tmp_path) as killed:
        killed.kill()
    pid, files = read_note(tmp_path)
    assert files.exists()
    with start_set_up(tmp_path / "state", "--", "true") as after:
        _, shown = after.communicate(timeout=60)
    assert after.returncode == 0
    assert "an earlier set-up was killed" in shown
    assert wait_for_end(pid, 0)
    assert not files.exists()


def test_a_set_up_beside_another_leaves_its_command_alone(tmp_path: Path) -> None:
    with start_sleeper(tmp_path) as first:
        with start_set_up(tmp_path / "state", "--", "true") as second:
            second.communicate(timeout=60)
        pid, files = read_note(tmp_path)
        assert second.returncode == 0
        assert files.exists()
        assert not wait_for_end(pid, 0)
        first.terminate()
        first.communicate(timeout=60)
