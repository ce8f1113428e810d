"""Deciding a round: the outcome table is asked, seats are paid and counted, and the job goes on."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import credits
from abci_app.protocol.accounts import edit_standing, require_account
from abci_app.protocol.bans import ban_account
from abci_app.protocol.conduct import add_strike, count_miss, count_vote
from abci_app.protocol.context import BlockContext
from abci_app.protocol.jobs import edit_round
from abci_app.protocol.outcome import DEPOSIT_OUTCOMES, Ballot, Decision, Measure, compute_decision
from abci_app.protocol.settlement import pay_winner
from abci_app.protocol.state import StateWrite
from abci_app.protocol.turns import close_round, pass_turn


def decide_round(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """End the TALLY of a job by the outcome table.

    If the candidate was banned meanwhile the seats are paid by the row that applies, it is neither paid nor counted,
    and the turn passes on.
    """
    round_ = edit_round(state, job)
    revealed = [vote for vote in round_.votes if vote.finding]
    decision = compute_decision([_get_ballot(vote) for vote in revealed], _get_measure(context.params, job, round_))
    _pay_seats(state, context, job, revealed, decision)
    _count_votes(state, context, round_, decision)
    if require_account(state, job.candidates[0].account).banned:
        close_round(state, context, job, pb.OUTCOME_BANNED)
        pass_turn(state, context, job)
        return
    close_round(state, context, job, decision.outcome)
    if decision.outcome == pb.OUTCOME_CONVICTED:
        _convict(state, context, job)
    elif decision.outcome == pb.OUTCOME_REJECTED:
        _reject(state, context, job)
    else:
        pay_winner(state, context, job, decision.outcome)


def _get_ballot(vote: pb.Vote) -> Ballot:
    return Ballot(vote.seats, vote.finding, vote.loss, vote.receipt)


def _get_measure(params: pb.Params, job: pb.Job, round_: pb.Round) -> Measure:
    return Measure(
        announced=round_.candidate.loss,
        tolerance=job.terms.tolerance,
        ban_margin=job.terms.ban_margin,
        seats=params.committee_seats,
        quorum_bps=params.quorum_bps,
        drawable_bond=round_.drawable_bond,
        class_bond=round_.class_bond,
    )


def _pay_seats(
    state: StateWrite, context: BlockContext, job: pb.Job, revealed: list[pb.Vote], decision: Decision
) -> None:
    """Pay each seat its part of the verify fee; what is not paid stays in the escrow until the job settles."""
    seat_pay = job.terms.verify_fee // context.params.committee_seats
    takes_deposit = decision.outcome in DEPOSIT_OUTCOMES
    for vote, is_paid in zip(revealed, decision.paid, strict=True):
        if is_paid:
            vote.paid = _pay(state, context, job, vote.account, vote.seats * seat_pay, takes_deposit)


def _pay(
    state: StateWrite, context: BlockContext, job: pb.Job, account: bytes, amount: int, takes_deposit: bool
) -> int:
    """Pay from the candidate's deposit as far as it reaches, if it pays, else from the escrow. Return what arrived."""
    candidate = job.candidates[0]
    part = min(amount, candidate.deposit) if takes_deposit else 0
    paid = credits.pay_from_deposit(state, context, candidate, account, part) if part else 0
    return paid + credits.pay_from_escrow(state, context, job, account, amount - part)


def _count_votes(state: StateWrite, context: BlockContext, round_: pb.Round, decision: Decision) -> None:
    judgements = iter(decision.judgements)
    for vote in round_.votes:
        if vote.finding:
            count_vote(state, vote.account, decision.outcome, next(judgements))
        else:
            count_miss(state, context, vote.account)


def _convict(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Ban the candidate: its deposit, like all it holds, is burned."""
    account = job.candidates[0].account
    edit_standing(state, account).convictions += 1
    ban_account(state, context, account)
    pass_turn(state, context, job)


def _reject(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Burn what the seats left of the deposit and give the candidate a strike."""
    candidate = job.candidates[0]
    credits.burn_deposit(state, candidate)
    edit_standing(state, candidate.account).rejections += 1
    add_strike(state, context, candidate.account)
    pass_turn(state, context, job)
