"""Votes that are owed need no quota; everything else does, failing votes included."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import BUCKET_UNIT, UCREDIT
from abci_app.protocol.quota import compute_bucket
from tests.support.chain import Holding
from tests.support.market import CHECKERS, Market, measured

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


# --- credits that arrive ---

RATES = {"tx_burst": 50, "tx_per_minute": 60, "poor_burst": 2, "poor_per_minute": 1}
MINUTE_MS = 60_000


def pass_on(market: Market, sender: str, recipient: str) -> int:
    """Hand one credit on and return the code."""
    return market.send(sender, tx_pb2.Transfer(to=market.address(recipient), amount=UCREDIT)).code


def count_accepted(market: Market, name: str) -> int:
    """Return how many transactions of an account a block takes at once."""
    return [result.code for result in market.block([(name, PROFILE)] * 60, dt_ms=0).tx_results].count(0)


def open_with(**balances: int) -> Market:
    """Return a chain that is some minutes old, so that all buckets are full."""
    holdings = {name: Holding(balance) for name, balance in balances.items()}
    market = Market(checkers={**CHECKERS, **holdings}, overrides=RATES)
    market.block(dt_ms=10 * MINUTE_MS)
    return market


def test_time_below_one_credit_counts_at_the_poor_rate_when_credits_arrive() -> None:
    market = open_with(rich=5 * UCREDIT, poor=0)
    assert count_accepted(market, "poor") == RATES["poor_burst"]
    market.block(dt_ms=MINUTE_MS)
    assert not pass_on(market, "rich", "poor")
    account = market.account("poor")
    assert account.bucket_ms == market.time_ms
    assert BUCKET_UNIT <= account.bucket_units < 2 * BUCKET_UNIT
    assert count_accepted(market, "poor") == 1


def test_from_then_on_it_fills_at_the_other_rate() -> None:
    market = open_with(rich=5 * UCREDIT, poor=0)
    assert count_accepted(market, "poor") == RATES["poor_burst"]
    assert not pass_on(market, "rich", "poor")
    market.block(dt_ms=10_000)
    assert count_accepted(market, "poor") == 10 * RATES["tx_per_minute"] // 60


def test_credits_that_leave_an_account_poor_do_not_touch_its_bucket() -> None:
    market = open_with(rich=5 * UCREDIT, poor=0)
    before = market.account("poor")
    market.must("rich", tx_pb2.Transfer(to=market.address("poor"), amount=UCREDIT - 1))
    before.balance = UCREDIT - 1
    assert market.account("poor") == before


def test_who_holds_one_credit_anyway_loses_nothing_when_more_arrive() -> None:
    market = open_with(rich=5 * UCREDIT, other=UCREDIT)
    assert not pass_on(market, "rich", "other")
    assert count_accepted(market, "other") == RATES["tx_burst"]


def test_one_credit_handed_round_fills_no_other_bucket() -> None:
    """Else fifty accounts with one credit between them would send as much as fifty credits."""
    names = [f"ring{number}" for number in range(8)]
    market = open_with(**{name: UCREDIT if name == "ring0" else 0 for name in names})
    accepted = []
    for holder, heir in zip(names, [*names[1:], "ring0"], strict=True):
        assert not pass_on(market, holder, heir)
        accepted.append(count_accepted(market, heir))
    assert accepted[:-1] == [RATES["poor_burst"]] * 7


def test_a_refund_counts_like_a_transfer() -> None:
    market = open_with(rich=1_000 * UCREDIT)
    market.submit("rich")
    cost = 1_000 * UCREDIT - market.balance("rich")
    market = open_with(other=cost)
    job_id = market.submit("other")
    assert market.balance("other") == 0
    market.skip_to(market.job(job_id).deadline_ms)
    assert market.balance("other") == cost
    assert count_accepted(market, "other") == RATES["poor_burst"]


def test_who_has_only_credits_that_unbond_is_poor() -> None:
    market = Market(checkers={"other": Holding(0, 5 * UCREDIT)}, overrides=RATES)
    market.must("other", tx_pb2.Unbond(amount=5 * UCREDIT))
    assert count_accepted(market, "other") == RATES["poor_burst"]


def test_released_credits_count_like_a_transfer() -> None:
    market = Market(checkers={"other": Holding(0, 5 * UCREDIT)}, overrides=RATES)
    market.must("other", tx_pb2.Unbond(amount=5 * UCREDIT))
    market.skip_to(market.account("other").unbonding[0].release_ms)
    assert market.balance("other") == 5 * UCREDIT
    assert count_accepted(market, "other") == RATES["poor_burst"]
