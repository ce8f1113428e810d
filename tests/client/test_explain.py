"""Why an account stands where it stands, told in words from the chain's own records."""

import pytest

from learningchain.explain import explain_account
from learningchain.history import History, read_history
from tests.support.chain import Holding
from tests.support.market import OVERRUN, UNAVAILABLE, Finding, Market, measured
from tests.support.memory_client import make_sync_client


def explain(market: Market, job_id: int, name: str) -> str:
    client = make_sync_client(market)
    try:
        market.block()
        view = client.get_job(job_id)
        assert view is not None
        return " ".join(explain_account(view, History((), True), market.address(name)))
    finally:
        client.close()


def decide(findings: dict[str, Finding]) -> tuple[Market, int]:
    """A round in which the named checkers found something and all others agree with the announcement."""
    market = Market()
    job_id = market.open_vote("worker0", loss=1_000_000)
    every = {name: findings.get(name, measured(1_000_000)) for name in market.seats(job_id)}
    market.decide(job_id, every)
    return market, job_id


def test_a_winner_reads_that_it_was_confirmed_and_paid() -> None:
    market, job_id = decide({})
    text = explain(market, job_id, "worker0")
    assert "confirmed by the checkers" in text
    assert "paid 10 credits" in text


def test_a_checker_reads_what_it_found_and_what_it_got() -> None:
    market, job_id = decide({})
    name = next(iter(market.seats(job_id)))
    text = explain(market, job_id, name)
    assert "MEASURED 0.001" in text
    assert "paid" in text


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (measured(1_000_000, receipt=b""), "without receipt"),
        (measured(1_000_000, receipt=b"x" * 32), "computes differently"),
        (measured(1_050_000), "pays other findings"),
        (OVERRUN, "only measurements are paid"),
        (UNAVAILABLE, "only measurements are paid"),
    ],
)
def test_an_unpaid_checker_reads_why(found: Finding, reason: str) -> None:
    market = Market()
    job_id = market.open_vote("worker0", loss=1_000_000)
    odd = min(market.seats(job_id), key=lambda name: market.seats(job_id)[name])
    market.decide(job_id, {name: found if name == odd else measured(1_000_000) for name in market.seats(job_id)})
    text = explain(market, job_id, odd)
    assert "unpaid" in text
    assert reason in text


def test_a_silent_checker_reads_that_it_missed() -> None:
    market = Market()
    job_id = market.open_vote("worker0", loss=1_000_000)
    silent, *others = market.seats(job_id)
    market.commit_votes(job_id, {name: measured(1_000_000) for name in others})
    for _ in range(2):  # the windows of VOTE and TALLY
        market.skip_to(market.job(job_id).deadline_ms + 1_000)
    assert "did not commit" in explain(market, job_id, silent)


def test_a_convict_reads_why() -> None:
    market = Market()
    job_id = market.open_vote("worker0", loss=1_000_000)
    market.decide_all(job_id, measured(500_000_000))
    assert "convicted" in explain(market, job_id, "worker0")


def test_a_candidate_that_never_revealed_reads_that() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 1_000_000)
    market.expire(job_id)
    market.skip(60_000)
    assert "never revealed" in explain(market, job_id, "worker0")


def test_who_was_beaten_reads_by_whom_and_what_it_takes_to_lead() -> None:
    market = Market()
    client = make_sync_client(market)
    try:
        job_id = market.submit()
        market.announce("worker0", job_id, 1_000_000)
        market.announce("worker1", job_id, 500_000)
        view = client.get_job(job_id)
        assert view is not None
        history = read_history(client, view.job)
        assert history.complete
        assert [(entry.account, entry.loss) for entry in history.announcements] == [
            (market.address("worker0"), 1_000_000),
            (market.address("worker1"), 500_000),
        ]
        loser = " ".join(explain_account(view, history, market.address("worker0")))
        leader = " ".join(explain_account(view, history, market.address("worker1")))
    finally:
        client.close()
    assert "undercut it with 0.0005" in loser
    assert "to lead, announce 0.000498 or less" in loser
    assert "stands at place 1 of 1" in leader


def test_contractor_and_strangers_read_what_they_are() -> None:
    market, job_id = decide({})
    assert "contractor" in explain(market, job_id, "carl")
    assert "no part in this job" in explain(market, job_id, "worker5")


def test_a_search_that_does_not_reach_back_says_so() -> None:
    market = Market(checkers={"checker0": Holding(bond=100_000_000, checker=1)})
    client = make_sync_client(market)
    try:
        job_id = market.submit()
        view = client.get_job(job_id)
        assert view is not None
        text = " ".join(explain_account(view, History((), False), market.address("worker0")))
    finally:
        client.close()
    assert "limited" in text
