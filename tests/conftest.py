"""Fixtures for what the set-up provides. A missing service fails a test, it never skips one."""

import os
import signal
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import structlog

hypothesis.settings.register_profile("shared", deadline=None)  # times of single examples mean nothing on a busy machine
hypothesis.settings.load_profile("shared")

# A shell that starts the tests in the background makes them ignore SIGINT, and so would every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

MISSING = "{name} is not set: run the tests with 'make test'; 'make up' and '. .state/env' set all but LC_COMETBFT_040"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Programs that a test runs in this process set up their logs; what later tests look for would go there too."""
    yield
    structlog.reset_defaults()


def need(name: str) -> str:
    """Return the environment variable `name` of the set-up, or fail the test with what to run."""
    value = os.environ.get(name, "")
    if not value:
        pytest.fail(MISSING.format(name=name), pytrace=False)
    return value


def provide(name: str) -> Callable[[], str]:
    """Return a session fixture that gives the environment variable `name`."""

    @pytest.fixture(scope="session", name=name.removeprefix("LC_").lower())
    def fixture() -> str:
        return need(name)

    return fixture


docker_host = provide("DOCKER_HOST")
registry = provide("LC_REGISTRY")
cometbft = provide("LC_COMETBFT")
cometbft_040 = provide("LC_COMETBFT_040")
base_image = provide("LC_BASE_IMAGE")
digits_image = provide("LC_DIGITS_IMAGE")
