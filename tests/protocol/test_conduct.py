"""What an account's conduct brings it: strikes and suspensions, missed votes and the jail."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.conduct import add_capped
from abci_app.protocol.limits import MAX_INT64
from tests.support.market import JOB_MS, Market, measured

HONEST = measured(0)


@pytest.fixture
def market() -> Market:
    return Market()


# --- strikes ------------------------------------------------------------------------------------------------------


def default_once(market: Market, *workers: str) -> None:
    jobs = [market.submit(reveal_window_ms=10_000) for _ in workers]
    for worker, job_id in zip(workers, jobs, strict=True):
        market.announce(worker, job_id, 0)
    for job_id in jobs:
        while market.job(job_id).state in (pb.JOB_STATE_OPEN, pb.JOB_STATE_REVEAL):
            market.expire(job_id)


def test_each_strike_doubles_the_suspension() -> None:
    market = Market(overrides={"suspension_ms": 1_000})
    for number in range(4):
        default_once(market, "worker0")
        standing = market.standing("worker0")
        assert standing.strikes == number + 1
        length = standing.suspended_until_ms - market.time_ms
        assert length == 1_000 * 2**number
        market.skip_to(standing.suspended_until_ms)


def test_while_suspended_no_further_strike_counts(market: Market) -> None:
    """One bad day of a fleet ends many turns at once; it is one strike."""
    default_once(market, "worker0", "worker0")
    standing = market.standing("worker0")
    assert (standing.defaults, standing.strikes) == (2, 1)
    assert standing.suspended_until_ms - market.time_ms <= market.params.suspension_ms


def test_a_win_removes_one_strike(market: Market) -> None:
    default_once(market, "worker0")
    market.skip_to(market.standing("worker0").suspended_until_ms)
    market.decide_all(market.open_vote(), HONEST)
    assert (market.standing("worker0").strikes, market.standing("worker0").wins) == (0, 1)
    market.decide_all(market.open_vote(), HONEST)
    assert market.standing("worker0").strikes == 0
    for _ in range(2):
        default_once(market, "worker0")
        market.skip_to(market.standing("worker0").suspended_until_ms)
    market.decide_all(market.open_vote(), HONEST)
    assert market.standing("worker0").strikes == 1


def test_suspension_does_not_stop_a_candidacy_that_stands_and_is_not_ended_by_its_win(market: Market) -> None:
    later = market.submit(expiry_ms=market.time_ms + 2 * JOB_MS)
    market.announce("worker0", later, 0)
    default_once(market, "worker0")
    suspended_until_ms = market.standing("worker0").suspended_until_ms
    assert suspended_until_ms > market.time_ms
    while market.job(later).state == pb.JOB_STATE_OPEN:
        market.expire(later)
    market.reveal("worker0", later)
    market.decide_all(later, HONEST)
    assert market.job(later).winner == market.address("worker0")
    standing = market.standing("worker0")
    assert (standing.strikes, standing.suspended_until_ms) == (0, suspended_until_ms)


# --- missed votes -------------------------------------------------------------------------------------------------


def miss_rounds(market: Market, count: int) -> None:
    for _ in range(count):
        job_id = market.open_vote()
        market.decide(job_id, {name: HONEST for name in market.seats(job_id) if name != "checker0"})


def test_many_missed_rounds_and_a_long_silence_jail_the_checker() -> None:
    market = Market(overrides={"silence_ms": 150_000})
    miss_rounds(market, 3)
    assert market.standing("checker0").missed_in_a_row == 3
    assert market.time_ms - market.standing("checker0").silent_since_ms >= 150_000
    assert market.account("checker0").checker_jailed_ms == market.time_ms
    events = [*market.last.events, *(event for result in market.last.tx_results for event in result.events)]
    jailed = [dict(event.attributes) for event in events if event.type == "account.jailed"]
    assert {"account": encode_address(market.address("checker0")), "duty": "checker"} in jailed
    market.skip(2 * market.params.epoch_ms)
    assert market.address("checker0") not in [entry.account for entry in market.table().entries]


def test_many_missed_rounds_within_a_short_time_do_not_jail() -> None:
    """A flood of jobs that no machine can evaluate in time must not empty the checker table."""
    market = Market(overrides={"silence_ms": 3_600_000})
    miss_rounds(market, 4)
    assert market.standing("checker0").missed_in_a_row == 4
    assert not market.account("checker0").checker_jailed_ms


def test_a_long_silence_with_few_missed_rounds_does_not_jail() -> None:
    market = Market(overrides={"silence_ms": 0})
    miss_rounds(market, 2)
    assert not market.account("checker0").checker_jailed_ms
    miss_rounds(market, 1)
    assert market.account("checker0").checker_jailed_ms


@pytest.mark.parametrize(("short_ms", "jailed"), [(0, True), (1, False)])
def test_a_silence_is_long_enough_from_its_last_millisecond_on(short_ms: int, jailed: bool) -> None:
    silent_ms = 0
    for _ in range(2):  # the second one knows how long the silence of the first was
        market = Market(overrides={"silence_ms": silent_ms + short_ms if silent_ms else 0})
        miss_rounds(market, 3)
        before, silent_ms = silent_ms, market.time_ms - market.standing("checker0").silent_since_ms
    assert silent_ms == before
    assert bool(market.account("checker0").checker_jailed_ms) is jailed


def test_a_jailed_checker_that_holds_a_seat_may_still_vote() -> None:
    market = Market(overrides={"silence_ms": 0, "max_missed_votes": 1})
    first, second = market.submit(), market.submit(expiry_ms=market.time_ms + JOB_MS + 30_000)
    market.block([("worker0", market.announcement("worker0", job_id, 0)) for job_id in (first, second)])
    for job_id in (first, second):
        market.expire(job_id)
        market.reveal("worker0", job_id)
    assert market.job(first).state == pb.JOB_STATE_VOTE
    market.decide(first, {name: HONEST for name in market.seats(first) if name != "checker0"})
    assert market.account("checker0").checker_jailed_ms == market.time_ms
    market.decide_all(second, HONEST)
    assert market.standing("checker0").votes_agreed == 1


def test_who_has_opted_out_is_jailed_for_a_seat_that_stays_silent() -> None:
    market = Market(overrides={"silence_ms": 0, "max_missed_votes": 1})
    job_id = market.open_vote()
    market.must("checker0", tx_pb2.SetChecker())
    market.decide(job_id, {name: HONEST for name in market.seats(job_id) if name != "checker0"})
    assert market.account("checker0").checker_jailed_ms == market.time_ms


def test_a_further_missed_round_starts_the_jail_again() -> None:
    market = Market(overrides={"silence_ms": 0, "max_missed_votes": 1})
    jobs = [market.submit(), market.submit(expiry_ms=market.time_ms + JOB_MS + 30_000)]
    market.block([("worker0", market.announcement("worker0", job_id, 0)) for job_id in jobs])
    for job_id in jobs:
        market.expire(job_id)
        market.reveal("worker0", job_id)
    for job_id in jobs:
        market.decide(job_id, {name: HONEST for name in market.seats(job_id) if name != "checker0"})
        assert market.account("checker0").checker_jailed_ms == market.time_ms


def test_sums_of_credits_in_a_standing_stop_at_the_end_of_their_range() -> None:
    """Credits circulate, so what one contractor has ever paid out can pass any supply; the block must not fail."""
    assert add_capped(MAX_INT64 - 5, 5) == MAX_INT64
    assert add_capped(MAX_INT64 - 5, 6) == MAX_INT64
