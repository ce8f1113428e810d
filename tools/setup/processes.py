"""Start, find again and stop processes; a process is known by its id and its start time, as ids are reused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.setup.settings import STOP_SECONDS

POLL_SECONDS = 0.05


def as_root(argv: Sequence[str]) -> list[str]:
    """Return `argv`, with sudo before it when this process is not root."""
    return list(argv) if os.geteuid() == 0 else ["sudo", *argv]


def get_start_time(pid: int) -> str | None:
    """Return the kernel's start time of a process in clock ticks, or None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start = fields[0], fields[19]
    return None if state == "Z" else start


def write_record(path: Path, pid: int) -> None:
    """Remember the process `pid` in the file `path`."""
    path.write_text(json.dumps({"pid": pid, "start": get_start_time(pid)}))


def read_record(path: Path) -> int | None:
    """Return the id of the process remembered in `path` if it still runs; forget it otherwise."""
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # torn by a crash: no process can be told from it
        path.unlink(missing_ok=True)
        return None
    pid = int(record["pid"])
    if record["start"] is not None and get_start_time(pid) == record["start"]:
        return pid
    path.unlink(missing_ok=True)
    return None


def start_daemon(argv: Sequence[str], record: Path, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a process that outlives this one, in its own session so that Ctrl-C does not reach it; return its id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=env
        )
    write_record(record, process.pid)
    return process.pid


def send_signal(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    """Signal a process (or its group); one that belongs to root is signalled through sudo."""
    try:
        os.kill(-pid if group else pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        script = f"import os; os.kill({-pid if group else pid}, {int(number)})"
        subprocess.run(as_root([sys.executable, "-c", script]), check=False)


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait until the process `pid` has ended; False if it still runs after `seconds`."""
    deadline = time.monotonic() + seconds
    while get_start_time(pid) is not None:
        reap(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    reap(pid)
    return True


def reap(pid: int) -> None:
    """Take the exit status of `pid` if it is an ended child of this process."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not ours: an earlier run started it


def stop_recorded(path: Path, seconds: float = STOP_SECONDS, *, group: bool = False) -> bool:
    """Stop the process remembered in `path` (or its group): ask, wait, then kill its group. True if there was one."""
    pid = read_record(path)
    if pid is None:
        return False
    send_signal(pid, signal.SIGTERM, group=group)
    if not wait_for_end(pid, seconds):
        send_signal(pid, signal.SIGKILL, group=True)
        wait_for_end(pid, seconds)
    path.unlink(missing_ok=True)
    return True
