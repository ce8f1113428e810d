"""Processes of the set-up are found again, stopped, and never mistaken for others."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.setup import processes

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_started_process_is_found_again_and_stopped(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    pid = processes.start_daemon(["sleep", "60"], record, tmp_path / "log")
    assert processes.read_record(record) == pid
    assert processes.stop_recorded(record)
    assert processes.get_start_time(pid) is None
    assert not record.exists()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    record, log = tmp_path / "record.json", tmp_path / "log"
    pid = processes.start_daemon([sys.executable, "-c", STUBBORN], record, log)
    wait_for_text(log, "ready")
    assert processes.stop_recorded(record, seconds=0.3)
    assert processes.get_start_time(pid) is None


def test_a_reused_process_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        record.write_text(json.dumps({"pid": stranger.pid, "start": "1"}))
        assert processes.read_record(record) is None
        assert not processes.stop_recorded(record)
        assert stranger.poll() is None
        stranger.kill()


def test_a_torn_record_is_forgotten(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text('{"pid": 1')
    assert processes.read_record(record) is None
    assert not record.exists()


def test_an_ended_process_that_nobody_waited_for_does_not_count_as_running() -> None:
    with subprocess.Popen(["true"]) as child:
        deadline = time.monotonic() + 10
        while processes.get_start_time(child.pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_daemon_does_not_get_the_terminals_interrupt(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    pid = processes.start_daemon(["sleep", "60"], record, tmp_path / "log")
    session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3]
    assert int(session) == pid
    processes.send_signal(pid, signal.SIGKILL)
    assert processes.wait_for_end(pid, 10)


def test_without_sudo_a_command_is_tried_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert processes.as_root(["umount", "x"]) == ["umount", "x"]
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert processes.as_root(["umount", "x"]) == ["sudo", "umount", "x"]
