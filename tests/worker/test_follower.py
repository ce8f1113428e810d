"""The view of the chain: complete, of a node that knows the newest blocks, and cheap however old the chain is."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from learningchain.client import Client, JobPage
from learningchain.client.interface import MOST_PAGES, Status
from tests.support.chain import Holding
from tests.support.market import CHECKERS, Market, measured
from tests.support.memory_client import MemoryTransport
from worker.follower import Follower, NodeBehind
from worker.jobbook import MAX_OPEN, PAGES
from worker.view import ChainView


class Node(Client):
    """A node that tells what it was asked, and may lie about where it stands."""

    def __init__(self, transport: MemoryTransport) -> None:
        super().__init__(transport)
        self.pages: list[int] = []
        self.questions = 0
        self.between: Callable[[], None] = lambda: None
        self.status: dict[str, Any] = {}

    async def get_status(self) -> Status:
        return replace(await super().get_status(), **self.status)

    async def get_view(self, path: str) -> dict[str, Any] | None:
        self.questions += 1
        return await super().get_view(path)

    async def page_jobs(
        self,
        states: Collection[int] = (),
        contractor: bytes | None = None,
        after_id: int = 0,
        limit: int = 100,
        newest_first: bool = False,
        questions: int = MOST_PAGES,
    ) -> JobPage:
        self.pages.append(after_id)
        found = await super().page_jobs(states, contractor, after_id, limit, newest_first, questions)
        self.between()
        self.between = lambda: None
        return found


def prefer_bounty(view: ChainView, job: pb.Job) -> tuple[int, int]:
    return -job.bounty, job.id


def make_follower(node: Node, address: bytes) -> Follower:
    return Follower(node, address, prefer_bounty)


def play(
    script: Callable[[Market, Node, Follower], Coroutine[Any, Any, None]],
    accounts: Mapping[str, Holding] | None = None,
    **overrides: int,
) -> None:
    chain = Market({**CHECKERS, **(accounts or {})}, overrides, audited=not overrides)
    node = Node(MemoryTransport(chain))
    chain.block()
    asyncio.run(script(chain, node, make_follower(node, chain.address("worker0"))))


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
        assert job_id in view.jobs
        view = await follower.observe()
        assert view.jobs[job_id].state == pb.JOB_STATE_REVEAL

    play(script)


def test_more_open_jobs_than_are_remembered_hide_no_round_and_nothing_that_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.jobbook.MAX_OPEN", 2)

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        bounties = (3, 1, 1, 2, 1)
        many = [chain.submit(expiry_ms=chain.time_ms + 80_000, bounty=number * UCREDIT) for number in bounties]
        chain.announce("worker0", many[1], 5)
        voting = chain.open_vote(worker="worker1")
        view = await follower.observe([many[4]])
        assert sorted(view.jobs) == [many[0], many[1], many[3], many[4], voting]

    play(script)


def test_settled_jobs_are_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("abci_app.server.views.MAX_LOOKED_AT", 2)

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        for _ in range(5):
            chain.must("carl", tx_pb2.CancelJob(job_id=chain.submit()))
        await follower.observe()
        assert node.pages == [0, 2, 4]
        job_id = chain.submit()
        for begin in (4, job_id - 1):
            node.pages.clear()
            await follower.observe()
            assert node.pages == [begin]
        chain.must("carl", tx_pb2.CancelJob(job_id=chain.submit()))
        chain.must("carl", tx_pb2.CancelJob(job_id=job_id))
        assert (await follower.observe()).jobs == {}

    play(script)


def test_thousands_of_cheap_jobs_hide_no_new_one_and_cost_no_more() -> None:
    """2 000 of them, whose bounties came back in the end, once kept all workers from new jobs."""
    junk = 5_000
    rich = Holding(balance=3 * junk * UCREDIT)
    terms = {"bounty": UCREDIT, "verify_fee": UCREDIT // 10}

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        expiry_ms = chain.time_ms + 80_000_000
        for _ in range(10):
            many = [("junk", chain.terms(expiry_ms=expiry_ms, **terms)) for _ in range(junk // 10)]
            assert {result.code for result in chain.block(many).tx_results} == {0}
        first = next(iter((await follower.observe()).jobs))
        held, mine = first + junk - 2, first + junk - 1
        chain.announce("worker0", mine, 5)
        wanted = chain.submit(bounty=2 * UCREDIT, expiry_ms=expiry_ms)
        found: list[int] = []
        for look in range(2 * junk // (100 * PAGES) + 2):
            node.questions = 0
            view = await follower.observe([held])
            assert node.questions <= PAGES + 10
            assert len(view.jobs) <= MAX_OPEN + 2
            assert {held, mine} <= set(view.jobs)
            if wanted in view.jobs:
                found.append(look)
            chain.announce("worker0", mine, 4 - look)
            assert (await follower.observe([held])).jobs[mine].candidates[0].loss == 4 - look  # at each look
        assert found[0] < junk / (100 * PAGES)
        assert found == list(range(found[0], found[-1] + 1))  # and not forgotten again
        chain.must("carl", tx_pb2.CancelJob(job_id=wanted))
        for _ in range(junk // (100 * PAGES) + 1):
            view = await follower.observe()
        assert wanted not in view.jobs

    play(script, {"junk": rich}, max_open_jobs=junk, tx_burst=junk, tx_per_minute=10 * junk)


def test_few_rounds_are_looked_at_at_once_and_own_seats_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.follower.ROUNDS", 2)

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        voting = [chain.open_vote(f"worker{number}") for number in range(1, 4)]
        checker = make_follower(node, chain.address("checker0"))
        assert sorted((await checker.observe()).rounds) == voting[:2]
        chain.commit_votes(voting[0], {"checker0": measured(0)})
        view = await checker.observe()
        assert sorted(view.rounds) == voting
        assert any(vote.commitment for vote in view.rounds[voting[0]].votes)
        assert (await follower.observe()).rounds == {}
        node.questions = 0
        await follower.observe()
        few = node.questions
        for _ in range(2):
            await follower.observe()  # all were asked for once, and have no seat
        assert node.questions <= 3 * few

    play(script)


def test_few_contractors_are_asked_for_at_once_the_highest_bounty_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.follower.STANDINGS", 2)

    async def script(chain: Market, node: Node, follower: Follower) -> None:
        jobs = [chain.submit(f"c{number}", bounty=number * UCREDIT) for number in range(1, 4)]
        view = await follower.observe()
        assert sorted(view.jobs) == jobs[1:]  # whom nobody knows may have a bad record
        assert sorted((await follower.observe([jobs[0]])).jobs) == jobs
        assert sorted((await make_follower(node, chain.address("worker0")).observe([jobs[0]])).jobs) == jobs

    play(script, {f"c{number}": Holding() for number in range(1, 4)})


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
