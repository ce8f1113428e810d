"""RevealVote{job, round, finding, loss, receipt, salt}: a seated account says what it found. A work key may send it."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors, limits
from abci_app.protocol.conduct import end_silence
from abci_app.protocol.context import TxContext
from abci_app.protocol.hashing import compute_vote_commitment
from abci_app.protocol.jobs import edit_job
from abci_app.protocol.seats import edit_own_vote, get_own_vote
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.voting import close_tally_if_complete

WORK_SCOPE = True


def check_stateless(message: pb.RevealVote) -> None:
    """Raise BadVote or BadSalt."""
    if not _fits_finding(message):
        raise errors.BadVote
    if len(message.salt) != limits.SALT_BYTES:
        raise errors.BadSalt


def _fits_finding(message: pb.RevealVote) -> bool:
    """Tell whether the finding may carry this loss and this receipt.

    A measured loss outside the range of announced ones is the reserved one: no other could share a cluster with it.
    """
    has_receipt_form = len(message.receipt) in (0, limits.DIGEST_BYTES)
    if message.finding == pb.FINDING_MEASURED:
        return has_receipt_form and (abs(message.loss) <= limits.MAX_LOSS or message.loss == limits.RESERVED_LOSS)
    if message.finding == pb.FINDING_OVERRUN:
        return has_receipt_form and message.loss == 0
    is_known = message.finding in (pb.FINDING_UNAVAILABLE, pb.FINDING_UNRUNNABLE)
    return is_known and message.loss == 0 and not message.receipt


def check_stateful(state: StateRead, context: TxContext, message: pb.RevealVote) -> None:
    """Raise what `get_own_vote` does, NotCommitted, AlreadyRevealed or VoteMismatch."""
    vote = get_own_vote(state, context, message.job_id, message.round, state_pb2.JOB_STATE_TALLY)
    if not vote.commitment:
        raise errors.NotCommitted
    if vote.finding:
        raise errors.AlreadyRevealed
    opened = compute_vote_commitment(
        context.block.chain_tag,
        message.job_id,
        message.round,
        context.account,
        message.finding,
        message.loss,
        message.receipt,
        message.salt,
    )
    if vote.commitment != opened:
        raise errors.VoteMismatch


def execute(state: StateWrite, context: TxContext, message: pb.RevealVote) -> None:
    """Keep the vote; the last one decides the round."""
    job = edit_job(state, message.job_id)
    vote = edit_own_vote(state, context, job)
    vote.finding = message.finding
    vote.loss = message.loss
    vote.receipt = message.receipt
    end_silence(state, context.account, context.block.time_ms)
    close_tally_if_complete(state, context.block, job)
