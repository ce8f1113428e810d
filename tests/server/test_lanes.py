"""The order of calls that wait for the one thread of the gRPC transport."""

import threading
from collections.abc import Iterator

import pytest

from abci_app.server.lanes import PARTS, OneThread


class Clock:
    """Stands still unless it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(clock: Clock) -> Iterator[OneThread]:
    pool = OneThread("test", clock)
    yield pool
    pool.shutdown(wait=True)


def test_calls_of_the_second_lane_wait_for_those_of_the_first_but_not_for_ever(one: OneThread, clock: Clock) -> None:
    """All take as long: the second lane has one call in five while the first is not empty."""
    done: list[str] = []
    gate = threading.Event()

    def work(name: str) -> None:
        done.append(name)
        clock.now += 0.5

    futures = [one.later.submit(gate.wait)]
    futures += [one.later.submit(work, f"later {number}") for number in range(3)]
    futures += [one.submit(work, f"first {number}") for number in range(PARTS + 1)]
    gate.set()
    for future in futures:
        future.result(10)
    assert done == ["later 0", *(f"first {number}" for number in range(PARTS)), "later 1", f"first {PARTS}", "later 2"]


def test_all_calls_run_in_one_thread_and_tell_how_they_ended(one: OneThread) -> None:
    threads = {pool.submit(threading.get_ident).result(10) for pool in (one, one.later, one, one.later)}
    assert len(threads) == 1
    for pool in (one, one.later):
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 // 0).result(10)


def test_a_call_that_was_taken_back_does_not_run(one: OneThread) -> None:
    gate = threading.Event()
    done: list[str] = []
    running = one.submit(gate.wait)
    taken_back = one.later.submit(done.append, "never")
    assert taken_back.cancel()
    last = one.later.submit(done.append, "last")
    gate.set()
    running.result(10)
    last.result(10)
    assert done == ["last"]
