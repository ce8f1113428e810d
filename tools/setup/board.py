"""The list of steps on the screen: redrawn in place on a terminal, plain lines otherwise."""

import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

PLAIN_SECONDS = 5.0
"""Without a terminal, a running step says so often how far it is, and less often the longer it takes."""
LONGEST_SILENCE = 30.0
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
NAME_WIDTH = 19
TEXT_WIDTH = 80
"""How much of a command's output line is shown without a terminal."""


def get_silence(running: float) -> float:
    """Return after how many seconds a step that has been running for some speaks again without a terminal."""
    return min(max(PLAIN_SECONDS, running / 4), LONGEST_SILENCE)


@dataclass(slots=True)
class Row:
    """One step as shown."""

    state: str = "waiting"  # waiting, running, done, failed
    text: str = ""
    started: float = 0.0
    seconds: float = 0.0
    said: float = 0.0


@dataclass(slots=True)
class Board:
    """Rows by name. Steps write from their threads, the main thread draws."""

    output: TextIO = field(default_factory=lambda: sys.stderr)
    rows: dict[str, Row] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    drawn: int = 0

    def open(self, names: list[str]) -> None:
        """Begin with all steps waiting."""
        self.rows = {name: Row() for name in names}
        self.drawn = 0

    def start(self, name: str) -> None:
        """Mark a step as running."""
        with self.lock:
            row = self.rows[name]
            row.state, row.started = "running", time.monotonic()
            row.said = row.started

    def update(self, name: str, text: str) -> None:
        """Set what is shown beside a running step."""
        with self.lock:
            self.rows[name].text = text

    def finish(self, name: str, text: str) -> None:
        """Mark a step as done."""
        self._end(name, "done", text)

    def fail(self, name: str, text: str) -> None:
        """Mark a step as failed or stopped."""
        self._end(name, "failed", text)

    def _end(self, name: str, state: str, text: str) -> None:
        with self.lock:
            row = self.rows[name]
            row.state, row.text, row.seconds = state, text, time.monotonic() - row.started
            if not self.output.isatty():
                self._print(f"{'✓' if state == 'done' else '✗'} {name:{NAME_WIDTH}} {row.seconds:5.1f} s  {text}")

    def show(self) -> None:
        """Draw the present state; call it several times a second."""
        with self.lock:
            if self.output.isatty():
                self._draw()
            else:
                self._say_running()

    def _print(self, line: str) -> None:
        print(line, file=self.output, flush=True)

    def _say_running(self) -> None:
        now = time.monotonic()
        for name, row in self.rows.items():
            if row.state == "running" and now - row.said >= get_silence(now - row.started):
                row.said = now
                self._print(f"… {name:{NAME_WIDTH}} {now - row.started:5.1f} s  {row.text[:TEXT_WIDTH]}")

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns
        now = time.monotonic()
        lines = [self._format(name, row, now)[: width - 1] for name, row in self.rows.items()]
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.output.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self.output.flush()
        self.drawn = len(lines)

    def _format(self, name: str, row: Row, now: float) -> str:
        if row.state == "waiting":
            return f"· {name:{NAME_WIDTH}}"
        running = row.state == "running"
        mark = FRAMES[int(now * 10) % len(FRAMES)] if running else {"done": "✓", "failed": "✗"}[row.state]
        seconds = now - row.started if running else row.seconds
        return f"{mark} {name:{NAME_WIDTH}} {seconds:5.1f} s  {row.text}"
