"""The view of the chain: complete, of a node that knows the newest blocks, and cheap however old the chain is."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from learningchain.client import Client
from learningchain.client.interface import Status
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport
from worker.follower import Follower, NodeBehind


class Node(Client):
    """A node that tells what it was asked, and may lie about where it stands."""

    def __init__(self, transport: MemoryTransport) -> None:
        super().__init__(transport)
        self.asked: list[tuple[tuple[int, ...], int]] = []
        self.between: Callable[[], None] = lambda: None
        self.status: dict[str, Any] = {}

    async def get_status(self) -> Status:
        return replace(await super().get_status(), **self.status)

    async def list_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[pb.Job]:
        self.asked.append((tuple(states), after_id))
        found = await super().list_jobs(states, contractor, after_id, limit, newest_first)
        self.between()
        self.between = lambda: None
        return found


def play(script: Callable[[Market, Node, Follower], Coroutine[Any, Any, None]]) -> None:
    chain = Market()
    node = Node(MemoryTransport(chain))
    chain.block()
    asyncio.run(script(chain, node, Follower(node, chain.address("worker0"))))


def test_all_unsettled_jobs_are_seen() -> None:
    async def script(chain: Market, node: Node, follower: Follower) -> None:
        voting, waiting = chain.open_vote(), chain.submit()
        cancelled = chain.submit()
        chain.must("carl", tx_pb2.CancelJob(job_id=cancelled))
        view = await follower.observe()
        assert sorted(view.jobs) == [voting, waiting]

    play(script)


def test_a_job_that_expires_between_two_questions_is_not_lost() -> None:
    """The worker would take it for settled, and forget what opens its announcement."""

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        job_id = chain.submit()
        chain.announce("worker0", job_id, 5)
        node.between = lambda: chain.expire(job_id)
        view = await follower.observe()
        assert view.jobs[job_id].state == pb.JOB_STATE_REVEAL

    play(script)


def test_more_open_jobs_than_are_looked_at_hide_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.follower.MAX_JOBS", 2)

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        old = [chain.submit(expiry_ms=chain.time_ms + 80_000) for _ in range(3)]
        voting = chain.open_vote()
        view = await follower.observe()
        assert sorted(view.jobs) == [*old[:2], voting]

    play(script)


def test_settled_jobs_are_not_asked_for_again() -> None:
    async def script(chain: Market, node: Node, follower: Follower) -> None:
        for _ in range(3):
            chain.must("carl", tx_pb2.CancelJob(job_id=chain.submit()))
        job_id = chain.submit()
        await follower.observe()
        await follower.observe()
        assert {after for _, after in node.asked[2:]} == {job_id - 1}

    play(script)


@pytest.mark.parametrize("status", [{"catching_up": True}, {"height": 1}, {"chain_id": "another", "height": 10**6}])
def test_a_node_that_lags_behind_or_is_of_another_chain_now_is_not_believed(status: dict[str, Any]) -> None:
    """What it does not show is not over: a worker that forgets its salts cannot open what it announced."""

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        await follower.observe()
        node.status = status
        with pytest.raises(NodeBehind):
            await follower.observe()
        node.status = {}
        await follower.observe()

    play(script)
