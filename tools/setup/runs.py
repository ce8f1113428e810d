"""The command that `run` runs with the services: in a session and a temporary folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.setup.engine import remove_tree
from tools.setup.processes import send_signal, stop_recorded, wait_for_end, write_record
from tools.setup.settings import ROOT, RUN_STOP_SECONDS, STATE

RUNS = STATE / "runs"
"""One folder for each command at work, for the case that this process is killed: its record, a link to its files."""
TIMED_OUT = 124


def run_command(argv: Sequence[str], environ: Mapping[str, str], seconds: float | None = None, limit: float = 0) -> int:
    """Run a command for at most `seconds` and return its exit code; end it with everything that it left behind.

    `environ` is added to the environment. `limit`, in seconds, is what the message about too long a time names.
    """
    folder = Path(tempfile.mkdtemp(prefix="lc-"))  # not below the checkout: paths of Unix sockets must be short
    note = RUNS / folder.name
    note.mkdir(parents=True)
    (note / "files").symlink_to(folder)
    variables = {**os.environ, **environ, "TMPDIR": str(folder)}
    try:
        process = subprocess.Popen(argv, cwd=ROOT, env=variables, start_new_session=True)
        write_record(note / "command.json", process.pid)
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            text = f"all of it took longer than {limit:.0f} s ({' '.join(argv)} was still running)"
            print(f"\nstopped: {text}", file=sys.stderr)
            return TIMED_OUT
        finally:
            end_session(process)
    finally:
        remove_files(note)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Ask the command to end as Ctrl-C would, wait for its clean-up, then kill what is left of its group."""
    if process.poll() is None:
        send_signal(process.pid, signal.SIGINT, group=True)
        if not wait_for_end(process.pid, RUN_STOP_SECONDS):
            print(f"{process.args!r} did not end within {RUN_STOP_SECONDS} s and is killed", file=sys.stderr)
    send_signal(process.pid, signal.SIGKILL, group=True)
    process.poll()


def remove_files(note: Path) -> None:
    """Remove the temporary folder of a command, then the note about it."""
    remove_tree((note / "files").readlink())
    shutil.rmtree(note)


def end_stale_runs() -> None:
    """End the commands of killed set-ups. Only for a caller who knows that no other set-up is alive."""
    for note in RUNS.glob("*"):
        print("an earlier set-up was killed; ending what it ran", file=sys.stderr, flush=True)
        stop_recorded(note / "command.json", RUN_STOP_SECONDS, group=True)
        remove_files(note)
