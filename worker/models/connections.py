"""The server's side of one connection: strangers may open many, say nothing and read slowly, and hinder nobody.

Who waits, before a request or between two, gives way to who comes: the oldest one first. Who is answered stays as long
as the answer is taken in at a pace.
"""

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Any

import h11
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MAX_CONNECTIONS = 256
"""Open at once. With the file that each one may read they stay below the 1024 files that most systems allow."""
MAX_OF_ORIGIN = 64
"""Of them from one address, or one /64 of IPv6, which one machine has to itself: some workers share an address."""
BACKLOG = 128
"""Connections taken in one go, before any of them can be dropped."""
HEAD_SECONDS = 10.0
"""From the opening of a connection to the end of its first request's head."""
PATIENCE_SECONDS = 60.0
"""Before the pace counts; also for the rest of an answer and the head of the next request."""
SLOWEST = 64 << 10
"""Bytes per second: an answer that takes longer than PATIENCE_SECONDS and this for what was sent is cut off."""


class Connection(H11Protocol):
    """One connection, with an alarm that ends it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inner: Any = self.app
        self.app = self._answer
        self.origin = b""
        self.since = 0.0
        self._answers = 0
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for a request; drop the connection that waits longest if there are too many."""
        super().connection_made(transport)
        self.origin = _find_origin(self.client)
        self._wait(HEAD_SECONDS)
        everyone = [other for other in self.connections if isinstance(other, Connection)]
        neighbours = [other for other in everyone if other.origin == self.origin]
        if len(neighbours) > MAX_OF_ORIGIN:
            _drop_oldest(neighbours)
        elif len(everyone) > MAX_CONNECTIONS:
            _drop_oldest(everyone)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the alarm."""
        self._set_alarm(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer was given already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.drop()

    @property
    def is_waiting(self) -> bool:
        """Tell whether nothing was asked that is not answered in full."""
        return self._answers == 0 and self.transport.get_write_buffer_size() == 0

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The alarm rings when the client takes in what it asked for too slowly."""
        start, sent = 0.0, 0

        async def send_in_time(message: Message) -> None:
            nonlocal start, sent
            if self.transport.is_closing():
                raise ClientDisconnect  # else the rest of the file would be read for nobody
            start = start or self.loop.time()
            self._set_alarm(start + PATIENCE_SECONDS + sent / SLOWEST)
            await send(message)
            sent += len(message.get("body", b""))

        self._answers += 1
        self._set_alarm(None)  # how long an upload may take depends on its size: see server.py
        try:
            await self._inner(scope, receive, send_in_time)
        except ClientDisconnect:
            self.cycle.disconnected = True  # else an answer is missed, and tried once more
            self.drop()
        finally:
            self._answers -= 1
            if self._answers == 0 and self in self.connections:  # the next may have begun, or the connection be gone
                self._wait(PATIENCE_SECONDS)

    def _wait(self, seconds: float) -> None:
        self.since = self.loop.time()
        self._set_alarm(self.since + seconds)

    def _set_alarm(self, when: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if when is None else self.loop.call_at(when, self.drop)

    def drop(self) -> None:
        """End the connection now: a close would wait until the client has taken in what was sent."""
        self._set_alarm(None)
        self.connections.discard(self)
        self.transport.abort()


def _drop_oldest(connections: Iterable[Connection]) -> None:
    """Drop the one that waits longest: the newest is among them, which goes itself if all others are answered."""
    min((one for one in connections if one.is_waiting), key=lambda one: one.since).drop()


def _find_origin(client: tuple[str, int] | None) -> bytes:
    """Return what one party is taken to have to itself; all that come through a Unix socket are one."""
    if client is None:
        return b""
    address = ipaddress.ip_address(client[0])
    return address.packed if address.version == 4 else address.packed[:8]
