"""What the engine's refusals mean."""

from typing import Any

import docker.errors
import pytest
import requests

from worker.sandbox.engine import FREEZE_TRIES, Engine
from worker.sandbox.types import OwnFailureError

STARVED = "Cannot pause container 1f: OCI runtime pause failed: unable to freeze: unknown"


class RefusingApi:
    """Refuses to thaw, and `times` times to freeze, in these words."""

    def __init__(self, words: str, times: int = 0) -> None:
        self._words = words
        self._left = times
        self.tries = 0

    def unpause(self, _: str) -> None:
        response = requests.Response()
        response.status_code = 500
        raise docker.errors.APIError("500", response, self._words)

    def pause(self, container: str) -> None:
        self.tries += 1
        if self.tries <= self._left:
            self.unpause(container)


def make_engine(api: Any) -> Engine:
    engine = object.__new__(Engine)  # no engine is asked
    engine._api = api
    return engine


@pytest.mark.parametrize("words", ["Container 1f is not paused", "Cannot unpause: cannot resume a running process"])
def test_a_container_that_runs_already_is_not_thawed_and_no_failure(words: str) -> None:
    assert not make_engine(RefusingApi(words)).unpause("1f")


def test_any_other_refusal_is_one() -> None:
    with pytest.raises(OwnFailureError, match="unpause a container: no such cgroup"):
        make_engine(RefusingApi("no such cgroup")).unpause("1f")


def test_what_a_busy_processor_keeps_from_freezing_is_frozen_at_a_later_try() -> None:
    api = RefusingApi(STARVED, times=FREEZE_TRIES - 1)
    assert make_engine(api).pause("1f")
    assert api.tries == FREEZE_TRIES


@pytest.mark.parametrize(("words", "tries"), [(STARVED, FREEZE_TRIES), ("no such cgroup", 1)])
def test_what_does_not_freeze_is_a_failure_after_bounded_tries(words: str, tries: int) -> None:
    api = RefusingApi(words, times=FREEZE_TRIES)
    with pytest.raises(OwnFailureError, match=f"pause a container: {words}"):
        make_engine(api).pause("1f")
    assert api.tries == tries
