"""The clock of the worker's tests itself: it goes on while nobody is at work, and only then."""

import asyncio
import threading
import time

from tests.support import virtual_time


def test_time_in_which_nothing_happens_is_skipped() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(main()) == 86_400


def test_no_timer_rings_while_a_thread_is_at_work() -> None:
    order: list[str] = []

    async def work() -> None:
        await asyncio.to_thread(time.sleep, 0.1)
        order.append("work")

    async def wait() -> None:
        await asyncio.sleep(0.001)
        order.append("timer")

    async def main() -> None:
        await asyncio.gather(wait(), work())

    virtual_time.run(main())
    assert order == ["work", "timer"]


def test_a_thread_that_waits_for_the_test_is_not_waited_for() -> None:
    async def main() -> None:
        told = threading.Event()
        waiting = asyncio.create_task(asyncio.to_thread(virtual_time.wait_for_test, told))
        await asyncio.sleep(60)
        assert not waiting.done()
        told.set()
        await waiting

    virtual_time.run(main())
