"""The order of calls that wait for the one thread of the gRPC transport."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.grpc_server import GrpcServer
from abci_app.server.lanes import PARTS, OneThread
from tests.server.transports import RunningServer, make_address
from tests.server.trivial import TrivialApplication


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


class HeldApplication(TrivialApplication):
    """Holds queries until they are let go, and notes the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.let_go = threading.Event()

    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        self.order.append("query")
        self.let_go.wait(60)
        return super().query(request)

    def echo(self, request: abci.RequestEcho) -> abci.ResponseEcho:
        self.order.append("echo")
        return super().echo(request)


def test_over_grpc_nothing_waits_for_the_queries_that_came_before_it(tmp_path: Path) -> None:
    application = HeldApplication()
    running = RunningServer("grpc", application, make_address("unix", tmp_path))
    assert isinstance(running.server, GrpcServer)
    pool = running.server.pool

    def echo() -> None:
        with running.client() as client:
            client.call("echo", abci.RequestEcho(message="x"))

    echoing = threading.Thread(target=echo)
    try:
        with running.client() as asking:
            wait = asking.begin("/data", 20)
            wait_until(lambda: pool.waiting == (0, 19))
            echoing.start()
            wait_until(lambda: pool.waiting == (1, 19))
            application.let_go.set()
            assert len(wait()) == 20
        echoing.join()
    finally:
        application.let_go.set()
        running.stop()
    assert application.order == ["query", "echo", *["query"] * 19]


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
