"""One at a time, the most important first."""

import asyncio

from worker.turns import Turns


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_lowest_rank_goes_first_and_of_equals_the_first_that_came() -> None:
    order: list[str] = []

    async def wait(turns: Turns, name: str, *rank: int) -> None:
        async with turns.take(rank):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    async def main() -> None:
        turns = Turns()
        ranks = {"holder": (9,), "own": (1, -99), "cheap": (0, -1), "dear": (0, -5), "dear too": (0, -5)}
        await asyncio.gather(*(wait(turns, name, *rank) for name, rank in ranks.items()))

    asyncio.run(main())
    assert order[::2] == order[1::2] == ["holder", "dear", "dear too", "cheap", "own"]


def test_who_gives_up_waiting_holds_up_nobody() -> None:
    async def hold(turns: Turns, rank: int, entered: list[int], leave: asyncio.Event) -> None:
        async with turns.take((rank,)):
            entered.append(rank)
            await leave.wait()

    async def main() -> None:
        turns, entered, leave = Turns(), list[int](), asyncio.Event()
        holders = [asyncio.create_task(hold(turns, rank, entered, leave)) for rank in range(4)]
        await let_run()
        holders[1].cancel()  # while it waits
        await let_run()
        leave.set()
        await asyncio.sleep(0)
        holders[2].cancel()  # in the moment in which its turn may come
        await let_run()
        assert entered[0] == 0
        assert entered[-1] == 3
        async with asyncio.timeout(5):
            await holders[3]
            async with turns.take((0,)):
                pass

    asyncio.run(main())


def test_a_failure_inside_passes_the_turn_on() -> None:
    async def main() -> None:
        turns = Turns()
        try:
            async with turns.take((0,)):
                raise ValueError
        except ValueError:
            async with asyncio.timeout(5), turns.take((0,)):
                pass

    asyncio.run(main())
