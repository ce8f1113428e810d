"""What the demo shows: one line for each fact, with its time; milestones come again in the timeline at the end."""

import time
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

QUIET_SECONDS: Final = 3.0
"""After so long without a line, a line about what is under way is shown."""
STYLES: Final = {"good": "bold green", "bad": "bold red", "phase": "bold cyan", "note": "", "quiet": "dim"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A milestone: seconds since the demo began, and its text."""

    seconds: float
    text: str


class Screen:
    """Prints to stderr: stdout is for data."""

    def __init__(self, console: Console | None = None) -> None:
        """Begin the clock."""
        self._console = console or Console(stderr=True, highlight=False)
        self._start = self._last = time.monotonic()
        self.timeline: list[Entry] = []

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._start

    def title(self, text: str) -> None:
        """Begin a new chapter."""
        self._console.print()
        self._console.rule(Text(text, style="bold"), align="left")
        self._last = time.monotonic()

    def say(self, text: str, style: str = "note") -> None:
        """Show a fact."""
        self._print(text, style)

    def mark(self, text: str, style: str = "note") -> None:
        """Show a milestone and put it into the timeline."""
        self.timeline.append(Entry(self.seconds, text))
        self._print(text, style)

    def murmur(self, text: str) -> None:
        """Show what is under way, if nothing was shown for a while; not a milestone."""
        if time.monotonic() - self._last >= QUIET_SECONDS:
            self._print(text, "quiet")

    def table(self, table: Table) -> None:
        """Show a table."""
        self._console.print(table)
        self._last = time.monotonic()

    def plain(self, text: str) -> None:
        """Show text as it is."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(f"{self.seconds:6.1f} s  ") + Text(text, style=STYLES[style]), soft_wrap=True)
        self._last = time.monotonic()
