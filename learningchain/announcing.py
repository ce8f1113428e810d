"""What the chain has against an announcement or its reveal, found before it costs time.

A model's evaluation can take many minutes, and the wait for a turn days. The checks of announcements are those of the
message (`abci_app.protocol.messages.announce`) and of its envelope, as far as records tell. The chain decides: it may
know better by the time the transaction arrives.
"""

from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.jobs import find_candidate
from abci_app.protocol.limits import MAX_CANDIDACIES, MAX_LOSS
from abci_app.protocol.ranking import compute_ranked_loss, place
from learningchain.client.interface import AccountView, JobView

BEST_LOSS: Final = -MAX_LOSS
"""Stands for the loss that is not measured yet."""
LASTING: Final = frozenset(
    reason.code
    for reason in (
        errors.TooLarge,
        errors.Undecodable,
        errors.NotCanonical,
        errors.BadFieldLength,
        errors.WrongChain,
        errors.UnknownKey,
        errors.KeyRemoved,
        errors.KeyExpired,
        errors.ScopeTooSmall,
        errors.AccountBanned,
        errors.BadSignature,
        errors.CommitmentMismatch,
        errors.ModelTooLarge,
        errors.BadDigest,
        errors.BadSalt,
        errors.BadLocations,
        errors.NotSupported,
    )
)
"""Why a Reveal is refused, where waiting changes nothing: another key, another command or nothing at all helps.

Nonces, quotas and the mempool's places come free, a window may be renewed, and a node that is behind catches up.
"""


def find_objection(
    view: JobView, me: AccountView, now_ms: int, params: pb.Params, secured: bool, loss: int = BEST_LOSS
) -> type[errors.TxError] | None:
    """Return why the account `me` cannot announce `loss` for a job, None if nothing is known against it."""
    job, own = view.job, find_candidate(view.job, me.address)
    new_deposit = job.terms.deposit if secured and not (own is not None and own.secured) else 0
    objections = {
        errors.AccountBanned: me.account.banned,
        errors.JobNotOpen: job.state != pb.JOB_STATE_OPEN,
        errors.JobExpired: now_ms >= job.deadline_ms,
        errors.OwnJob: job.contractor == me.address,
        errors.AccountSuspended: now_ms < me.standing.suspended_until_ms,
        errors.NotSecurable: secured and not job.terms.deposit,
        errors.SecuredStays: own is not None and own.secured and not secured,
        errors.InsufficientBalance: me.account.balance < new_deposit,
        errors.TooManyCandidacies: own is None and me.standing.candidacies >= MAX_CANDIDACIES,
        errors.TooManyUnsecured: own is None and not secured and not _has_free_candidacy(me.standing, params),
        errors.NotImproved: own is not None and loss >= own.loss,
        errors.WouldNotRank: not _would_rank(view, me.address, secured, loss),
    }
    return next((reason for reason, is_so in objections.items() if is_so), None)


def _has_free_candidacy(standing: pb.Standing, params: pb.Params) -> bool:
    return standing.unsecured_candidacies < params.open_candidacies + standing.wins


def _would_rank(view: JobView, account: bytes, secured: bool, loss: int) -> bool:
    job = view.job
    ranked_loss = compute_ranked_loss(job.candidates, account, loss, job.terms.min_improvement)
    new = pb.Candidate(account=account, loss=loss, ranked_loss=ranked_loss, height=view.height + 1, secured=secured)
    kept = place(job.candidates, new, 1 + job.terms.runner_ups, job.terms.free_places).kept
    return any(candidate.account == account for candidate in kept)
