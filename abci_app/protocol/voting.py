"""From the revealed model to the decision: the committee is drawn, commits, and reveals its votes."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import epochs, events
from abci_app.protocol.accounts import require_account
from abci_app.protocol.committee import compute_committee, get_slices
from abci_app.protocol.context import BlockContext
from abci_app.protocol.decision import decide_round
from abci_app.protocol.jobs import edit_round, get_round
from abci_app.protocol.state import StateWrite
from abci_app.protocol.windows import open_window


def open_vote(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Draw the committee of the revealed model and take commitments.

    The draw uses nothing newer than the block that opened the job's first REVEAL: the salt was committed before it.
    """
    round_ = edit_round(state, job)
    slices = get_slices(epochs.get_table(state, job.table_epoch), job.terms.job_class)
    excluded = [job.contractor, *job.excluded]
    seats = context.params.committee_seats
    committee = compute_committee(slices, excluded, seats, context.chain_tag, round_, job.opening_hash)
    round_.drawable_bond = committee.drawable_bond
    round_.class_bond = slices.total
    round_.empty_seats = committee.empty_seats
    for account, count in committee.seats:
        round_.votes.add(account=account, seats=count)
    open_window(context, job, round_, pb.JOB_STATE_VOTE)
    state.record(events.job_vote_opened(job.id, job.round, job.deadline_ms))
    close_vote_if_complete(state, context, job)


def close_vote_if_complete(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Go on to TALLY at once when nobody is left who could still commit."""
    votes = get_round(state, job).votes
    if all(vote.commitment or require_account(state, vote.account).banned for vote in votes):
        open_tally(state, context, job)


def open_tally(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Let the committed accounts reveal their votes; without any the round is decided at once."""
    open_window(context, job, get_round(state, job), pb.JOB_STATE_TALLY)
    state.record(events.job_tally_opened(job.id, job.round, job.deadline_ms))
    close_tally_if_complete(state, context, job)


def close_tally_if_complete(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Decide at once when every committed account has revealed."""
    if all(vote.finding for vote in get_round(state, job).votes if vote.commitment):
        decide_round(state, context, job)
