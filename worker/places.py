"""Whether an announcement would take a place in a job's list, by the chain's own ranking."""

from dataclasses import dataclass

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MAX_CANDIDACIES
from abci_app.protocol.ranking import compute_ranked_loss, is_leading, place
from worker.policy import Policy
from worker.view import ChainView


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list: `position` counted from 0, and whether the job's deposit is locked for it."""

    position: int
    secured: bool


def find_place(policy: Policy, view: ChainView, job: pb.Job, loss: int) -> Place | None:
    """Return the place that `loss` (1e-9) would take now, unsecured if possible; None if it would be refused."""
    own = view.get_candidacy(job.id)
    if loss > job.terms.loss_ceiling or (own is not None and loss >= own.loss):
        return None
    leads = is_leading(job.candidates, view.me.address, loss, job.terms.min_improvement)
    if job.terms.runner_ups == 0 and not leads:
        return None
    if own is None and view.me.standing.candidacies >= MAX_CANDIDACIES:
        return None
    for secured in (False, True):
        if _may_stand(policy, view, job, own, secured):
            position = _find_position(view, job, loss, secured)
            if position is not None:
                return Place(position, secured)
    return None


def _may_stand(policy: Policy, view: ChainView, job: pb.Job, own: pb.Candidate | None, secured: bool) -> bool:
    if own is not None and own.secured:
        return secured  # the deposit is locked already
    if secured:
        affordable = min(policy.max_deposit, view.me.account.balance)
        return 0 < job.terms.deposit <= affordable
    standing = view.me.standing
    return own is not None or standing.unsecured_candidacies < view.params.open_candidacies + standing.wins


def _find_position(view: ChainView, job: pb.Job, loss: int, secured: bool) -> int | None:
    terms = job.terms
    ranked = compute_ranked_loss(job.candidates, view.me.address, loss, terms.min_improvement)
    new = pb.Candidate(
        account=view.me.address, loss=loss, ranked_loss=ranked, height=view.height + 1, index=0, secured=secured
    )
    kept = place(job.candidates, new, 1 + terms.runner_ups, terms.free_places).kept
    return next((i for i, candidate in enumerate(kept) if candidate.account == view.me.address), None)
