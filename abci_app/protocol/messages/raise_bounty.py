"""RaiseBounty{job, amount}: the contractor adds to the bounty, and the network fee on it. Needs an owner key."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, errors, events
from abci_app.protocol.context import TxContext
from abci_app.protocol.jobs import compute_network_fee, edit_job, get_open_job
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.RaiseBounty) -> None:
    """Raise BadAmount."""
    credits.check_amount(message.amount)


def check_stateful(state: StateRead, context: TxContext, message: pb.RaiseBounty) -> None:
    """Raise UnknownJob, JobNotOpen, JobExpired, NotContractor or InsufficientBalance."""
    job = get_open_job(state, message.job_id, context.block.time_ms)
    if job.contractor != context.account:
        raise errors.NotContractor
    added_fee = _compute_added_fee(context.block.params, job, message.amount)
    credits.check_balance(state, context.account, message.amount + added_fee)


def _compute_added_fee(params: state_pb2.Params, job: state_pb2.Job, amount: int) -> int:
    """Return what the fee on the whole bounty grows by: raising in steps costs what raising at once does."""
    return compute_network_fee(params, job.bounty + amount) - job.network_fee


def execute(state: StateWrite, context: TxContext, message: pb.RaiseBounty) -> None:
    """Lock the amount and the fee on it."""
    job = edit_job(state, message.job_id)
    added_fee = _compute_added_fee(context.block.params, job, message.amount)
    job.bounty += message.amount
    job.network_fee += added_fee
    credits.escrow(state, context.account, job, message.amount + added_fee)
    state.record(events.job_raised(job.id, context.account, job.bounty))
