"""Run the steps of the set-up side by side and show how far each one is."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.setup.board import Board
from tools.setup.processes import read_record, send_signal, stop_recorded, wait_for_end, write_record
from tools.setup.settings import LOGS, ROOT, STATE, STEP_SECONDS, STOP_SECONDS, TEMPORARY, SetupError

LINES_SHOWN = 12
REFRESH_SECONDS = 0.1
COMMANDS = STATE / "commands"
"""Records of the commands at work, for the case that this process is killed."""
NOT_KILLABLE = "-wait"


class Stopped(Exception):
    """Another step failed or the user pressed Ctrl-C: this step gives up."""


class Work:
    """What a step gets: a line of the board to speak on, and commands that end when the set-up is stopped."""

    def __init__(self, name: str, board: Board, stop: threading.Event) -> None:
        self.name = name
        self.board = board
        self.stop = stop
        self.log = LOGS / f"{name.lower().replace(' ', '-')}.log"

    def say(self, text: str) -> None:
        """Show `text` beside this step; raise Stopped when the set-up ends."""
        self.board.update(self.name, text)
        if self.stop.is_set():
            raise Stopped

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        remedy: str = "",
        killable: bool = True,
    ) -> None:
        """Run a command, its output in the step's log and its last line on the board; raise SetupError if it fails.

        `env` is added to the environment. A command that is not `killable` (a package manager that would leave a
        broken database behind) is waited for even after Ctrl-C.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environ = {**os.environ, "TMPDIR": str(TEMPORARY), **(env or {})}
        try:
            process = subprocess.Popen(
                argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
        except OSError as error:
            raise SetupError(f"{get_program(argv)} cannot be started: {error}", remedy) from error
        record = COMMANDS / f"{self.log.stem}{'' if killable else NOT_KILLABLE}.json"
        record.parent.mkdir(exist_ok=True)
        write_record(record, process.pid)
        tail: deque[str] = deque(maxlen=LINES_SHOWN)
        reader = threading.Thread(target=self._read, args=(process, tail, argv), daemon=True)
        reader.start()
        try:
            self._wait(process, killable)
        finally:
            record.unlink()
        reader.join(timeout=STOP_SECONDS)
        if process.returncode != 0:
            text = "\n    ".join(tail)
            raise SetupError(
                f"{get_program(argv)} ended with status {process.returncode}:\n    {text}\n  log: {self.log}", remedy
            )

    def _read(self, process: subprocess.Popen[str], tail: deque[str], argv: Sequence[str]) -> None:
        assert process.stdout is not None
        with self.log.open("a") as log:
            log.write("$ " + " ".join(argv) + "\n")
            with process.stdout:
                for line in process.stdout:
                    log.write(line)
                    if text := line.strip():
                        tail.append(text)
                        self.board.update(self.name, text)

    def _wait(self, process: subprocess.Popen[str], killable: bool) -> None:
        deadline = time.monotonic() + STEP_SECONDS
        while process.poll() is None:
            stopped = self.stop.wait(REFRESH_SECONDS)
            if stopped and not killable:
                self.board.update(self.name, "finishing, so that the package database stays whole")
                process.wait(timeout=STEP_SECONDS)
            elif stopped or time.monotonic() > deadline:
                end_group(process)
                if stopped:
                    raise Stopped
                raise SetupError(f"{process.args!r} took longer than {STEP_SECONDS} s; log: {self.log}", "try again")
        if self.stop.is_set():
            raise Stopped


def get_program(argv: Sequence[str]) -> str:
    """Return the program of a command line that `sudo` or `env` may begin."""
    return next((word for word in argv if word not in {"sudo", "env"} and "=" not in word), argv[0])


def end_stale_commands() -> None:
    """End what a killed set-up left at work, before it comes in our way; a package manager is waited for."""
    for record in sorted(COMMANDS.glob("*.json")):
        if record.stem.endswith(NOT_KILLABLE) and (pid := read_record(record)):
            print("an earlier set-up was killed; waiting for its package installation", file=sys.stderr, flush=True)
            wait_for_end(pid, STEP_SECONDS)
        stop_recorded(record, group=True)
        record.unlink(missing_ok=True)


def end_group(process: subprocess.Popen[str]) -> None:
    """End a command and everything it started: ask, wait, kill."""
    send_signal(process.pid, signal.SIGTERM, group=True)
    if not wait_for_end(process.pid, STOP_SECONDS):
        send_signal(process.pid, signal.SIGKILL, group=True)
    process.wait(timeout=STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its action returns what to show when it is done; `needs` names the steps that come first."""

    name: str
    action: Callable[[Work], str]
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """One run over a list of steps."""

    board: Board
    stop: threading.Event = field(default_factory=threading.Event)
    done: dict[str, threading.Event] = field(default_factory=dict)
    errors: list[tuple[str, Exception]] = field(default_factory=list)

    def execute(self, steps: Sequence[Step]) -> None:
        """Run all steps, each as soon as those it needs are done; raise the first failure, after all have ended."""
        self.done = {step.name: threading.Event() for step in steps}
        threads = [threading.Thread(target=self._perform, args=(step,), name=step.name) for step in steps]
        self.board.open([step.name for step in steps])
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self.board.show()
                time.sleep(REFRESH_SECONDS)
        finally:  # also Ctrl-C: no step is left running
            if any(thread.is_alive() for thread in threads):
                self.stop.set()
            for thread in threads:
                if thread.ident is not None:  # begun
                    thread.join()
            self.board.show()
        if self.errors:
            name, error = self.errors[0]
            if isinstance(error, SetupError):
                raise SetupError(f"{name}: {error}", error.remedy)
            raise error

    def _perform(self, step: Step) -> None:
        for name in step.needs:
            while not self.done[name].wait(REFRESH_SECONDS):
                if self.stop.is_set():
                    return
        work = Work(step.name, self.board, self.stop)
        try:
            self.board.start(step.name)
            result = step.action(work)
        except Stopped:
            self.board.fail(step.name, "stopped")
        except Exception as error:  # noqa: BLE001  # handed over to the main thread, which raises it
            self.errors.append((step.name, error))
            self.board.fail(step.name, "failed")
            self.stop.set()
        else:
            self.board.finish(step.name, result)
            self.done[step.name].set()
