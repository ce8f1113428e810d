"""Reveal{job, model digest, size, salt, locations}: the candidate whose turn it is names its model. A work key may."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors, events, limits
from abci_app.protocol.context import TxContext
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.jobs import edit_job, edit_round, get_class, get_job
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.text import check_text
from abci_app.protocol.voting import open_vote

WORK_SCOPE = True


def check_stateless(message: pb.Reveal) -> None:
    """Raise BadDigest, BadSalt or BadLocations."""
    if len(message.model_digest) != limits.DIGEST_BYTES:
        raise errors.BadDigest
    if len(message.salt) != limits.SALT_BYTES:
        raise errors.BadSalt
    if len(message.locations) > limits.MAX_LOCATIONS or not all(message.locations):
        raise errors.BadLocations
    try:
        for location in message.locations:
            check_text(location, limits.MAX_LOCATION_BYTES)
    except errors.BadText:
        raise errors.BadLocations from None


def check_stateful(state: StateRead, context: TxContext, message: pb.Reveal) -> None:
    """Raise UnknownJob, NotInReveal, DeadlinePassed, NotYourTurn, CommitmentMismatch or ModelTooLarge."""
    job = get_job(state, message.job_id)
    if job.state != state_pb2.JOB_STATE_REVEAL:
        raise errors.NotInReveal
    if context.block.time_ms >= job.deadline_ms:
        raise errors.DeadlinePassed
    candidate = job.candidates[0]
    if candidate.account != context.account:
        raise errors.NotYourTurn
    opened = compute_model_commitment(
        context.block.chain_tag, job.id, context.account, message.model_digest, message.salt
    )
    if candidate.commitment != opened:
        raise errors.CommitmentMismatch
    if not 1 <= message.size <= get_class(context.block.params, job).model_mib * limits.MIB:
        raise errors.ModelTooLarge


def execute(state: StateWrite, context: TxContext, message: pb.Reveal) -> None:
    """Remember the model and open the VOTE."""
    job = edit_job(state, message.job_id)
    round_ = edit_round(state, job)
    round_.model_digest = message.model_digest
    round_.size = message.size
    round_.salt = message.salt
    round_.locations.extend(message.locations)
    round_.revealed_ms = context.block.time_ms
    state.record(events.job_revealed(job.id, job.round, context.account, message.model_digest, message.size))
    open_vote(state, context.block, job)
