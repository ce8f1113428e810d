"""What a container prints: untrusted text, taken apart, sanitised, capped in size and rate."""

import json
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from worker.sandbox.types import LogLine, Progress

EVALUATION_OUTPUT = 4 << 20  # bytes that predict or score may print before it is stopped
TRAINING_OUTPUT = 1 << 30  # bytes that train may print over one start
TAIL_BYTES = 2048  # of predict and score, for people
LINE_BYTES = 4096  # the rest of a longer line is dropped
LINES_PER_SECOND = 20
LINES_KEPT = 200  # until the worker asks for them
METRICS = 16
NAME_CHARACTERS = 40
COUNT_BOUND = 2**53  # steps beyond this are no steps

_HEADER = 8  # bytes before each frame of the engine's stream: kind, 3 zeros, length
# Control characters, and those that reorder or hide text on a terminal or a page.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def sanitise(text: str, characters: int) -> str:
    """Return `text` without terminal escapes and control characters, cut to `characters`."""
    plain = _UNPRINTABLE.sub("", _ESCAPES.sub("", text)).replace("\t", " ")
    return plain if len(plain) <= characters else plain[: characters - 1] + "…"


class Frames:
    """Takes the engine's multiplexed stream apart; at no time holds more than one header."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Return the printed bytes in `data`, of stdout and stderr alike."""
        printed = []
        while data:
            if self._left == 0:
                missing = _HEADER - len(self._header)
                self._header, data = self._header + data[:missing], data[missing:]
                if len(self._header) == _HEADER:
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            printed.append(data[: self._left])
            data = data[len(printed[-1]) :]
            self._left -= len(printed[-1])
        return b"".join(printed)


class Tail:
    """Keeps the last bytes of an output."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, printed: bytes) -> None:
        """Take more output."""
        self._kept = (self._kept + printed[-TAIL_BYTES:])[-TAIL_BYTES:]

    def get_text(self) -> str:
        """Return what was printed last, one line, sanitised."""
        lines = (sanitise(line, len(line)).strip() for line in self._kept.decode("utf-8", "replace").splitlines())
        return " | ".join(line for line in lines if line)[-TAIL_BYTES:]


class Lines:
    """Splits a training program's output into progress and log lines, at most some per second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rest = b""
        self._is_skipping = False  # the rest of an overlong line
        self._allowance = float(LINES_PER_SECOND)
        self._refilled = clock()
        self._kept: deque[Progress | LogLine] = deque(maxlen=LINES_KEPT)

    def feed(self, printed: bytes) -> None:
        """Take more output. Only what fits the rate is parsed, so a flood costs little."""
        *ended, last = printed.split(b"\n")
        for piece in ended:
            if self._is_skipping:
                self._is_skipping, self._rest = False, b""
                continue
            line, self._rest = self._rest + piece, b""
            self._take(line)
        self._rest += last
        if len(self._rest) > LINE_BYTES and not self._is_skipping:
            self._take(self._rest)
            self._is_skipping = True
        if self._is_skipping:
            self._rest = b""

    def drain(self) -> list[Progress | LogLine]:
        """Return the kept lines, oldest first, and forget them."""
        with self._lock:
            kept = list(self._kept)
            self._kept.clear()
        return kept

    def _take(self, line: bytes) -> None:
        if not line.strip() or not self._is_allowed():
            return
        parsed = parse_line(line)
        with self._lock:
            self._kept.append(parsed)

    def _is_allowed(self) -> bool:
        now = self._clock()
        self._allowance = min(self._allowance + (now - self._refilled) * LINES_PER_SECOND, float(LINES_PER_SECOND))
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def parse_line(line: bytes) -> Progress | LogLine:
    """Return a progress line if it is a JSON object with one of step, total, loss, metrics; else a log line."""
    text = line[:LINE_BYTES].decode("utf-8", "replace").strip()
    try:
        value = json.loads(text, parse_int=_parse_int) if text.startswith("{") else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value.keys() & {"step", "total", "loss", "metrics"}:
        return Progress(
            _get_count(value.get("step")),
            _get_count(value.get("total")),
            _get_number(value.get("loss")),
            _get_metrics(value.get("metrics")),
        )
    return LogLine(sanitise(text, LINE_BYTES))


def _parse_int(digits: str) -> int | float:
    """Return an int that later formatting is quick for; anything longer is a float."""
    return int(digits) if len(digits) <= NAME_CHARACTERS else math.inf


def _get_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= COUNT_BOUND else None


def _get_number(value: Any) -> str:
    return repr(value) if type(value) in (int, float) and math.isfinite(value) else ""


def _get_metrics(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        return ()
    named = ((sanitise(name, NAME_CHARACTERS), _show(item)) for name, item in value.items())
    return tuple((name, text) for name, text in named if name and text)[:METRICS]


def _show(value: Any) -> str:
    return sanitise(value, NAME_CHARACTERS) if isinstance(value, str) else _get_number(value)
