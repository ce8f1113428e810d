"""Announce{job, loss, commitment, secured}: an account stands for a job with a loss it has reached. A work key may."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, epochs, errors, events, limits
from abci_app.protocol.accounts import edit_standing, get_standing
from abci_app.protocol.committee import get_slices
from abci_app.protocol.conduct import is_suspended
from abci_app.protocol.context import TxContext
from abci_app.protocol.jobs import edit_job, find_candidate, get_open_job
from abci_app.protocol.ranking import Placement, compute_ranked_loss, is_leading, place
from abci_app.protocol.settlement import count_leaving, return_deposit
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = True


def check_stateless(message: pb.Announce) -> None:
    """Raise BadLoss or BadCommitment."""
    if abs(message.loss) > limits.MAX_LOSS:
        raise errors.BadLoss
    if len(message.commitment) != limits.DIGEST_BYTES:
        raise errors.BadCommitment


def check_stateful(state: StateRead, context: TxContext, message: pb.Announce) -> None:
    """Raise what the job, the account's candidacies or the list say against the announcement."""
    job = get_open_job(state, message.job_id, context.block.time_ms)
    if job.contractor == context.account:
        raise errors.OwnJob
    if is_suspended(state, context.account, context.block.time_ms):
        raise errors.AccountSuspended
    if message.loss > job.terms.loss_ceiling:
        raise errors.BadLoss
    own = find_candidate(job, context.account)
    _check_security(state, context, job, own, message)
    if own is None:
        _check_candidacies(state, context, message)
    elif message.loss >= own.loss:
        raise errors.NotImproved
    _check_place(state, context, job, message)


def _check_security(
    state: StateRead,
    context: TxContext,
    job: state_pb2.Job,
    own: state_pb2.Candidate | None,
    message: pb.Announce,
) -> None:
    """Raise NotSecurable, SecuredStays or InsufficientBalance.

    A candidacy could otherwise push others out with its deposit, take it back, and hold the place for nothing.
    """
    if message.secured and not job.terms.deposit:
        raise errors.NotSecurable
    was_secured = own is not None and own.secured
    if was_secured and not message.secured:
        raise errors.SecuredStays
    if message.secured and not was_secured:
        credits.check_balance(state, context.account, job.terms.deposit)


def _check_candidacies(state: StateRead, context: TxContext, message: pb.Announce) -> None:
    standing = get_standing(state, context.account)
    if standing.candidacies >= limits.MAX_CANDIDACIES:
        raise errors.TooManyCandidacies
    allowed = context.block.params.open_candidacies + standing.wins
    if not message.secured and standing.unsecured_candidacies >= allowed:
        raise errors.TooManyUnsecured


def _check_place(state: StateRead, context: TxContext, job: state_pb2.Job, message: pb.Announce) -> None:
    """Raise NotLeading, WouldNotRank or NoCheckersLeft."""
    leads = is_leading(job.candidates, context.account, message.loss, job.terms.min_improvement)
    if not job.terms.runner_ups and not leads:
        raise errors.NotLeading
    kept = _place(job, _make_candidate(context, job, message)).kept
    if not any(candidate.account == context.account for candidate in kept):
        raise errors.WouldNotRank
    able = get_slices(epochs.get_current_table(state), job.terms.job_class)
    taken = able.find_all([job.contractor, *(candidate.account for candidate in kept)])
    if len(taken) == len(able.accounts):
        raise errors.NoCheckersLeft


def _make_candidate(context: TxContext, job: state_pb2.Job, message: pb.Announce) -> state_pb2.Candidate:
    """Return the candidacy as announced, with the deposit it has locked already."""
    own = find_candidate(job, context.account)
    return state_pb2.Candidate(
        account=context.account,
        loss=message.loss,
        ranked_loss=compute_ranked_loss(job.candidates, context.account, message.loss, job.terms.min_improvement),
        height=context.block.height,
        index=context.index,
        commitment=message.commitment,
        secured=message.secured,
        deposit=own.deposit if own else 0,
    )


def _place(job: state_pb2.Job, new: state_pb2.Candidate) -> Placement:
    return place(job.candidates, new, 1 + job.terms.runner_ups, job.terms.free_places)


def execute(state: StateWrite, context: TxContext, message: pb.Announce) -> None:
    """Put the candidate into the list; those who leave get their deposit back."""
    job = edit_job(state, message.job_id)
    new = _make_candidate(context, job, message)
    _count_candidacy(state, find_candidate(job, context.account), new)
    if new.secured and not new.deposit:
        credits.lock_deposit(state, context.account, new, job.terms.deposit)
    placement = _place(job, new)
    for candidate in placement.left:
        return_deposit(state, context.block, candidate)
        count_leaving(state, candidate)
    del job.candidates[:]
    job.candidates.extend(placement.kept)
    job.announced = True
    job.announcements += 1
    position = [candidate.account for candidate in job.candidates].index(context.account)
    state.record(events.job_announced(job.id, context.account, new.loss, new.ranked_loss, position))


def _count_candidacy(state: StateWrite, own: state_pb2.Candidate | None, new: state_pb2.Candidate) -> None:
    """Count a new candidacy, or one that is secured from now on."""
    standing = edit_standing(state, new.account)
    if own is None:
        standing.candidacies += 1
        standing.unsecured_candidacies += not new.secured
    elif new.secured and not own.secured:
        standing.unsecured_candidacies -= 1
