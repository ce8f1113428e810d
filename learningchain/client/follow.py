"""The wake-up: one websocket subscription to new blocks, with polling where there is none.

The event is only a hint that something happened; whoever waits then looks at the state. A lost or silent connection
therefore costs a delay of one poll, never a missed block.
"""

import asyncio
import contextlib
import json
from typing import Final

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import WebSocketException

POLL_S: Final = 0.5
"""How often to look without a subscription."""
WATCHDOG_S: Final = 5.0
"""How long to trust a silent subscription."""
RETRY_S: Final = 10.0
"""Pause before the next attempt to subscribe: a node has 100 places for subscribers, and they may be taken."""
MAX_EVENT_BYTES: Final = 4 << 20
# The header is enough for a wake-up; the event with the whole block has up to 1 MiB more.
_QUERY: Final = "tm.event='NewBlockHeader'"


class BlockFollower:
    """Tells when a block may have been committed. Starts at the first question."""

    def __init__(self, base: str, uds: str | None) -> None:
        """`base` is the node's HTTP address, `uds` the path of its Unix socket if it has one."""
        self._url = base.replace("http", "ws", 1) + "/websocket"
        self._uds = uds
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.subscribed = False

    async def wait(self, timeout_s: float) -> None:
        """Return at news, after the poll or watchdog time, or after `timeout_s`, whichever is first."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        limit = WATCHDOG_S if self.subscribed else POLL_S
        news = self._news
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), min(limit, max(0.0, timeout_s)))

    async def aclose(self) -> None:
        """End the subscription."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            # ValueError and RecursionError: what came is no JSON, or nested to confuse.
            with contextlib.suppress(OSError, WebSocketException, TimeoutError, ValueError, RecursionError):
                async with self._connect() as connection:
                    try:
                        await self._listen(connection)
                    except asyncio.CancelledError:
                        await connection.close()  # left to the library it ends with the code of an internal error
                        raise
            self.subscribed = False
            await asyncio.sleep(RETRY_S)

    def _connect(self) -> connect:
        if self._uds is not None:
            return unix_connect(self._uds, self._url, max_size=MAX_EVENT_BYTES, proxy=None)
        return connect(self._url, max_size=MAX_EVENT_BYTES, proxy=None)

    async def _listen(self, connection: ClientConnection) -> None:
        request = {"jsonrpc": "2.0", "id": 0, "method": "subscribe", "params": {"query": _QUERY}}
        await connection.send(json.dumps(request))
        async for message in connection:
            answer = json.loads(message)
            if not isinstance(answer, dict) or "error" in answer:
                return
            self.subscribed = True
            self._wake()

    def _wake(self) -> None:
        # Everybody who waits now holds the old event; the next wait begins with a fresh one.
        self._news.set()
        self._news = asyncio.Event()
