"""The vote of a seated account: one for all its seats, named by job and round."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.context import TxContext
from abci_app.protocol.jobs import edit_round, find_vote, get_job, get_round
from abci_app.protocol.state import StateRead, StateWrite


def get_own_vote(state: StateRead, context: TxContext, job_id: int, number: int, job_state: pb.JobState) -> pb.Vote:
    """Return what the sender has said so far in the named round, which must be in `job_state` (VOTE or TALLY).

    Raises UnknownJob, NotInVote, NotInTally, WrongRound, DeadlinePassed or NotSeated.
    """
    job = get_job(state, job_id)
    if job.state != job_state:
        raise errors.NotInVote if job_state == pb.JOB_STATE_VOTE else errors.NotInTally
    if number != job.round:
        raise errors.WrongRound
    if context.block.time_ms >= job.deadline_ms:
        raise errors.DeadlinePassed
    vote = find_vote(get_round(state, job), context.account)
    if vote is None:
        raise errors.NotSeated
    return vote


def edit_own_vote(state: StateWrite, context: TxContext, job: pb.Job) -> pb.Vote:
    """Return the layer's own copy of the sender's vote in the present round. Raises LookupError without a seat."""
    vote = find_vote(edit_round(state, job), context.account)
    if vote is None:
        raise LookupError("the seat of a checked vote is gone")
    return vote
