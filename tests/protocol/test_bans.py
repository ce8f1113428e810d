"""What a ban burns and where it takes an account out; credits and counters are audited after every block."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Holding
from tests.support.market import CHECKERS, JOB_MS, TERMS, UNRUNNABLE, Finding, Market, get_attribute, measured

FEE, BOUNTY = TERMS["verify_fee"], TERMS["bounty"]
SEAT_PAY = FEE // 15
DEPOSIT = 2 * FEE
START = 1_000 * UCREDIT
HONEST, LIE, WORSE = measured(0), measured(200_000), measured(50_000)
VICTIM = "val0"
"""A validator: evidence bans it at a moment of the test's choice."""


@pytest.fixture
def market() -> Market:
    return Market(checkers={**CHECKERS, VICTIM: Holding()})


def ban(market: Market) -> int:
    """Ban the victim by evidence and return how much was burned."""
    before = market.supply().burned
    market.block(misbehavior=[(1, VICTIM)])
    return market.supply().burned - before


def candidates(market: Market, job_id: int) -> list[bytes]:
    return [candidate.account for candidate in market.job(job_id).candidates]


def open_race(market: Market, *workers: str, deposit: int = 0) -> int:
    """Submit a job and let these accounts announce, the first with the best loss."""
    places = len(workers)
    job_id = market.submit(runner_ups=places - 1, deposit=deposit, free_places=0 if deposit else places)
    for number, name in enumerate(workers):
        market.announce(name, job_id, number * 10_000, secured=deposit > 0)
    return job_id


def test_balance_bond_unbonding_and_deposits_are_burned(market: Market) -> None:
    open_race(market, VICTIM, deposit=DEPOSIT)
    market.must(VICTIM, tx_pb2.Unbond(amount=10 * UCREDIT))
    assert ban(market) == 2 * START
    account = market.account(VICTIM)
    assert account.banned
    assert (account.balance, account.bond, len(account.unbonding)) == (0, 0, 0)
    assert int(get_attribute(market.last.events, "account.banned", "burned")) == 2 * START


def test_every_later_transaction_is_refused(market: Market) -> None:
    ban(market)
    result = market.send(VICTIM, tx_pb2.SetProfile(name="again"))
    assert result.code == errors.AccountBanned.code


def test_a_second_offence_changes_nothing(market: Market) -> None:
    ban(market)
    assert ban(market) == 0
    assert not [event for event in market.last.events if event.type == "account.banned"]


def test_nobody_can_transfer_to_a_banned_account(market: Market) -> None:
    ban(market)
    result = market.send("carl", tx_pb2.Transfer(to=market.address(VICTIM), amount=1))
    assert result.code == errors.RecipientBanned.code


def test_a_candidacy_leaves_an_open_job_in_the_same_block(market: Market) -> None:
    job_id = open_race(market, VICTIM, "worker0")
    ban(market)
    job = market.job(job_id)
    assert job.state == pb.JOB_STATE_OPEN
    assert candidates(market, job_id) == [market.address("worker0")]
    assert (market.standing(VICTIM).candidacies, market.standing(VICTIM).unsecured_candidacies) == (0, 0)
    market.announce("worker1", job_id, 9_000 - TERMS["min_improvement"])
    assert candidates(market, job_id)[0] == market.address("worker1")


def test_all_candidacies_of_a_full_account_leave_at_once() -> None:
    market = Market(
        checkers={**CHECKERS, VICTIM: Holding()},
        overrides={"open_candidacies": 64, "max_open_jobs": 100, "tx_burst": 1_000},
    )
    terms = market.terms(bounty=UCREDIT, verify_fee=100_000, expiry_ms=market.time_ms + 400_000)
    market.block([("carl", terms)] * 64)
    market.block([(VICTIM, market.announcement(VICTIM, job_id, 0)) for job_id in range(1, 65)])
    assert market.standing(VICTIM).candidacies == 64
    ban(market)
    assert market.standing(VICTIM).candidacies == 0
    assert not any(candidates(market, job_id) for job_id in range(1, 65))


def test_a_job_whose_list_a_ban_emptied_expires_and_refunds(market: Market) -> None:
    job_id = open_race(market, VICTIM)
    ban(market)
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_EXPIRED
    assert market.balance("carl") == START


def test_candidacies_end_in_ascending_order_of_job_ids(market: Market) -> None:
    """Whoever reads events sees the same order at every node, as the page says."""
    jobs = [open_race(market, VICTIM) for _ in range(2)]
    market.expire(jobs[-1])
    ban(market)
    settled = [dict(event.attributes)["job_id"] for event in market.last.events if event.type == "job.settled"]
    assert settled == [str(job_id) for job_id in jobs]


def test_in_its_own_reveal_the_next_turn_begins_in_the_same_block(market: Market) -> None:
    job_id = open_race(market, VICTIM, "worker0", deposit=DEPOSIT)
    market.expire(job_id)
    ban(market)
    job = market.job(job_id)
    assert (job.state, job.round, job.deadline_ms) == (pb.JOB_STATE_REVEAL, 1, market.time_ms + 10_000)
    assert market.round(job_id, 0).outcome == pb.OUTCOME_BANNED
    assert candidates(market, job_id) == [market.address("worker0")]
    assert (market.standing(VICTIM).defaults, market.standing(VICTIM).strikes) == (0, 0)
    market.reveal("worker0", job_id)
    market.decide_all(job_id, measured(10_000))
    assert market.balance("worker0") == START + BOUNTY


def test_in_its_own_reveal_without_a_runner_up_the_bounty_goes_back(market: Market) -> None:
    job_id = open_race(market, VICTIM)
    market.expire(job_id)
    ban(market)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert market.balance("carl") == START - BOUNTY // 50
    assert market.standing("carl").jobs_refunded == 1


@pytest.mark.parametrize("state", [pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY])
def test_a_runner_up_leaves_whatever_the_state_of_the_job(market: Market, state: pb.JobState) -> None:
    job_id = open_race(market, "worker0", VICTIM, "worker1", deposit=DEPOSIT)
    market.expire(job_id)
    if state != pb.JOB_STATE_REVEAL:
        market.reveal("worker0", job_id)
    if state == pb.JOB_STATE_TALLY:
        market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), HONEST))
    deadline_ms = market.job(job_id).deadline_ms
    ban(market)
    job = market.job(job_id)
    assert (job.state, job.deadline_ms) == (state, deadline_ms)
    assert candidates(market, job_id) == [market.address("worker0"), market.address("worker1")]
    assert market.supply().deposits == 2 * DEPOSIT


def test_a_runner_up_that_was_banned_has_no_turn_and_no_round(market: Market) -> None:
    job_id = open_race(market, "worker0", VICTIM, "worker1")
    market.expire(job_id)
    ban(market)
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.round, job.rounds) == (pb.JOB_STATE_REVEAL, 1, 2)
    assert market.round(job_id, 1).candidate.account == market.address("worker1")


def test_in_its_own_vote_the_turn_goes_on_to_the_decision(market: Market) -> None:
    job_id = open_race(market, VICTIM, "worker0", deposit=DEPOSIT)
    market.expire(job_id)
    market.reveal(VICTIM, job_id)
    assert ban(market) == 2 * START + BOUNTY // 50  # it had proposed the opening block
    assert market.job(job_id).state == pb.JOB_STATE_VOTE
    assert market.supply().deposits == DEPOSIT
    market.decide_all(job_id, HONEST)
    job = market.job(job_id)
    assert (job.state, job.round, market.round(job_id, 0).outcome) == (pb.JOB_STATE_REVEAL, 1, pb.OUTCOME_BANNED)
    assert [market.balance(name) for name in CHECKERS] == [START + 3 * SEAT_PAY] * 5
    assert market.standing(VICTIM).wins == 0
    assert market.standing("checker0").votes_agreed == 1
    assert job.escrow == BOUNTY + FEE


@pytest.mark.parametrize("found", [LIE, WORSE])
def test_banned_in_its_own_tally_it_is_neither_convicted_nor_rejected(market: Market, found: Finding) -> None:
    """The seats are paid by the row that applies, from the escrow: the deposit was burned with everything else."""
    job_id = open_race(market, VICTIM, deposit=DEPOSIT)
    market.expire(job_id)
    market.reveal(VICTIM, job_id)
    seats = market.seats(job_id)
    market.commit_votes(job_id, dict.fromkeys(seats, found))
    ban(market)
    market.reveal_votes(job_id, dict.fromkeys(seats, found))
    assert (market.job(job_id).state, market.round(job_id).outcome) == (pb.JOB_STATE_REFUNDED, pb.OUTCOME_BANNED)
    assert market.balance("checker0") == START + 3 * SEAT_PAY
    assert market.balance("carl") == START - BOUNTY // 50 - FEE
    standing = market.standing(VICTIM)
    assert (standing.convictions, standing.rejections, standing.strikes, standing.candidacies) == (0, 0, 0, 0)


def test_a_faulty_image_is_not_counted_when_its_candidate_was_banned(market: Market) -> None:
    job_id = open_race(market, VICTIM)
    market.expire(job_id)
    market.reveal(VICTIM, job_id)
    ban(market)
    market.decide_all(job_id, UNRUNNABLE)
    contractor = market.standing("carl")
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert (contractor.jobs_faulty, contractor.jobs_paid, contractor.jobs_refunded) == (0, 0, 1)


def test_a_conviction_ends_the_cheaters_candidacies_in_other_jobs(market: Market) -> None:
    """The ban comes from inside a vote's transaction and reaches an open job and one in its own REVEAL."""
    convicting = open_race(market, "worker0")
    other = market.submit(expiry_ms=market.time_ms + JOB_MS + 5_000, runner_ups=1, deposit=DEPOSIT)
    still_open = market.submit(expiry_ms=market.time_ms + 300_000, deposit=DEPOSIT)
    for job_id in (other, still_open):
        market.announce("worker0", job_id, 0, secured=True)
    market.announce("worker1", other, 50_000)
    market.expire(convicting)
    market.reveal("worker0", convicting)
    market.expire(other)
    assert market.job(other).state == pb.JOB_STATE_REVEAL
    market.decide_all(convicting, LIE)
    assert market.account("worker0").banned
    assert candidates(market, still_open) == []
    assert candidates(market, other) == [market.address("worker1")]
    assert (market.job(other).round, market.job(other).state) == (1, pb.JOB_STATE_REVEAL)
    assert market.supply().burned == START
    assert market.supply().deposits == 0


def test_a_banned_checker_leaves_the_next_table_and_its_seat_is_missed() -> None:
    market = Market(checkers={**CHECKERS, VICTIM: Holding(checker=2)})
    job_id = market.open_vote()
    ban(market)
    market.skip(2 * market.params.epoch_ms)
    assert market.address(VICTIM) not in [entry.account for entry in market.table().entries]
    votes = {name: HONEST for name in market.seats(job_id) if name != VICTIM}
    market.decide(job_id, votes)
    assert market.standing(VICTIM).votes_missed == 1
    assert market.round(job_id).outcome == pb.OUTCOME_UNVERIFIED  # it held two thirds of the bond


def open_vote_with_the_victim_seated() -> tuple[Market, int, list[str]]:
    """Return a market, its job in VOTE, and the seated accounts besides the victim, who hold most of the seats."""
    checkers = {name: Holding(bond=START, checker=2) for name in (*CHECKERS, VICTIM)}
    market = Market(checkers=checkers)
    job_id = market.open_vote()
    seats = market.seats(job_id)
    assert seats.pop(VICTIM)
    return market, job_id, list(seats)


def test_the_ban_of_the_last_seat_that_is_missing_does_not_end_the_vote() -> None:
    market, job_id, others = open_vote_with_the_victim_seated()
    market.commit_votes(job_id, dict.fromkeys(others, HONEST))
    ban(market)
    assert market.job(job_id).state == pb.JOB_STATE_VOTE
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_TALLY


@pytest.mark.parametrize("others_first", [False, True])
def test_the_tally_waits_for_a_banned_account_that_committed(others_first: bool) -> None:
    market, job_id, others = open_vote_with_the_victim_seated()
    market.commit_votes(job_id, dict.fromkeys([*others, VICTIM], HONEST))
    if others_first:
        market.reveal_votes(job_id, dict.fromkeys(others, HONEST))
    ban(market)
    if not others_first:
        market.reveal_votes(job_id, dict.fromkeys(others, HONEST))
    assert (market.job(job_id).state, market.job(job_id).renewed) == (pb.JOB_STATE_TALLY, False)
    market.expire(job_id)
    assert market.round(job_id).outcome == pb.OUTCOME_ACCEPTED
    assert market.standing(VICTIM).votes_missed == 1
