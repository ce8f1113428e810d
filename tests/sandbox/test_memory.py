"""Where the memory of a container is read."""

import subprocess
import time
from pathlib import Path

from worker.sandbox.memory import CGROUPS, find_group, subtract_cache


def test_a_process_that_ended_is_not_taken_for_the_whole_machine() -> None:
    """Between its end and the engine's knowledge of it a container's process is in no group of its own any more."""
    process = subprocess.Popen(["true"])
    try:
        while Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert find_group(process.pid) not in (CGROUPS, CGROUPS / "memory")
    finally:
        process.wait()
    assert find_group(process.pid) is None


def test_the_cache_of_files_does_not_count() -> None:
    assert subtract_cache(100, {"active_file": 20, "inactive_file": 30}) == 50
    assert subtract_cache(100, {"total_active_file": 20, "total_inactive_file": 90, "active_file": 1}) == 0
