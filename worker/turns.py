"""A lock that the most important waiter gets, not the first: one evaluation at a time, the highest bounty first."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets one task in at a time; of those that wait the one of the lowest rank, and of equal ranks the first."""

    def __init__(self) -> None:
        """Nobody is in."""
        self._is_taken = False
        self._numbers = itertools.count()
        self._waiting: list[tuple[tuple[int, ...], int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def take(self, rank: tuple[int, ...]) -> AsyncIterator[None]:
        """Wait for the turn and hold it inside the block."""
        await self._wait(rank)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, rank: tuple[int, ...]) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
