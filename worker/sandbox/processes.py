"""Names for processes that survive neither a reboot nor the reuse of their number: who left what behind."""

import os
from functools import cache
from pathlib import Path

_START_TIME = 19  # index of field 22 of /proc/PID/stat, counted from the state behind the name


@cache
def _get_boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _get_start(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty when there is none."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return line.rpartition(")")[2].split()[_START_TIME]  # the name may hold spaces and brackets


def get_process_name() -> str:
    """Return the name of this process: boot, number and start time, joined by dashes."""
    return f"{_get_boot()}-{os.getpid()}-{_get_start(os.getpid())}"


def is_alive(name: str) -> bool:
    """Return whether the process of this name still runs; a name that is none counts as dead."""
    boot, _, rest = name.partition("-")
    pid, _, start = rest.partition("-")
    return boot == _get_boot() and pid.isdecimal() and start != "" and _get_start(int(pid)) == start
