"""SubmitJob: a contractor publishes a job and locks bounty, verify fees and network fee. Needs an owner key."""

from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, epochs, errors, events, keys, limits
from abci_app.protocol.accounts import edit_standing, get_standing
from abci_app.protocol.committee import get_slices
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.jobs import compute_escrow, compute_network_fee
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.text import check_text

WORK_SCOPE = False

_DIGEST_MARK: Final = "@sha256:"
_DIGEST_CHARS: Final = 64


def check_stateless(message: pb.SubmitJob) -> None:
    """Raise BadImage, BadText, BadNeeds or what is wrong with a fee or a loss by itself."""
    _check_image(message.image)
    if message.eval_image:
        _check_image(message.eval_image)
    check_text(message.title, limits.MAX_TITLE_BYTES)
    check_text(message.about, limits.MAX_ABOUT_BYTES)
    check_text(message.metric, limits.MAX_METRIC_BYTES)
    if message.verify_fee > limits.MAX_VERIFY_FEE:
        raise errors.BadVerifyFee
    _check_losses(message)
    _check_needs(message.needs)


def _check_image(image: str) -> None:
    """Raise BadImage unless this is a name pinned by a digest in lower-case hex."""
    try:
        check_text(image, limits.MAX_IMAGE_BYTES)
    except errors.BadText:
        raise errors.BadImage from None
    name, mark, digest = image.rpartition(_DIGEST_MARK)
    if not name or not mark or len(digest) != _DIGEST_CHARS or not all(char in "0123456789abcdef" for char in digest):
        raise errors.BadImage


def _check_losses(message: pb.SubmitJob) -> None:
    if message.tolerance > limits.MAX_MARGIN:
        raise errors.BadTolerance
    if not limits.MIN_BAN_MARGIN_TOLERANCES * message.tolerance <= message.ban_margin <= limits.MAX_MARGIN:
        raise errors.BadBanMargin
    if not message.tolerance < message.min_improvement <= limits.MAX_MARGIN:
        raise errors.BadMinImprovement
    if abs(message.loss_ceiling) > limits.MAX_LOSS:
        raise errors.BadLossCeiling


def _check_needs(needs: pb.TrainingNeeds) -> None:
    check_text(needs.accelerator, limits.MAX_ACCELERATOR_BYTES)
    bounds = (
        (needs.milli_cpus, limits.MAX_MILLI_CPUS),
        (needs.memory_mib, limits.MAX_MIB),
        (needs.disk_mib, limits.MAX_MIB),
        (needs.gpus, limits.MAX_GPUS),
        (needs.gpu_memory_mib, limits.MAX_GPU_MIB),
        (needs.seconds, limits.MAX_TRAIN_SECONDS),
    )
    if any(value > bound for value, bound in bounds):
        raise errors.BadNeeds


def check_stateful(state: StateRead, context: TxContext, message: pb.SubmitJob) -> None:
    """Raise what the chain's parameters, the contractor's account or the checker table say against the job."""
    params = context.block.params
    _check_price(params, message)
    _check_places(params, message)
    _check_times(context.block, message)
    if message.tolerance < params.min_tolerance:
        raise errors.BadTolerance
    if get_standing(state, context.account).open_jobs >= params.max_open_jobs:
        raise errors.TooManyOpenJobs
    credits.check_balance(state, context.account, _compute_escrow(params, message))
    _check_checkers(state, context.account, message.job_class)


def _check_price(params: state_pb2.Params, message: pb.SubmitJob) -> None:
    if not params.min_bounty <= message.bounty <= limits.MAX_INT64:
        raise errors.BadBounty
    if message.job_class >= len(params.classes):
        raise errors.UnknownClass
    if message.verify_fee < params.classes[message.job_class].min_verify_fee:
        raise errors.BadVerifyFee
    if message.deposit and not message.verify_fee <= message.deposit <= message.bounty:
        raise errors.BadDeposit


def _check_places(params: state_pb2.Params, message: pb.SubmitJob) -> None:
    if message.runner_ups > params.max_runner_ups:
        raise errors.BadRunnerUps
    places = 1 + message.runner_ups
    if message.free_places > places or (message.deposit == 0 and message.free_places != places):
        raise errors.BadFreePlaces


def _check_times(block: BlockContext, message: pb.SubmitJob) -> None:
    params = block.params
    if not params.min_job_ms <= message.expiry_ms - block.time_ms <= params.max_job_ms:
        raise errors.BadExpiry
    if not params.min_reveal_window_ms <= message.reveal_window_ms <= params.max_reveal_window_ms:
        raise errors.BadRevealWindow


def _check_checkers(state: StateRead, contractor: bytes, job_class: int) -> None:
    """Raise TooFewCheckers unless others of the class hold a third of all bond: a small account must not be a jury."""
    table = epochs.get_current_table(state)
    able = get_slices(table, job_class)
    others = able.total - able.get_bond(contractor)
    if others == 0 or 3 * others < get_slices(table, 0).total:
        raise errors.TooFewCheckers


def _compute_escrow(params: state_pb2.Params, message: pb.SubmitJob) -> int:
    return compute_escrow(params, message.bounty, message.runner_ups, message.verify_fee)


def execute(state: StateWrite, context: TxContext, message: pb.SubmitJob) -> None:
    """Create the job with the next id and lock its credits."""
    block = context.block
    counters = state.edit(keys.COUNTERS, state_pb2.Counters)
    job = state.edit(keys.job(counters.next_job_id), state_pb2.Job)
    job.id = counters.next_job_id
    counters.next_job_id += 1
    job.contractor = context.account
    job.terms.CopyFrom(message)
    job.state = state_pb2.JOB_STATE_OPEN
    job.bounty = message.bounty
    job.network_fee = compute_network_fee(block.params, message.bounty)
    job.submitted_ms = job.window_opened_ms = block.time_ms
    job.submitted_height = block.height
    job.deadline_ms = message.expiry_ms
    credits.escrow(state, context.account, job, _compute_escrow(block.params, message))
    standing = edit_standing(state, context.account)
    standing.jobs_posted += 1
    standing.open_jobs += 1
    state.record(events.job_submitted(job.id, context.account, job.bounty, message.job_class, job.deadline_ms))
