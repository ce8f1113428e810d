"""Processes that this one starts: they end with it, and their logs say why when they end before it."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from learningchain.node_home import NodeError, get_clean_environ

STOP_SECONDS: Final = 15.0
"""How long a process may take to stop before it is killed."""
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LAST_BYTES: Final = 2_000
_LAST_LINES: Final = 5
_MOST_READ: Final = 4 * 1024 * 1024
"""Bytes from the end of a log in which last words are looked for: months of it may be as long as the disk is large."""
_FINAL_WORDS: Final = ("panic:", "ERROR:")
"""How the line begins with which CometBFT says why it ends; what follows a panic are stack traces."""


@dataclass(frozen=True, slots=True)
class Log:
    """What a process has written since it was started: the end of a file that earlier runs wrote to as well."""

    path: Path
    start: int
    """Size of the file before the process, in bytes."""

    @classmethod
    def begin(cls, path: Path) -> "Log":
        """Remember where the log of a process that is about to start begins."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def read_last_words(self) -> str:
        """Return what an error message should show: from the line that says why, else the end."""
        try:
            with self.path.open("rb") as file:
                size = self.path.stat().st_size
                start = self.start if self.start <= size else 0  # somebody has emptied the file meanwhile
                file.seek(max(start, size - _MOST_READ))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        for number, line in enumerate(lines):
            if line.startswith(_FINAL_WORDS):
                return "\n".join(lines[number : number + _LAST_LINES])
        return "\n".join(lines)[-_LAST_BYTES:]


class Lookout:
    """Looks for lines of one kind in what is added to a log, as it grows."""

    def __init__(self, log: Log, line: re.Pattern[bytes]) -> None:
        """Look at nothing that an earlier process wrote. `line` matches the beginning of a line."""
        self._path = log.path
        self._position = log.start
        self._line = line
        self._is_seen = False

    def is_seen(self) -> bool:
        """Tell whether there was such a line."""
        with contextlib.suppress(OSError):  # somebody has removed the log, or its disk fails: the next look may read it
            size = self._path.stat().st_size
            if not self._is_seen and size != self._position:
                self._is_seen = any(map(self._line.match, self._read_lines(size)))
        return self._is_seen

    def _read_lines(self, size: int) -> list[bytes]:
        """Return what is new; a line that is not whole yet, as a full disk leaves it, is read once more."""
        with self._path.open("rb") as file:
            file.seek(self._position if self._position <= size else 0)  # somebody has emptied the file meanwhile
            lines = file.read(_MOST_READ).split(b"\n")
            self._position = file.tell() - (len(lines[-1]) if len(lines[-1]) < _MOST_READ else 0)
        return lines


def describe_end(returncode: int) -> str:
    """Return how a process ended, as the rest of a sentence about it."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    return f"was ended by {signal.Signals(-returncode).name}"


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that this one started: SIGTERM, and SIGKILL when that takes too long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def get_module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules; `get_environ` belongs to it.

    Without -P Python would look for it, and for all it imports, in the present folder first, which may be a stranger's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def get_environ() -> dict[str, str]:
    """Return this process's environment for one that imports from where this one does."""
    return {**get_clean_environ(), "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def start_process(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; its output goes to the end of `log`. Raises NodeError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return _spawn(command, output)


def _spawn(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    try:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the two in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=get_environ(),
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        raise NodeError(f"cannot start {command[0]}: {error}") from error
