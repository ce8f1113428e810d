"""Start, find again and stop processes; a process is known by its id and its start time, as ids are reused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.setup.settings import STOP_SECONDS

POLL_SECONDS = 0.05


def as_root(argv: Sequence[str]) -> list[str]:
    """Return `argv`, with sudo before it when this process is not root and there is sudo."""
    return list(argv) if os.geteuid() == 0 or not shutil.which("sudo") else ["sudo", *argv]


def read_stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on, or None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def get_start_time(pid: int) -> str | None:
    """Return the kernel's start time of a process in clock ticks, or None when it has ended."""
    fields = read_stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def get_parent(pid: int) -> int | None:
    """Return the id of a process's parent, or None when it has ended."""
    fields = read_stat(pid)
    return None if fields is None else int(fields[1])


def write_record(path: Path, pid: int) -> None:
    """Remember the process `pid` in the file `path`."""
    path.write_text(json.dumps({"pid": pid, "start": get_start_time(pid)}))


def read_note(path: Path) -> Any:
    """Return what a file of ours says; None if there is none, or one that a crash or a full disk has torn."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def read_record(path: Path) -> int | None:
    """Return the id of the process remembered in `path` if it still runs; forget it otherwise."""
    record = read_note(path)
    if record is None:  # no process can be told from it
        path.unlink(missing_ok=True)
        return None
    pid = int(record["pid"])
    if record["start"] is not None and get_start_time(pid) == record["start"]:
        return pid
    path.unlink(missing_ok=True)
    return None


def start_daemon(argv: Sequence[str], record: Path, log: Path) -> int:
    """Start a process that outlives this one, in its own session so that Ctrl-C does not reach it; return its id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, open(os.devnull, "rb") as nothing:
        streams = [
            (os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((nothing, output, output))
        ]
        pid = os.posix_spawnp(argv[0], list(argv), os.environ, file_actions=streams, setsid=True)
    write_record(record, pid)
    return pid


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
