"""Reading and writing jobs and their rounds, and what follows from a job's terms."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors, keys
from abci_app.protocol.state import StateRead, StateWrite

UNSETTLED = (pb.JOB_STATE_OPEN, pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)
"""The states of a job that still holds credits; each has a deadline and a default outcome."""
SETTLED = (pb.JOB_STATE_PAID, pb.JOB_STATE_REFUNDED, pb.JOB_STATE_EXPIRED, pb.JOB_STATE_CANCELLED)
"""The states in which a job ends."""


def get_job(state: StateRead, job_id: int) -> pb.Job:
    """Return a job that a message names, not to be changed. Raises UnknownJob."""
    job = state.get(keys.job(job_id), pb.Job)
    if job is None:
        raise errors.UnknownJob
    return job


def get_open_job(state: StateRead, job_id: int, now_ms: int) -> pb.Job:
    """Return a job that still takes announcements. Raises UnknownJob, JobNotOpen or JobExpired."""
    job = get_job(state, job_id)
    if job.state != pb.JOB_STATE_OPEN:
        raise errors.JobNotOpen
    if now_ms >= job.deadline_ms:
        raise errors.JobExpired
    return job


def edit_job(state: StateWrite, job_id: int) -> pb.Job:
    """Return the layer's own copy of a job. Raises LookupError if there is none: a broken invariant."""
    key = keys.job(job_id)
    if state.get(key, pb.Job) is None:
        raise LookupError(f"job {job_id} is not in the state")
    return state.edit(key, pb.Job)


def get_round(state: StateRead, job: pb.Job) -> pb.Round:
    """Return the present round of a job, not to be changed. Raises LookupError if no turn ever began."""
    found = state.get(keys.round_(job.id, job.round), pb.Round)
    if found is None:
        raise LookupError(f"job {job.id} has no round {job.round}")
    return found


def edit_round(state: StateWrite, job: pb.Job) -> pb.Round:
    """Return the layer's own copy of the present round of a job."""
    get_round(state, job)
    return state.edit(keys.round_(job.id, job.round), pb.Round)


def get_class(params: pb.Params, job: pb.Job) -> pb.EvaluationClass:
    """Return the evaluation class of a job."""
    return params.classes[job.terms.job_class]


def compute_network_fee(params: pb.Params, bounty: int) -> int:
    """Return the network fee on the whole bounty, in ucredit, rounded down."""
    return bounty * params.network_fee_bps // 10_000


def compute_escrow(params: pb.Params, bounty: int, runner_ups: int, verify_fee: int) -> int:
    """Return what a contractor locks: bounty, a verify fee for every possible round, and the network fee."""
    return bounty + (1 + runner_ups) * verify_fee + compute_network_fee(params, bounty)


def find_candidate(job: pb.Job, account: bytes) -> pb.Candidate | None:
    """Return the candidacy of an account in a job, if it has one."""
    for candidate in job.candidates:
        if candidate.account == account:
            return candidate
    return None


def find_vote(round_: pb.Round, account: bytes) -> pb.Vote | None:
    """Return what a seated account has said in a round; None without a seat."""
    for vote in round_.votes:
        if vote.account == account:
            return vote
    return None
