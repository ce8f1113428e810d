"""What the chain has against an announcement is known before a model is evaluated."""

from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.limits import MAX_CANDIDACIES
from abci_app.protocol.params import get_params
from learningchain.announcing import BEST_LOSS, find_objection
from learningchain.client import AccountView, JobView

ME, OTHER = b"m" * 20, b"o" * 20
NOW_MS = 1_000_000
PARAMS = get_params("devnet")
OWN = {"account": ME, "loss": 500, "ranked_loss": 500}


def ask(**changed: Any) -> type[errors.TxError] | None:
    """Ask about a job and an account that nothing is known against, but for what is changed."""
    job = pb.Job(id=1, state=pb.JOB_STATE_OPEN, contractor=OTHER, deadline_ms=NOW_MS + 1)
    job.terms.deposit = changed.pop("deposit", 100)
    job.terms.free_places = changed.pop("free_places", 1)
    job.terms.min_improvement = 10
    account, standing = pb.Account(balance=100), pb.Standing()
    secured, loss = changed.pop("secured", False), changed.pop("loss", BEST_LOSS)
    job.candidates.extend(pb.Candidate(**entry) for entry in changed.pop("candidates", ()))
    records: tuple[Any, ...] = (job, account, standing)
    for name, value in changed.items():
        owner = next(record for record in records if name in record.DESCRIPTOR.fields_by_name)
        setattr(owner, name, value)
    me = AccountView(ME, account, standing, pb.Profile(), 5)
    return find_objection(JobView(job, (), 5), me, NOW_MS, PARAMS, secured, loss)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"banned": True}, errors.AccountBanned),
        ({"state": pb.JOB_STATE_PAID}, errors.JobNotOpen),
        ({"deadline_ms": NOW_MS}, errors.JobExpired),
        ({"contractor": ME}, errors.OwnJob),
        ({"suspended_until_ms": NOW_MS + 1}, errors.AccountSuspended),
        ({"secured": True, "deposit": 0}, errors.NotSecurable),
        ({"candidates": [OWN | {"secured": True}]}, errors.SecuredStays),
        ({"secured": True, "deposit": 101}, errors.InsufficientBalance),
        ({"candidacies": MAX_CANDIDACIES}, errors.TooManyCandidacies),
        ({"unsecured_candidacies": PARAMS.open_candidacies}, errors.TooManyUnsecured),
        ({"candidates": [OWN], "loss": 500}, errors.NotImproved),
        ({"free_places": 0}, errors.WouldNotRank),
        ({"candidates": [OWN | {"account": OTHER}], "loss": 491}, errors.WouldNotRank),
    ],
)
def test_each_reason_to_refuse_is_found(changed: dict[str, Any], reason: type[errors.TxError]) -> None:
    assert ask(**changed) is reason


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"suspended_until_ms": NOW_MS},
        {"secured": True},
        {"secured": True, "free_places": 0},
        {"candidates": [OWN], "loss": 499},
        {"candidates": [OWN], "candidacies": MAX_CANDIDACIES, "unsecured_candidacies": PARAMS.open_candidacies},
        {"candidates": [OWN | {"secured": True}], "secured": True, "balance": 0},
        {"unsecured_candidacies": PARAMS.open_candidacies, "secured": True},
        {"unsecured_candidacies": PARAMS.open_candidacies, "wins": 1},
        {"candidates": [OWN | {"account": OTHER}], "loss": 490},
    ],
)
def test_what_the_chain_takes_is_not_objected_to(changed: dict[str, Any]) -> None:
    assert ask(**changed) is None
