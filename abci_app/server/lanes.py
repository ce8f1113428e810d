"""One thread for all calls, and an order among those that wait for it."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeAlias

PARTS: Final = 4
"""For each second that a call of the second lane took, those of the first that wait get so many before the next one."""

_Call: TypeAlias = "partial[Any]"
_Lane: TypeAlias = "deque[tuple[Future[Any], _Call]]"


class OneThread(ThreadPoolExecutor):
    """Runs calls one after the other in one and the same thread; those of `later` wait for others, but not for ever."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Start no thread before the first call."""
        super().__init__(max_workers=1, thread_name_prefix=name)
        self._clock = clock
        self._next_later = clock()
        self._first: _Lane = deque()
        self._second: _Lane = deque()
        self.later = _Later(self)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many calls wait in each of the lanes."""
        return len(self._first), len(self._second)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a call as soon as the one in progress is over, in the order in which such calls came."""
        return self._add(self._first, partial(fn, *args, **kwargs))

    def submit_later(self, call: _Call) -> "Future[Any]":
        """Run a call when no other waits, or the others had their part of the time."""
        return self._add(self._second, call)

    def _add(self, lane: _Lane, call: _Call) -> "Future[Any]":
        future: Future[Any] = Future()
        lane.append((future, call))
        super().submit(self._run_next)  # as often as there are calls in both lanes
        return future

    def _run_next(self) -> None:
        lane, begun = self._choose(), self._clock()
        self._run(*lane.popleft())
        if lane is self._second:
            now = self._clock()
            self._next_later = now + PARTS * (now - begun)

    def _choose(self) -> _Lane:
        is_later = self._second and (not self._first or self._clock() >= self._next_later)
        return self._second if is_later else self._first

    @staticmethod
    def _run(future: "Future[Any]", call: _Call) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  whoever asked for it gets it
            future.set_exception(error)
        else:
            future.set_result(result)


class _Later(ThreadPoolExecutor):
    """The second lane in the form of a pool; it has no thread of its own."""

    def __init__(self, thread: OneThread) -> None:
        super().__init__(max_workers=1)
        self._one = thread

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return self._one.submit_later(partial(fn, *args, **kwargs))
