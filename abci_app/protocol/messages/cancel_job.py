"""CancelJob{job}: everything goes back, only while nobody has ever announced. Needs an owner key."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.context import TxContext
from abci_app.protocol.jobs import edit_job, get_open_job
from abci_app.protocol.settlement import settle
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.CancelJob) -> None:
    """Nothing can be wrong with a job id by itself."""


def check_stateful(state: StateRead, context: TxContext, message: pb.CancelJob) -> None:
    """Raise UnknownJob, JobNotOpen, JobExpired, NotContractor or JobHasAnnouncements."""
    job = get_open_job(state, message.job_id, context.block.time_ms)
    if job.contractor != context.account:
        raise errors.NotContractor
    if job.announced:
        raise errors.JobHasAnnouncements


def execute(state: StateWrite, context: TxContext, message: pb.CancelJob) -> None:
    """Settle the job as CANCELLED."""
    settle(state, context.block, edit_job(state, message.job_id), state_pb2.JOB_STATE_CANCELLED)
