"""Waits for the end of a worker and removes what it left: see worker/sandbox/guard.py, which starts it."""

import sys
import time

DEATH_SECONDS = 30.0


def main(home: str, engine: str, process: str) -> int:
    """Return after the farewell, or after cleaning up; the attempts at training are kept for the next start."""
    if sys.stdin.buffer.read(1):
        return 0
    # Only now: waiting costs 10 MB without the engine's library, 40 with it.
    from pathlib import Path

    from worker.sandbox.engine import Engine
    from worker.sandbox.host import Host, get_owner
    from worker.sandbox.orphans import get_attempts, remove_orphans
    from worker.sandbox.processes import is_alive
    from worker.sandbox.storage import LoopStorage

    deadline = time.monotonic() + DEATH_SECONDS
    while is_alive(process) and time.monotonic() < deadline:  # its files are closed before it is gone
        time.sleep(0.05)
    place = Path(home)
    storage = LoopStorage(reserve=0)  # makes nothing here, and no attempt is removed
    host = Host(Engine(engine), storage, get_owner(place), place, "", (), 0)
    report = remove_orphans(host, get_attempts(place))
    sys.stdout.write(f"the worker {process} died: removed {report}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
