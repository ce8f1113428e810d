"""What the engine's refusals mean."""

from typing import Any

import docker.errors
import pytest
import requests

from worker.sandbox.engine import Engine
from worker.sandbox.types import OwnFailureError


class RefusingApi:
    """Refuses to thaw, in these words."""

    def __init__(self, words: str) -> None:
        self._words = words

    def unpause(self, _: str) -> None:
        response = requests.Response()
        response.status_code = 500
        raise docker.errors.APIError("500", response, self._words)


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
