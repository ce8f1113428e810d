"""The wake-up: one subscription, and polling whenever there is none."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import CloseCode

from learningchain.client import follow
from learningchain.client.follow import BlockFollower
from tests.support import virtual_time

EVENT = json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"query": "tm.event='NewBlockHeader'", "data": {}}})
EMPTY = json.dumps({"jsonrpc": "2.0", "id": 0, "result": {}})
Handler = Callable[[ServerConnection], Awaitable[None]]


async def with_node(handler: Handler, test: Callable[[BlockFollower], Awaitable[None]]) -> None:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        follower = BlockFollower(f"http://127.0.0.1:{port}", None)
        try:
            await test(follower)
        finally:
            await follower.aclose()


async def measure(follower: BlockFollower, timeout_s: float) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await follower.wait(timeout_s)
    return loop.time() - start


@pytest.fixture(autouse=True)
def _slow_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.3)
    monkeypatch.setattr(follow, "WATCHDOG_S", 1.0)
    monkeypatch.setattr(follow, "RETRY_S", 0.05)


def test_an_event_wakes_everybody_who_waits() -> None:
    asked: list[Any] = []

    async def node(connection: ServerConnection) -> None:
        asked.append(json.loads(await connection.recv()))
        await connection.send(EMPTY)
        while True:
            await asyncio.sleep(0.1)
            await connection.send(EVENT)

    async def test(follower: BlockFollower) -> None:
        await follower.wait(5)
        waits = await asyncio.gather(*(measure(follower, 5) for _ in range(3)))
        assert all(wait < 0.3 for wait in waits)
        assert follower.subscribed
        assert [request["method"] for request in asked] == ["subscribe"]

    virtual_time.run(with_node(node, test))


def test_a_subscription_that_is_no_longer_needed_ends_without_an_error_in_the_log_of_the_node() -> None:
    ends: list[int | None] = []

    async def node(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(EMPTY)
        await connection.wait_closed()
        ends.append(connection.close_code)

    async def test(follower: BlockFollower) -> None:
        await follower.wait(5)
        assert follower.subscribed

    virtual_time.run(with_node(node, test))
    assert ends == [CloseCode.NORMAL_CLOSURE]


def test_without_a_place_for_a_subscription_it_polls() -> None:
    connections = 0

    async def node(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await connection.recv()
        refusal = {"code": -32603, "message": "Internal error", "data": "max_subscription_clients 100 reached"}
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": 0, "error": refusal}))
        await connection.wait_closed()

    async def test(follower: BlockFollower) -> None:
        assert 0.2 < await measure(follower, 5) < 0.9
        assert 0.2 < await measure(follower, 5) < 0.9
        assert not follower.subscribed
        assert connections > 1

    virtual_time.run(with_node(node, test))


def test_a_silent_subscription_is_not_trusted_for_ever() -> None:
    async def node(connection: ServerConnection) -> None:
        await connection.send(EMPTY)
        await connection.wait_closed()

    async def test(follower: BlockFollower) -> None:
        await follower.wait(0.3)
        assert follower.subscribed
        assert 0.8 < await measure(follower, 5) < 2

    virtual_time.run(with_node(node, test))


def test_a_lost_connection_is_made_again() -> None:
    connections = 0

    async def node(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await connection.send(EVENT)

    async def test(follower: BlockFollower) -> None:
        for _ in range(5):
            await follower.wait(0.3)
        assert connections > 2

    virtual_time.run(with_node(node, test))


@pytest.mark.parametrize("rubbish", ["not json", "[]", "\x00", "[" * 100_000])
def test_rubbish_is_no_wake_up(rubbish: str) -> None:
    async def node(connection: ServerConnection) -> None:
        await connection.send(rubbish)
        await connection.wait_closed()

    async def test(follower: BlockFollower) -> None:
        assert await measure(follower, 5) > 0.2
        assert not follower.subscribed

    virtual_time.run(with_node(node, test))


def test_no_node_at_all_still_only_polls() -> None:
    async def test() -> None:
        follower = BlockFollower("http://127.0.0.1:1", None)
        assert 0.2 < await measure(follower, 5) < 0.9
        assert await measure(follower, 0.01) < 0.2
        await follower.aclose()

    virtual_time.run(test())
