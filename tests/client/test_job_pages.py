"""Long lists of jobs: page by page, in bounded time, to the end."""

import json

import pytest

from abci_app.protocol.limits import UCREDIT
from abci_app.server import views
from learningchain.client import Client
from learningchain.client.errors import BadAnswer
from learningchain.client.transport import QueryAnswer
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport, make_client
from tests.support.sending import run

JOBS = 130


@pytest.fixture
def market() -> Market:
    return Market(overrides={"max_open_jobs": 1000, "tx_burst": 1000}, audited=False)


@pytest.fixture
def asked(market: Market) -> Client:
    """A node of a chain with many jobs."""
    made = make_client(market)
    market.block([("carl", market.terms(bounty=UCREDIT)) for _ in range(JOBS)])
    return made


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node looks at 10 jobs for a question."""
    monkeypatch.setattr(views, "MAX_LOOKED_AT", 10)


def test_more_jobs_than_a_page_are_listed_to_the_end(asked: Client) -> None:
    assert [entry.id for entry in run(asked.list_jobs(limit=1000))] == list(range(1, JOBS + 1))
    assert len(run(asked.list_jobs(limit=120))) == 120


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_follow_each_other_without_gap_and_end(asked: Client, newest_first: bool) -> None:
    async def turn() -> list[list[int]]:
        pages, at = [], 0
        while True:
            page = await asked.page_jobs(after_id=at, limit=20, newest_first=newest_first)
            pages.append([job.id for job in page.jobs])
            if page.next_id is None:
                return pages
            at = page.next_id

    pages = run(turn())
    expected = list(range(1, JOBS + 1))
    assert [job_id for page in pages for job_id in page] == (expected[::-1] if newest_first else expected)
    assert [len(page) for page in pages] == [20] * 6 + [10]


def test_a_page_is_short_where_a_filter_passes_few(market: Market, asked: Client) -> None:
    mine = market.address("worker0")
    page = run(asked.page_jobs(contractor=mine, newest_first=True, questions=3))
    assert (page.jobs, page.next_id) == ([], JOBS - 30 + 1)
    assert run(asked.list_jobs(contractor=mine)) == []


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("following", ["7", "0", "-1"])
def test_a_node_that_leads_round_in_circles_is_told(
    market: Market, monkeypatch: pytest.MonkeyPatch, following: str, newest_first: bool
) -> None:
    transport = MemoryTransport(market)

    async def answer(*_: object, **__: object) -> QueryAnswer:
        return QueryAnswer(0, "", json.dumps({"jobs": [], "next": following, "height": "1"}).encode(), 1)

    monkeypatch.setattr(transport, "query", answer)
    with pytest.raises(BadAnswer, match=f"to go on with {following}"):
        run(Client(transport).list_jobs(after_id=7, newest_first=newest_first))
