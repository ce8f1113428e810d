"""Data on stdout, everything else on stderr. Text of strangers is made harmless before it is shown."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from learningchain.cli import exit_codes
from learningchain.cli.failure import Report

PIPE_WIDTH: Final = 400
"""Columns of a table that is not shown on a terminal."""
MAX_MESSAGE: Final = 6_000
"""Characters of an error that are shown; the last words of a process, which it may hold, are a third of them."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class Output:
    """Shows data as text or JSON."""

    def __init__(self, form: str) -> None:
        """`form` is `text` or `json`."""
        self.is_json = form == "json"
        self.data = _make_console(sys.stdout)
        self.notes = _make_console(sys.stderr)

    def show(self, data: object, render: Callable[[Console], None] | None = None) -> None:
        """Write data to stdout: as JSON in ASCII, or through `render`, or as lines of names and values."""
        if self.is_json:
            self.data.out(json.dumps(data, indent=2), highlight=False)
        elif render is not None:
            render(self.data)
        else:
            render_fields(self.data, data)

    def show_line(self, data: object) -> None:
        """Write one line of JSON to stdout, for streams."""
        self.data.out(json.dumps(data), highlight=False)

    def say(self, text: str) -> None:
        """Write a line to stderr."""
        self.notes.print(clean(text))

    def fail(self, report: Report) -> int:
        """Write what went wrong and what to do next to stderr, and return the exit code."""
        with suppress(OSError):  # nobody reads stderr or its disk is full: the exit code is all that can be told
            self._show_failure(report)
        return report.exit_code

    def _show_failure(self, report: Report) -> None:
        if self.is_json:
            message, hint = _shorten(report.message), _shorten(report.hint)
            fields = {"message": message, "hint": hint, "exit_code": report.exit_code}
            if report.code is not None:
                fields |= {"code": report.code, "name": report.name or ""}
            if report.traceback:
                fields["traceback"] = report.traceback
            self.notes.out(json.dumps({"error": fields}), highlight=False)
            return
        if report.traceback:
            self.say(report.traceback)
        self.notes.print(Text.assemble(("error: ", "bold red"), clean(_shorten(report.message))))
        self.notes.print(Text.assemble(("next: ", "bold"), clean(_shorten(report.hint))))


class _Console(Console):
    """A console of which the reader may go away, as `| head` does."""

    def on_broken_pipe(self) -> NoReturn:
        """End as a program that a broken pipe ends; what is left in the buffer goes nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(exit_codes.CLOSED)


def _make_console(stream: TextIO) -> Console:
    # What is piped is for programs: its lines are not folded to a screen that is not there.
    width = None if stream.isatty() else PIPE_WIDTH
    return _Console(file=stream, width=width, highlight=False, emoji=False, markup=False, soft_wrap=True)


def has_colours(stream: TextIO) -> bool:
    """Tell whether a log may be coloured: on a terminal, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def clean(text: str) -> str:
    """Return text without characters that could move the cursor, reorder the line or hide."""
    return "".join(char if char.isprintable() or char == "\n" else _REPLACEMENT for char in text)


def _shorten(text: str) -> str:
    """Return the text, of a very long one both ends: a file typed in by mistake must not scroll the reason away."""
    half = MAX_MESSAGE // 2
    return text if len(text) <= MAX_MESSAGE else f"{text[:half]} … {text[-half:]}"


def make_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of plain text."""
    table = Table(title=None if title is None else Text(title), box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def render_fields(console: Console, data: object, indent: int = 0) -> None:
    """Write nested data as indented lines `name: value`."""
    pad = "  " * indent
    if isinstance(data, Mapping):
        for name, value in data.items():
            if _is_nested(value):
                console.print(f"{pad}{clean(str(name))}:")
                render_fields(console, value, indent + 1)
            else:
                console.print(f"{pad}{clean(str(name))}: {_format(value)}")
    elif isinstance(data, Sequence) and not isinstance(data, str):
        for value in data:
            console.print(f"{pad}-" if _is_nested(value) else f"{pad}- {_format(value)}")
            if _is_nested(value):
                render_fields(console, value, indent + 1)
    else:
        console.print(f"{pad}{_format(data)}")


def _is_nested(value: object) -> bool:
    return bool(value) and isinstance(value, Mapping | list | tuple)


def _format(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(str(value))
