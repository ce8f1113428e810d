"""The windows of REVEAL, VOTE and TALLY: how long they are, and when one runs once more."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import events
from abci_app.protocol.context import BlockContext
from abci_app.protocol.jobs import get_class, get_round
from abci_app.protocol.limits import MIB
from abci_app.protocol.outages import get_outage_end
from abci_app.protocol.state import StateRead, StateWrite


def compute_window_ms(params: pb.Params, job: pb.Job, round_: pb.Round) -> int:
    """Return the full window of the job's present state, in ms."""
    if job.state == pb.JOB_STATE_REVEAL:
        return job.terms.reveal_window_ms
    if job.state == pb.JOB_STATE_TALLY:
        return params.tally_window_ms
    evaluation = get_class(params, job)
    model_mib = (round_.size + MIB - 1) // MIB
    return (
        params.vote_window_ms
        + 3 * 1_000 * evaluation.seconds
        + params.vote_image_ms_per_mib * evaluation.image_mib
        + params.vote_model_ms_per_mib * model_mib
    )


def open_window(context: BlockContext, job: pb.Job, round_: pb.Round, job_state: pb.JobState) -> None:
    """Enter REVEAL, VOTE or TALLY: the window is counted from the time of this block."""
    job.state = job_state
    job.window_opened_ms = context.time_ms
    job.renewed = False
    job.deadline_ms = context.time_ms + compute_window_ms(context.params, job, round_)


def must_renew(state: StateRead, context: BlockContext, job: pb.Job) -> bool:
    """Tell whether the window that is over runs once more: the chain stood still in it, or the quorum is missing."""
    if job.renewed:
        return False
    if get_outage_end(state) > job.window_opened_ms:
        return True
    return job.state != pb.JOB_STATE_REVEAL and not _has_quorum(state, context.params, job)


def renew_window(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Let the window run once more, counted from this block; only the deadline changes."""
    job.renewed = True
    job.deadline_ms = context.time_ms + compute_window_ms(context.params, job, get_round(state, job))
    state.record(events.job_window_renewed(job.id, job.round, job.deadline_ms))


def _has_quorum(state: StateRead, params: pb.Params, job: pb.Job) -> bool:
    """VOTE counts committed seats, TALLY revealed ones."""
    votes = get_round(state, job).votes
    if job.state == pb.JOB_STATE_VOTE:
        seats = sum(vote.seats for vote in votes if vote.commitment)
    else:
        seats = sum(vote.seats for vote in votes if vote.finding)
    return 10_000 * seats >= params.quorum_bps * params.committee_seats
