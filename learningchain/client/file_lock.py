"""A lock on a file between processes, and who holds it."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOCK_POLL_S: Final = 0.02
NOTICE_S: Final = 3.0
"""How long others may take before it is told who waits for whom: more than a submission to a node that answers."""
_STOPPED: Final = ("T", "t")
"""States of a process in /proc: stopped by a signal, or by a debugger."""


class LockBusy(Exception):
    """Another process did not let go of a file in time; the text says which one, and `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


async def lock_file(descriptor: int, path: Path, timeout_s: float | None, tell: Callable[[str], None]) -> None:
    """Lock an open file until it is closed, without blocking the event loop.

    After NOTICE_S `tell` gets a line about who is waited for. Raises LockBusy when `timeout_s` are over.
    """
    loop = asyncio.get_running_loop()
    begin, told = loop.time(), False
    while not _try_lock(descriptor):
        waited = loop.time() - begin
        if timeout_s is not None and waited >= timeout_s:
            raise LockBusy(*_describe(descriptor, path))
        if waited >= NOTICE_S and not told:
            told = True
            tell("waiting: " + "; ".join(_describe(descriptor, path)))
        await asyncio.sleep(LOCK_POLL_S)


def find_holder(descriptor: int) -> int | None:
    """Return the id of the process that holds the lock on an open file, if the system tells."""
    wanted = os.fstat(descriptor)
    for line in Path("/proc/locks").read_text().splitlines():
        # "1: FLOCK  ADVISORY  WRITE 4711 fe:00:131087 0 EOF"; in front of those that wait for it stands "->".
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(wanted.st_ino):
            pid = int(fields[4])
            if _has_open(pid, wanted):
                return pid
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    """Tell whether a process has a file open: inode numbers are those of one file system, and there are several."""
    with contextlib.suppress(OSError):  # it ended, or is another user's
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # just closed
                if os.path.samestat(link.stat(), wanted):
                    return True
    return False


def _describe(descriptor: int, path: Path) -> tuple[str, str]:
    """Return who holds the lock, and what to do about it."""
    pid = find_holder(descriptor)
    if pid is None:
        return f"another process holds {path}", "end or resume the other command with the same key"
    if _is_stopped(pid):
        return f"process {pid}, which is stopped, holds {path}", f"resume it with fg or kill -CONT {pid}, or end it"
    return f"process {pid} holds {path}", f"let it end: ps -p {pid} tells what it is"


def _is_stopped(pid: int) -> bool:
    try:
        # "4711 (any name) T 1 …"
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in _STOPPED
    except OSError:  # it ended
        return False
