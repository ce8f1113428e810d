"""What each outcome does to credits, counters and the job; supply and index are audited after every block."""

from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import credits
from abci_app.protocol.context import BlockContext
from abci_app.protocol.jobs import edit_job
from abci_app.protocol.limits import RESERVED_LOSS, UCREDIT
from abci_app.protocol.state import StateDelta
from tests.support.chain import Holding
from tests.support.market import (
    CHECKERS,
    OVERRUN,
    TERMS,
    UNAVAILABLE,
    UNRUNNABLE,
    WORKERS,
    Finding,
    Market,
    measured,
)

START = 1_000 * UCREDIT
BOUNTY, FEE = TERMS["bounty"], TERMS["verify_fee"]
NETWORK_FEE = BOUNTY * 200 // 10_000
SEAT_PAY = FEE // 15
DEPOSIT = 2 * FEE
LIE = measured(TERMS["ban_margin"] + 1)
WORSE = measured(TERMS["tolerance"] + 1)
HONEST = measured(0)


@pytest.fixture
def market() -> Market:
    return Market()


def balances(market: Market, *names: str) -> list[int]:
    """Return what accounts have gained since the genesis."""
    return [market.balance(name) - START for name in names]


def hold_rounds(market: Market, job_id: int, *findings: Finding) -> None:
    """Let the turns of worker0, worker1, … pass with a committee that agrees on one finding each."""
    for worker, found in zip(WORKERS, findings, strict=False):
        market.reveal(worker, job_id)
        market.decide_all(job_id, found)


def prepare(market: Market, workers: int = 2, **terms: Any) -> int:
    """Bring a job to the REVEAL of worker0, with further workers behind it, all secured if there is a deposit."""
    job_id = market.submit(runner_ups=workers - 1, **{"free_places": 0 if "deposit" in terms else workers, **terms})
    for number in range(workers):
        market.announce(WORKERS[number], job_id, number * 50_000, secured="deposit" in terms)
    market.expire(job_id)
    return job_id


# --- accepted -----------------------------------------------------------------------------------------------------


def test_accepted_pays_winner_seats_and_proposer_and_returns_the_rest(market: Market) -> None:
    job_id = market.open_vote(deposit=DEPOSIT, free_places=0)
    market.decide_all(job_id, HONEST)
    job, turn = market.job(job_id), market.round(job_id)
    assert (job.state, turn.outcome, job.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_ACCEPTED, pb.OUTCOME_ACCEPTED)
    assert (job.winner, job.winning_loss, len(job.candidates)) == (market.address("worker0"), 0, 0)
    assert balances(market, "worker0", "val0", "carl") == [BOUNTY, NETWORK_FEE, -BOUNTY - NETWORK_FEE - FEE]
    assert [market.balance(name) for name in CHECKERS] == [START + 3 * SEAT_PAY] * 5
    assert {vote.paid for vote in turn.votes} == {3 * SEAT_PAY}
    supply = market.supply()
    assert (supply.escrow, supply.deposits, supply.burned) == (0, 0, 0)


def test_accepted_counts_the_win_the_payment_and_the_votes(market: Market) -> None:
    market.decide(market.open_vote(), {**dict.fromkeys(["checker0", "checker1", "checker2"], HONEST), "checker3": LIE})
    winner, contractor = market.standing("worker0"), market.standing("carl")
    assert (winner.wins, winner.candidacies, winner.unsecured_candidacies) == (1, 0, 0)
    assert (contractor.jobs_paid, contractor.jobs_refunded, contractor.jobs_faulty, contractor.open_jobs) == (
        1,
        0,
        0,
        0,
    )
    assert (contractor.bounties_paid_out, contractor.network_fees_paid) == (BOUNTY, NETWORK_FEE)
    counted = [(s.votes_agreed, s.votes_outvoted, s.votes_missed) for s in map(market.standing, CHECKERS)]
    assert counted == [(1, 0, 0)] * 3 + [(0, 1, 0), (0, 0, 1)]


def test_fees_that_no_seat_earned_go_back_to_the_contractor(market: Market) -> None:
    job_id = market.open_vote(runner_ups=2)
    market.decide(job_id, {"checker0": HONEST, "checker1": measured(0, receipt=b""), "checker2": HONEST})
    assert balances(market, "checker0", "checker1", "carl") == [3 * SEAT_PAY, 0, -BOUNTY - NETWORK_FEE - 6 * SEAT_PAY]


def test_a_fee_that_does_not_divide_by_the_seats_is_rounded_down(market: Market) -> None:
    market.decide_all(market.open_vote(verify_fee=FEE + 14), HONEST)
    assert balances(market, "checker0", "carl") == [3 * SEAT_PAY, -BOUNTY - NETWORK_FEE - 15 * SEAT_PAY]


# --- unverified and faulty ----------------------------------------------------------------------------------------


def test_unverified_pays_the_candidate_and_no_seat(market: Market) -> None:
    job_id = market.open_vote()
    market.decide(job_id, {"checker0": LIE})
    assert (market.job(job_id).state, market.round(job_id).outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_UNVERIFIED)
    assert balances(market, "worker0", "checker0", "carl") == [BOUNTY, 0, -BOUNTY - NETWORK_FEE]
    winner, voter = market.standing("worker0"), market.standing("checker0")
    assert (winner.wins, voter.votes_agreed, voter.votes_outvoted) == (0, 0, 0)
    assert market.standing("carl").jobs_paid == 1


def test_a_majority_against_that_is_a_third_of_all_seats_leaves_it_unverified(market: Market) -> None:
    job_id = market.open_vote()
    market.decide(job_id, {"checker0": WORSE, "checker1": WORSE})
    assert market.round(job_id).outcome == pb.OUTCOME_REJECTED
    other = Market(checkers={f"checker{n}": Holding(bond=(1 + 4 * (n == 0)) * UCREDIT, checker=2) for n in range(11)})
    job_id = other.open_vote()
    seats = other.seats(job_id)
    assert seats["checker0"] == 5
    honest = [name for name, count in seats.items() if name != "checker0" and count == 1][:4]
    other.decide(job_id, {"checker0": WORSE, **dict.fromkeys(honest, HONEST)})
    assert other.round(job_id).outcome == pb.OUTCOME_UNVERIFIED
    assert balances(other, "worker0", "checker0") == [BOUNTY, 0]


def test_a_faulty_image_pays_the_candidate_and_marks_the_contractor(market: Market) -> None:
    job_id = market.open_vote()
    market.decide_all(job_id, UNRUNNABLE)
    assert (market.job(job_id).state, market.round(job_id).outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_FAULTY_JOB)
    assert balances(market, "worker0", "checker0", "carl") == [BOUNTY, 0, -BOUNTY - NETWORK_FEE]
    contractor = market.standing("carl")
    assert (contractor.jobs_paid, contractor.jobs_faulty, contractor.bounties_paid_out) == (1, 1, BOUNTY)
    assert (market.standing("worker0").wins, market.standing("checker0").votes_agreed) == (0, 1)


# --- convicted ----------------------------------------------------------------------------------------------------


def test_convicted_bans_and_burns_and_returns_the_bounty(market: Market) -> None:
    job_id = market.open_vote(deposit=DEPOSIT, free_places=0)
    market.decide_all(job_id, LIE)
    assert (market.job(job_id).state, market.round(job_id).outcome) == (pb.JOB_STATE_REFUNDED, pb.OUTCOME_CONVICTED)
    assert market.account("worker0").banned
    assert balances(market, "worker0", "checker0", "carl") == [-START, 3 * SEAT_PAY, -NETWORK_FEE]
    assert market.supply().burned == START - FEE
    cheater, contractor = market.standing("worker0"), market.standing("carl")
    assert (cheater.convictions, cheater.rejections, cheater.strikes, cheater.candidacies) == (1, 0, 0, 0)
    assert (contractor.jobs_refunded, contractor.jobs_paid, contractor.bounties_paid_out) == (1, 0, 0)
    assert market.standing("checker0").votes_agreed == 1


def test_without_a_deposit_the_seats_are_paid_from_the_fee(market: Market) -> None:
    market.decide_all(market.open_vote(), LIE)
    assert balances(market, "checker0", "carl") == [3 * SEAT_PAY, -NETWORK_FEE - FEE]
    assert market.supply().burned == START


def test_a_crash_on_all_machines_convicts_and_is_paid_without_a_receipt(market: Market) -> None:
    job_id = market.open_vote()
    market.decide_all(job_id, measured(RESERVED_LOSS, receipt=b""))
    assert market.round(job_id).outcome == pb.OUTCOME_CONVICTED
    assert balances(market, "checker0") == [3 * SEAT_PAY]


def test_after_a_conviction_the_runner_up_has_its_turn_and_is_paid(market: Market) -> None:
    job_id = prepare(market)
    hold_rounds(market, job_id, LIE)
    job = market.job(job_id)
    assert (job.state, job.round, job.rounds) == (pb.JOB_STATE_REVEAL, 1, 2)
    assert job.deadline_ms == market.time_ms + TERMS["reveal_window_ms"]
    assert market.round(job_id, 1).candidate.account == market.address("worker1")
    market.reveal("worker1", job_id)
    market.decide_all(job_id, measured(50_000))
    assert market.job(job_id).winner == market.address("worker1")
    assert balances(market, "worker1", "val0") == [BOUNTY, NETWORK_FEE]
    assert balances(market, "carl") == [-BOUNTY - NETWORK_FEE - 2 * FEE]
    assert [market.round(job_id, n).outcome for n in (0, 1)] == [pb.OUTCOME_CONVICTED, pb.OUTCOME_ACCEPTED]


def test_all_rounds_of_a_job_draw_from_one_table_and_one_opening_block(market: Market) -> None:
    """A later block gives no new try at the draw, and a later epoch no new voters."""
    job_id = prepare(market)
    before = market.job(job_id)
    hold_rounds(market, job_id, UNAVAILABLE)
    market.skip(5_000)
    market.reveal("worker1", job_id)
    after = market.job(job_id)
    assert (before.table_epoch, before.opening_hash) == (after.table_epoch, after.opening_hash)
    assert list(after.excluded) == [market.address("worker0"), market.address("worker1")]


# --- rejected -----------------------------------------------------------------------------------------------------


def test_rejected_pays_the_cluster_from_the_deposit_and_burns_the_rest(market: Market) -> None:
    """The contractor's fee comes back whole: a false rejection gains it nothing of the deposit."""
    job_id = market.open_vote(deposit=DEPOSIT, free_places=0)
    market.decide_all(job_id, WORSE)
    assert (market.job(job_id).state, market.round(job_id).outcome) == (pb.JOB_STATE_REFUNDED, pb.OUTCOME_REJECTED)
    assert balances(market, "worker0", "checker0", "carl") == [-DEPOSIT, 3 * SEAT_PAY, -NETWORK_FEE]
    assert market.supply().burned == DEPOSIT - FEE
    assert not market.account("worker0").banned
    standing = market.standing("worker0")
    assert (standing.rejections, standing.strikes) == (1, 1)
    assert standing.suspended_until_ms == market.time_ms + market.params.suspension_ms
    assert market.standing("checker0").votes_agreed == 1


@pytest.mark.parametrize("left", [0, 1, 15 * SEAT_PAY - 1, 15 * SEAT_PAY, 15 * SEAT_PAY + 1])
def test_seats_are_paid_from_the_deposit_as_far_as_it_reaches(market: Market, left: int) -> None:
    """No message makes a deposit smaller than what the seats get; the rule holds whatever later versions allow."""
    job_id = prepare(market, 1, deposit=DEPOSIT)
    take_from_deposit(market, job_id, DEPOSIT - left)
    hold_rounds(market, job_id, WORSE)
    pay = 15 * SEAT_PAY
    assert sum(vote.paid for vote in market.round(job_id).votes) == pay
    assert market.supply().burned == max(0, left - pay)
    assert balances(market, "worker0", "carl") == [-left, -NETWORK_FEE - max(0, pay - left)]


def take_from_deposit(market: Market, job_id: int, amount: int) -> None:
    """Give a part of the first candidate's deposit back, outside all rules."""
    state = market.state()
    delta = StateDelta(state)
    candidate = edit_job(delta, job_id).candidates[0]
    context = BlockContext(market.tag, market.params, market.height, market.time_ms)
    credits.pay_from_deposit(delta, context, candidate, candidate.account, amount)
    delta.apply()
    market.committed.commit(state)


def test_rejected_without_a_deposit_is_paid_from_the_fee(market: Market) -> None:
    market.decide_all(market.open_vote(), WORSE)
    assert balances(market, "worker0", "checker0", "carl") == [0, 3 * SEAT_PAY, -NETWORK_FEE - FEE]


@pytest.mark.parametrize("found", [OVERRUN, UNAVAILABLE])
def test_a_rejection_without_measurements_pays_no_seat(market: Market, found: Finding) -> None:
    job_id = market.open_vote(deposit=DEPOSIT, free_places=0)
    market.decide_all(job_id, found)
    assert market.round(job_id).outcome == pb.OUTCOME_REJECTED
    assert balances(market, "checker0", "carl") == [0, -NETWORK_FEE]
    assert market.supply().burned == DEPOSIT


def test_when_every_candidate_fails_the_bounty_goes_back_and_all_deposits_are_settled(market: Market) -> None:
    job_id = prepare(market, workers=3, deposit=DEPOSIT)
    hold_rounds(market, job_id, WORSE, measured(200_000), measured(150_000))
    job = market.job(job_id)
    assert (job.state, job.rounds) == (pb.JOB_STATE_REFUNDED, 3)
    assert balances(market, "carl", "worker0", "worker1") == [-NETWORK_FEE, -DEPOSIT, -START]
    assert balances(market, "worker2") == [-DEPOSIT]
    assert market.supply().burned == START + 2 * DEPOSIT - 3 * FEE


def test_deposits_of_those_who_never_had_a_turn_go_back(market: Market) -> None:
    job_id = prepare(market, workers=3, deposit=DEPOSIT)
    hold_rounds(market, job_id, HONEST)
    assert market.job(job_id).state == pb.JOB_STATE_PAID
    assert balances(market, "worker0", "worker1", "worker2") == [BOUNTY, 0, 0]


@pytest.mark.parametrize(("measure", "outcome"), [(0, pb.OUTCOME_ACCEPTED), (1, pb.OUTCOME_REJECTED)])
def test_votes_are_held_against_the_announced_loss_not_the_ranked_one(
    market: Market, measure: int, outcome: pb.Outcome
) -> None:
    """The runner-up undercut the leader by less than the minimum improvement: it ranks at the leader's loss."""
    job_id = market.submit(runner_ups=1)
    market.announce("worker0", job_id, 0)
    market.announce("worker1", job_id, -TERMS["tolerance"])
    market.expire(job_id)
    market.expire(job_id)
    turn = market.round(job_id, 1).candidate
    assert (turn.account, turn.loss, turn.ranked_loss) == (market.address("worker1"), -TERMS["tolerance"], 0)
    market.reveal("worker1", job_id)
    market.decide_all(job_id, measured(measure))
    assert market.round(job_id, 1).outcome == outcome
    assert market.job(job_id).winning_loss == (-TERMS["tolerance"] if outcome == pb.OUTCOME_ACCEPTED else 0)


# --- defaults, expiry, network fee --------------------------------------------------------------------------------


def test_a_default_burns_the_deposit_strikes_and_passes_the_turn(market: Market) -> None:
    job_id = prepare(market, deposit=DEPOSIT)
    market.expire(job_id)
    job, standing = market.job(job_id), market.standing("worker0")
    assert (job.state, job.round, market.round(job_id).outcome) == (pb.JOB_STATE_REVEAL, 1, pb.OUTCOME_DEFAULTED)
    assert (standing.defaults, standing.strikes, standing.candidacies) == (1, 1, 0)
    assert market.supply().burned == DEPOSIT
    market.expire(job_id)
    assert market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert balances(market, "carl", "worker0", "worker1") == [-NETWORK_FEE, -DEPOSIT, -DEPOSIT]


def test_a_job_without_candidates_expires_and_everything_goes_back(market: Market) -> None:
    job_id = market.submit()
    market.expire(job_id)
    job = market.job(job_id)
    assert (job.state, job.rounds) == (pb.JOB_STATE_EXPIRED, 0)
    assert balances(market, "carl", "val0") == [0, 0]
    contractor = market.standing("carl")
    assert (contractor.open_jobs, contractor.jobs_refunded, contractor.network_fees_paid) == (0, 0, 0)


def test_the_network_fee_goes_to_the_proposer_of_the_opening_block_only() -> None:
    market = Market()
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.skip_to(market.job(job_id).deadline_ms - 1_000)
    market.block(proposer="nobody")
    job = market.job(job_id)
    assert (job.state, job.network_fee, market.supply().burned) == (pb.JOB_STATE_REVEAL, 0, NETWORK_FEE)
    assert job.opening_hash == market.block_hash
    market.reveal("worker0", job_id)
    market.decide_all(job_id, HONEST)
    assert balances(market, "val0") == [0]
    assert market.standing("carl").network_fees_paid == NETWORK_FEE


def test_a_round_and_a_job_keep_when_each_step_of_theirs_happened(market: Market) -> None:
    job_id = market.submit()
    market.announce("worker0", job_id, 0)
    market.expire(job_id)
    opened_ms = market.time_ms
    assert market.round(job_id).opened_ms == market.job(job_id).window_opened_ms == opened_ms
    market.reveal("worker0", job_id)
    assert market.round(job_id).revealed_ms == market.job(job_id).window_opened_ms == market.time_ms
    market.decide_all(job_id, HONEST)
    round_, job = market.round(job_id), market.job(job_id)
    assert (round_.opened_ms, round_.decided_ms, round_.decided_height) == (opened_ms, market.time_ms, market.height)
    assert (job.settled_ms, job.settled_height) == (market.time_ms, market.height)
    assert job.deadline_ms == market.time_ms + market.params.job_retention_ms


# --- what is owed to the banned -----------------------------------------------------------------------------------


def test_what_a_banned_voter_earned_is_burned_and_its_vote_counts() -> None:
    market = Market(checkers={**CHECKERS, "val0": Holding(checker=2)})
    job_id = market.open_vote()
    seats = market.seats(job_id)
    market.commit_votes(job_id, dict.fromkeys(seats, HONEST))
    market.must("val0", market.vote(job_id, HONEST))
    market.block(misbehavior=[(1, "val0")])
    burned = market.supply().burned
    market.reveal_votes(job_id, {name: HONEST for name in seats if name != "val0"})
    assert market.round(job_id).outcome == pb.OUTCOME_ACCEPTED
    assert market.supply().burned == burned + seats["val0"] * SEAT_PAY
    assert market.balance("val0") == 0
    assert {vote.paid for vote in market.round(job_id).votes if vote.account == market.address("val0")} == {0}
    assert market.standing("val0").votes_agreed == 1


def test_the_jobs_of_a_banned_contractor_run_on_and_its_refunds_are_burned(market: Market) -> None:
    paid, expired = market.submit("val0"), market.submit("val0")
    market.announce("worker0", paid, 0)
    market.block(misbehavior=[(1, "val0")])
    burned = market.supply().burned
    market.expire(paid)
    market.expire(expired)
    assert market.job(expired).state == pb.JOB_STATE_EXPIRED
    market.reveal("worker0", paid)
    market.decide_all(paid, HONEST)
    assert balances(market, "worker0", "checker0") == [BOUNTY, 3 * SEAT_PAY]
    escrow = BOUNTY + FEE + NETWORK_FEE
    assert market.supply().burned == burned + escrow + NETWORK_FEE
    assert market.balance("val0") == 0
