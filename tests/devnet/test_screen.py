"""The demo's screen: what is said at once, what only after a silence, what comes again in the timeline."""

import io
import time

import pytest
from rich.console import Console

from learningchain.demo.screen import QUIET_SECONDS, Screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time is the list's only element."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_what_is_under_way_is_shown_once_per_silence(clock: list[float]) -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, width=80))
    for _ in range(32):
        clock[0] += QUIET_SECONDS / 8
        screen.murmur("training")
    assert output.getvalue().count("training") == 4
    screen.say("announced")
    screen.murmur("training")
    assert output.getvalue().count("training") == 4


def test_only_milestones_are_in_the_timeline(clock: list[float]) -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, width=80))
    screen.say("announced [0.5]")
    clock[0] += 7
    screen.mark("decided")
    assert [(entry.seconds, entry.text) for entry in screen.timeline] == [(7.0, "decided")]
    assert "announced [0.5]" in output.getvalue()
