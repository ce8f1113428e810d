"""An event loop whose clock moves only while nobody is at work: a busy machine makes a test slower, not different.

Threads of the loop's executor and of anyio are waited for, bytes on their way are taken in first, and then the clock
jumps to whatever is due next. A thread that waits for what the test will do says so with `wait_for_test`.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

import anyio.to_thread
import pytest

T = TypeVar("T")

ON_THE_WAY_S: Final = 0.002
"""Real time in which the kernel delivers what was sent over loopback."""
LOOK_S: Final = 0.02
"""Real time between two looks whether the threads at work have come to wait for the test."""

_waiting: set[threading.Event] = set()


def wait_for_test(event: threading.Event) -> None:
    """Wait in a thread for something that happens only when the loop's clock goes on."""
    _waiting.add(event)
    try:
        event.wait()
    finally:
        _waiting.discard(event)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0; see the module."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at_work = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the seconds that timers have waited for so far."""
        return self.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Run in a thread that the clock waits for."""
        future = super().run_in_executor(executor, func, *args)
        self.at_work += 1
        future.add_done_callback(self._count_end)
        return future

    def _count_end(self, _: object) -> None:
        self.at_work -= 1

    def is_at_work(self) -> bool:
        """Tell whether a thread does something that ends by itself."""
        return self.at_work > sum(not event.is_set() for event in tuple(_waiting))


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(ON_THE_WAY_S)
        while not ready and self._loop.is_at_work():
            ready = super().select(LOOK_S)
        if not ready:
            self._loop.now += timeout
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time, like asyncio.run."""
    run_sync = anyio.to_thread.run_sync

    async def run_counted(*arguments: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.at_work += 1
        try:
            return await run_sync(*arguments, **options)
        finally:
            loop.at_work -= 1

    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        patch.setattr(anyio.to_thread, "run_sync", run_counted)
        return runner.run(main)
