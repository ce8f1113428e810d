from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import MIB, UCREDIT
from abci_app.protocol.messages import HANDLERS
from tests.support.chain import Holding
from tests.support.market import CHECKERS, SALT, UNAVAILABLE, Market, digest_of, name_of

VOTE_BASE_MS = 10_000 + 3 * 10_000 + 20 * 64
"""Vote window of class 0 of the minimal set without the model's part."""


@pytest.fixture
def market() -> Market:
    """A market with job 1 in REVEAL; it is the turn of worker0, worker1 is next."""
    market = Market()
    job_id = market.submit(runner_ups=1)
    market.announce("worker1", job_id, 50_000)
    market.announce("worker0", job_id, 10_000)
    market.expire(job_id)
    return market


def try_reveal(market: Market, worker: str = "worker0", **changed: Any) -> str:
    return name_of(market.send(worker, market.revelation(worker, 1, **changed)).code)


def test_a_reveal_draws_the_committee_and_opens_the_vote_at_once(market: Market) -> None:
    result = market.must("worker0", market.revelation("worker0", 1, size=MIB + 1))
    job, turn = market.job(1), market.round(1)
    assert job.state == pb.JOB_STATE_VOTE
    assert job.deadline_ms == market.time_ms + VOTE_BASE_MS + 2 * 100
    assert (turn.model_digest, turn.size, turn.salt) == (digest_of("worker0"), MIB + 1, SALT)
    assert list(turn.locations) == ["https://w.example/m"]
    assert sum(vote.seats for vote in turn.votes) + turn.empty_seats == market.params.committee_seats
    assert [event.type for event in result.events] == ["job.revealed", "job.vote_opened"]


def test_neither_contractor_nor_candidate_is_seated() -> None:
    market = Market()
    job_id = market.submit(contractor="checker0", runner_ups=1)
    market.announce("checker1", job_id, 10_000)
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    market.reveal("worker0", job_id)
    assert sorted(market.seats(job_id)) == ["checker2", "checker3", "checker4"]
    turn = market.round(job_id)
    assert 5 * turn.drawable_bond == 3 * turn.class_bond


def test_every_turn_draws_from_the_class_in_the_first_reveals_table_without_those_who_stood_then() -> None:
    checkers = {**CHECKERS, "small": Holding(bond=100 * UCREDIT, checker=1), "late": Holding(bond=900 * UCREDIT)}
    market = Market(checkers=checkers)
    job_id = market.submit(job_class=1, runner_ups=1, reveal_window_ms=60_000)
    market.announce("checker0", job_id, 0)
    market.announce("worker1", job_id, 50_000)
    market.expire(job_id)
    market.must("late", tx_pb2.SetChecker(enabled=True, highest_class=1))
    market.skip(market.params.epoch_ms)
    assert market.table().epoch > market.job(job_id).table_epoch
    for number, worker in enumerate(("checker0", "worker1")):
        market.reveal(worker, job_id)
        turn = market.round(job_id, number)
        assert (turn.drawable_bond, turn.class_bond) == (400 * UCREDIT, 500 * UCREDIT)
        assert sorted(market.seats(job_id)) == ["checker1", "checker2", "checker3", "checker4"]
        market.decide_all(job_id, UNAVAILABLE)


def test_a_work_key_may_reveal() -> None:
    assert HANDLERS["reveal"].WORK_SCOPE


def test_invalid_unknown_job(market: Market) -> None:
    assert name_of(market.send("worker0", market.revelation("worker0", 2)).code) == "unknown_job"


def test_invalid_not_in_reveal(market: Market) -> None:
    open_job = market.submit()
    market.announce("worker0", open_job, 0)
    assert name_of(market.send("worker0", market.revelation("worker0", open_job)).code) == "not_in_reveal"
    market.reveal("worker0", 1)
    assert try_reveal(market) == "not_in_reveal"


@pytest.mark.parametrize("worker", ["worker1", "worker2", "carl"])
def test_invalid_not_your_turn(market: Market, worker: str) -> None:
    assert try_reveal(market, worker) == "not_your_turn"


def test_invalid_deadline_passed() -> None:
    """A reveal in the block of the deadline is too late even while the transition waits in the queue."""
    market = Market(overrides={"max_due_per_block": 1})
    jobs = [market.submit(), market.submit()]
    market.block([("worker0", market.announcement("worker0", job_id, 0)) for job_id in jobs])
    while any(market.job(job_id).state == pb.JOB_STATE_OPEN for job_id in jobs):
        market.block()
    last = market.job(jobs[1]).deadline_ms
    market.skip_to(market.job(jobs[0]).deadline_ms - 1)
    market.block([("worker0", market.revelation("worker0", jobs[1]))], dt_ms=last - market.time_ms)
    assert name_of(market.last.tx_results[0].code) == "deadline_passed"
    assert [market.job(job_id).state for job_id in jobs] == [pb.JOB_STATE_REFUNDED, pb.JOB_STATE_REVEAL]


def test_invalid_commitment_mismatch(market: Market) -> None:
    assert try_reveal(market, model_digest=b"x" * 32) == "commitment_mismatch"
    assert try_reveal(market, salt=b"t" * 32) == "commitment_mismatch"


def test_a_copied_commitment_cannot_be_opened() -> None:
    """The commitment covers the account: whoever copies one can never reveal with it."""
    market = Market()
    job_id = market.submit()
    copied = market.announcement("worker0", job_id, 5_000)
    market.must("worker1", copied)
    market.expire(job_id)
    stolen = market.revelation("worker0", job_id)
    assert name_of(market.send("worker1", stolen).code) == "commitment_mismatch"


@pytest.mark.parametrize("size", [0, 4 * MIB + 1, 2**64 - 1])
def test_invalid_model_too_large(market: Market, size: int) -> None:
    assert try_reveal(market, size=size) == "model_too_large"


def test_a_model_of_the_largest_size_is_accepted(market: Market) -> None:
    assert try_reveal(market, size=4 * MIB) == "ok"


def test_limit_and_window_are_those_of_the_jobs_class() -> None:
    market = Market()
    job_id = market.submit(job_class=1)
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    largest = 16 * MIB
    too_large = market.revelation("worker0", job_id, size=largest + 1)
    assert name_of(market.send("worker0", too_large).code) == "model_too_large"
    market.must("worker0", market.revelation("worker0", job_id, size=largest))
    job = market.job(job_id)
    assert job.deadline_ms - job.window_opened_ms == 10_000 + 3 * 30_000 + 20 * 2_048 + 100 * 16


def test_invalid_bad_digest(market: Market) -> None:
    assert try_reveal(market, model_digest=b"x" * 31) == "bad_digest"


def test_invalid_bad_salt(market: Market) -> None:
    assert try_reveal(market, salt=b"s" * 33) == "bad_salt"


@pytest.mark.parametrize("locations", [["x"] * 5, [""], ["x" * 257], ["a\nb"]])
def test_invalid_bad_locations(market: Market, locations: list[str]) -> None:
    assert try_reveal(market, locations=locations) == "bad_locations"


def test_a_reveal_has_up_to_four_locations_of_256_bytes(market: Market) -> None:
    assert try_reveal(market, locations=["x" * 256] * 4) == "ok"


def test_a_reveal_needs_no_location(market: Market) -> None:
    """A worker behind NAT has none: relays hold its model."""
    assert try_reveal(market, locations=[]) == "ok"


def test_with_an_empty_committee_the_round_is_decided_at_once() -> None:
    """Nobody can ever be seated later, so waiting would help nobody: unverified, and the candidate is paid."""
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    for name in CHECKERS:
        market.must(name, tx_pb2.SetChecker())
    market.expire(job_id)
    assert not market.table().entries
    before = market.balance("worker0")
    result = market.reveal("worker0", job_id)
    job, turn = market.job(job_id), market.round(job_id)
    assert (job.state, turn.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_UNVERIFIED)
    assert (turn.empty_seats, turn.drawable_bond, len(turn.votes)) == (15, 0, 0)
    assert market.balance("worker0") == before + job.bounty
    assert [event.type for event in result.events][-2:] == ["job.round_decided", "job.settled"]
