"""CommitVote{job, round, commitment}: a seated account binds itself to what it found. A work key may send it."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.context import TxContext
from abci_app.protocol.jobs import edit_job
from abci_app.protocol.limits import DIGEST_BYTES
from abci_app.protocol.seats import edit_own_vote, get_own_vote
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.voting import close_vote_if_complete

WORK_SCOPE = True


def check_stateless(message: pb.CommitVote) -> None:
    """Raise BadCommitment."""
    if len(message.commitment) != DIGEST_BYTES:
        raise errors.BadCommitment


def check_stateful(state: StateRead, context: TxContext, message: pb.CommitVote) -> None:
    """Raise what `get_own_vote` does, or AlreadyCommitted."""
    vote = get_own_vote(state, context, message.job_id, message.round, state_pb2.JOB_STATE_VOTE)
    if vote.commitment:
        raise errors.AlreadyCommitted


def execute(state: StateWrite, context: TxContext, message: pb.CommitVote) -> None:
    """Keep the commitment; the last one opens the TALLY."""
    job = edit_job(state, message.job_id)
    edit_own_vote(state, context, job).commitment = message.commitment
    close_vote_if_complete(state, context.block, job)
