"""Votes that are owed need no quota; everything else does, failing votes included."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.quota import compute_bucket
from tests.support.market import Market, measured

PROFILE = tx_pb2.SetProfile(name="x")


@pytest.fixture
def market() -> Market:
    """A chain where a bucket holds 5 transactions and refills by one a minute."""
    return Market(overrides={"tx_burst": 5, "tx_per_minute": 1})


def empty(market: Market, name: str) -> None:
    """Use up the bucket of an account."""
    codes = [result.code for result in market.block([(name, PROFILE)] * 6).tx_results]
    assert codes[-1] == errors.QuotaExceeded.code


def test_both_votes_of_a_seated_account_pass_with_an_empty_bucket(market: Market) -> None:
    job_id = market.open_vote()
    names = list(market.seats(job_id))
    empty(market, names[0])
    market.must(names[0], market.commitment(names[0], job_id, measured(0)))
    for name in names[1:]:
        market.must(name, market.commitment(name, job_id, measured(0)))
    market.must(names[0], market.vote(job_id, measured(0)))


def test_an_owed_vote_fills_the_bucket_and_takes_nothing(market: Market) -> None:
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    empty(market, name)
    before = market.account(name)
    market.must(name, market.commitment(name, job_id, measured(0)))
    after = market.account(name)
    assert after.bucket_units == before.bucket_units + (after.bucket_ms - before.bucket_ms)
    assert after.bucket_ms == market.time_ms


def test_a_vote_that_its_own_checks_refuse_is_not_free(market: Market) -> None:
    """Else a seated account could send failing votes without end."""
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    wrong_round = market.commitment(name, job_id, measured(0), round_number=7)
    too_short = tx_pb2.CommitVote(job_id=job_id, commitment=bytes(31))
    codes = [result.code for result in market.block([(name, too_short)] * 2 + [(name, wrong_round)] * 4).tx_results]
    assert codes == [errors.BadCommitment.code] * 2 + [errors.WrongRound.code] * 3 + [errors.QuotaExceeded.code]


def test_a_second_vote_is_not_free(market: Market) -> None:
    job_id = market.open_vote()
    name = next(iter(market.seats(job_id)))
    empty(market, name)
    first, second = (market.commitment(name, job_id, measured(loss)) for loss in (0, 1))
    results = market.block([(name, first), (name, second)]).tx_results
    assert [result.code for result in results] == [0, errors.QuotaExceeded.code]


def test_a_vote_of_somebody_without_a_seat_is_not_free(market: Market) -> None:
    job_id = market.open_vote()
    empty(market, "worker5")
    vote = market.commitment("worker5", job_id, measured(0))
    assert market.send("worker5", vote).code == errors.QuotaExceeded.code


def test_a_bucket_never_loses_by_time_that_goes_back(market: Market) -> None:
    """CometBFT's block times rise; the formula does not depend on it."""
    account = market.account("worker0")
    now = account.bucket_ms
    assert [compute_bucket(account, market.params, now - ms) for ms in (0, 1, 10**9)] == [account.bucket_units] * 3
