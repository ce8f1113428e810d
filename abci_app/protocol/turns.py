"""The turns of the candidates: each one is a round, opened by a REVEAL window and ended by an outcome."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import credits, epochs, events, keys
from abci_app.protocol.accounts import edit_standing
from abci_app.protocol.conduct import add_capped, add_strike
from abci_app.protocol.context import BlockContext
from abci_app.protocol.jobs import edit_round
from abci_app.protocol.settlement import drop_candidate, refund
from abci_app.protocol.state import StateWrite
from abci_app.protocol.windows import open_window


def open_first_turn(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Open the first REVEAL at expiry: fix what all committees of the job are drawn from, pay the network fee."""
    _pay_network_fee(state, context, job)
    job.excluded.extend(candidate.account for candidate in job.candidates)
    job.table_epoch = epochs.get_current_table(state).epoch
    job.opening_hash = context.block_hash
    _open_turn(state, context, job)


def _pay_network_fee(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    if not job.network_fee:
        return
    standing = edit_standing(state, job.contractor)
    standing.network_fees_paid = add_capped(standing.network_fees_paid, job.network_fee)
    credits.pay_from_escrow(state, context, job, context.proposer, job.network_fee)
    job.network_fee = 0


def _open_turn(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Begin the turn of the best candidate left: a round with the next number, from 0."""
    candidate = job.candidates[0]
    job.round = job.rounds
    job.rounds += 1
    round_ = state.edit(keys.round_(job.id, job.round), pb.Round)
    round_.job_id = job.id
    round_.number = job.round
    round_.candidate.CopyFrom(candidate)
    round_.opened_ms = context.time_ms
    open_window(context, job, round_, pb.JOB_STATE_REVEAL)
    state.record(events.job_reveal_opened(job.id, job.round, candidate.account, job.deadline_ms))


def close_round(state: StateWrite, context: BlockContext, job: pb.Job, outcome: pb.Outcome) -> None:
    """Write down how the present round ended."""
    round_ = edit_round(state, job)
    round_.outcome = job.outcome = outcome
    round_.decided_ms = context.time_ms
    round_.decided_height = context.height
    name = pb.Outcome.Name(outcome).removeprefix("OUTCOME_")
    state.record(events.job_round_decided(job.id, job.round, round_.candidate.account, name))


def pass_turn(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Drop the candidate whose turn is over; the next one's begins, or the bounty goes back."""
    drop_candidate(state, job, 0)
    if job.candidates:
        _open_turn(state, context, job)
    else:
        refund(state, context, job)


def end_by_default(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """End the turn of a candidate that has not revealed: its deposit is burned, it gets a strike."""
    candidate = job.candidates[0]
    close_round(state, context, job, pb.OUTCOME_DEFAULTED)
    credits.burn_deposit(state, candidate)
    edit_standing(state, candidate.account).defaults += 1
    add_strike(state, context, candidate.account)
    pass_turn(state, context, job)
