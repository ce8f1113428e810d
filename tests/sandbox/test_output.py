"""What programs print: taken apart, thinned, made harmless."""

import json
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox import LogLine, Progress
from worker.sandbox.output import (
    LINE_BYTES,
    LINES_KEPT,
    LINES_PER_SECOND,
    METRICS,
    NAME_CHARACTERS,
    TAIL_BYTES,
    Frames,
    Lines,
    Tail,
    parse_line,
    sanitise,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _frame(content: bytes, kind: int = 1) -> bytes:
    return bytes((kind, 0, 0, 0)) + len(content).to_bytes(4, "big") + content


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 30))
def test_frames_split_anywhere_give_the_same_bytes(contents: list[bytes], step: int) -> None:
    stream = b"".join(_frame(content, kind=1 + number % 2) for number, content in enumerate(contents))
    frames = Frames()
    printed = [frames.feed(stream[start : start + step]) for start in range(0, len(stream), step)]
    assert b"".join(printed) == b"".join(contents)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb\0c\x7f\x9bd", "a bcd"),
        ("\u202eabc\u2066\ufeff\u200b", "abc"),
        ("<script>", "<script>"),
        ("line\nbreak\r", "linebreak"),
        ("x" * 50, "x" * 39 + "…"),
    ],
)
def test_text_is_made_harmless(text: str, plain: str) -> None:
    assert sanitise(text, 40) == plain


@given(st.text())
def test_harmless_text_has_no_control_characters(text: str) -> None:
    plain = sanitise(text, 100)
    assert len(plain) <= 100
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in plain)


def test_a_progress_line_has_step_total_loss_and_metrics() -> None:
    line = b'{"step": 120, "total": 1000, "loss": 0.31, "metrics": {"accuracy": 0.9, "phase": "warm\\u001b[31m up"}}'
    assert parse_line(line) == Progress(120, 1000, "0.31", (("accuracy", "0.9"), ("phase", "warm up")))


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        (b'{"step": -1, "loss": "low"}', Progress()),
        (b'{"step": true, "total": 1.5, "loss": NaN}', Progress()),
        (b'{"step": 1e999, "loss": Infinity}', Progress()),
        (b'{"step": %s}' % (b"9" * 3000), Progress()),
        (b'{"loss": %s}' % (b"9" * 3000), Progress()),
        (b'{"metrics": [1, 2]}', Progress()),
        (b'{"metrics": {"a": {"b": 1}, "": 2, "c": null}}', Progress()),
    ],
)
def test_nonsense_in_a_progress_line_is_dropped(line: bytes, progress: Progress) -> None:
    assert parse_line(line) == progress


@pytest.mark.parametrize("line", [b"epoch 3", b"{", b"[1]", b'{"other": 1}', b"{" * 4000, b'{"step": 1} trailing'])
def test_any_other_line_is_log(line: bytes) -> None:
    assert parse_line(line) == LogLine(line.decode())


def test_metrics_are_few_and_short() -> None:
    metrics = {f"{'m' * 100}{number}": "v" * 100 for number in range(100)}
    parsed = parse_line(json.dumps({"metrics": metrics}).encode()[:LINE_BYTES])
    assert isinstance(parsed, LogLine)  # cut, and so no JSON any more
    parsed = parse_line(json.dumps({"metrics": {f"m{number}": "v" * 100 for number in range(30)}}).encode())
    assert isinstance(parsed, Progress)
    assert len(parsed.metrics) == METRICS
    assert all(len(value) == NAME_CHARACTERS for _, value in parsed.metrics)


@given(st.binary(max_size=300))
def test_any_line_gives_progress_or_log(line: bytes) -> None:
    assert isinstance(parse_line(line), Progress | LogLine)


def test_lines_split_anywhere_are_put_together() -> None:
    lines = Lines()
    for piece in (b"on", b"e\ntw", b"o\r\n\n", b'{"step"', b": 1}\nrest"):
        lines.feed(piece)
    assert lines.drain() == [LogLine("one"), LogLine("two"), Progress(step=1)]
    assert lines.drain() == []


def test_lines_are_limited_in_rate_and_number() -> None:
    clock = Clock()
    lines = Lines(clock)
    lines.feed(b"x\n" * 1000)
    assert len(lines.drain()) == LINES_PER_SECOND
    for _ in range(100):
        clock.now += 1
        lines.feed(b"x\n" * 1000)
    assert len(lines.drain()) == LINES_KEPT


def test_an_endless_line_is_cut_once() -> None:
    lines = Lines()
    for _ in range(100):
        lines.feed(b"y" * 1000)
    lines.feed(b"end\nnext\n")
    first, second = lines.drain()
    assert isinstance(first, LogLine)
    assert len(first.text) <= LINE_BYTES
    assert second == LogLine("next")


def test_only_what_fits_the_rate_of_a_flood_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(wraps=parse_line)
    monkeypatch.setattr("worker.sandbox.output.parse_line", parse)
    lines = Lines(Clock())
    for _ in range(100):
        lines.feed(b'{"step": 1}\n' * 5000)  # 6 MB in all, at one instant
    assert parse.call_count == LINES_PER_SECOND


def test_the_tail_is_the_last_of_it() -> None:
    tail = Tail()
    tail.feed(b"first\n" + b"\xff" * 5000)
    tail.feed(b"\nlast \x1b[1m\n")
    assert tail.get_text().endswith("| last")
    assert len(tail.get_text()) <= TAIL_BYTES
