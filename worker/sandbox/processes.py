"""Names for processes that survive neither a reboot nor the reuse of their number: who left what behind."""

import os
from functools import cache
from pathlib import Path

_STATE = 0  # index of field 3 of /proc/PID/stat, counted from the state behind the name
_START_TIME = 19  # field 22
_DEAD = ("Z", "X", "x")  # what waits for its parent to take note is dead


@cache
def _get_place() -> str:
    """Return boot and PID namespace: where a number means what it means here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def _get_start(pid: int) -> str:
    """Return when a living process started, in clock ticks since boot; empty when there is none."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = line.rpartition(")")[2].split()  # the name may hold spaces and brackets
    return "" if fields[_STATE] in _DEAD else fields[_START_TIME]


def get_process_name() -> str:
    """Return the name of this process: boot, PID namespace, number and start time, joined by dashes."""
    return f"{_get_place()}-{os.getpid()}-{_get_start(os.getpid())}"


def is_alive(name: str) -> bool:
    """Return whether the process of this name is seen to run; a name that is none counts as dead."""
    place, pid, start = _split(name)
    return place == _get_place() and pid.isdecimal() and start != "" and _get_start(int(pid)) == start


def is_surely_dead(name: str) -> bool:
    """Return whether a process of this name would be seen from here, and is not."""
    return _split(name)[0] == _get_place() and not is_alive(name)


def _split(name: str) -> tuple[str, str, str]:
    place, _, start = name.rpartition("-")
    place, _, pid = place.rpartition("-")
    return place, pid, start
