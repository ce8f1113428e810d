"""Calls that others can draw out: made in a thread of their own, which is left behind when nobody waits any more."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

LOOK_SECONDS = 0.25

_Result = TypeVar("_Result")


def call_apart(call: Callable[[], _Result], seconds: float, check: Callable[[], None]) -> _Result:
    """Return what `call` returns. Raises TimeoutError after `seconds`, and what `check` raises meanwhile.

    Time limits of single reads add up to any length, so only the whole is limited. Names are looked up and addresses
    tried in there too, which nothing can interrupt: the thread is not waited for.
    """
    result: Future[_Result] = Future()
    threading.Thread(target=_run, args=(call, result), name="sandbox-apart", daemon=True).start()
    deadline = time.monotonic() + seconds
    while not _is_done(result, min(LOOK_SECONDS, deadline - time.monotonic())):
        check()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not done within {seconds:.0f} s")
    return result.result()


def _run(call: Callable[[], _Result], result: "Future[_Result]") -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001  whoever waits gets it
        result.set_exception(error)


def _is_done(result: "Future[_Result]", seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        result.exception(max(seconds, 0))
    return result.done()


class Sockets:
    """The connections of HTTP requests: `cut` ends them from another thread, those still to come too."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = threading.Lock()
        self._is_cut = False
        self._open: list[socket.socket] = []

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Take note of a new connection; the extension `trace` of a request calls it."""
        if not event.endswith("connect_tcp.complete"):
            return
        # A copy of the descriptor: TLS wraps the original, and whoever closes it may do so at any time.
        copy = info["return_value"].get_extra_info("socket").dup()
        with self._lock:
            self._open.append(copy)
            if self._is_cut:
                _shut_down(copy)

    def cut(self) -> None:
        """End all connections: a blocked read returns. May be called again."""
        with self._lock:
            self._is_cut = True
            for each in self._open:
                _shut_down(each)

    def close(self) -> None:
        """Free the copies; only after the last request."""
        with self._lock:
            for each in self._open:
                each.close()
            self._open.clear()


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it ended by itself
        connection.shutdown(socket.SHUT_RDWR)
