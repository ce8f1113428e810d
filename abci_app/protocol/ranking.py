"""The list of candidates: where an announcement ranks, who stays and who leaves. Pure functions over candidates."""

from collections.abc import Sequence
from typing import NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb


class Placement(NamedTuple):
    """The list after an announcement: who is kept, best first, and who leaves."""

    kept: list[pb.Candidate]
    left: list[pb.Candidate]


def is_leading(candidates: Sequence[pb.Candidate], account: bytes, loss: int, min_improvement: int) -> bool:
    """Tell whether `loss` takes or keeps the lead: the leader may lower its own loss by any amount."""
    if not candidates or candidates[0].account == account:
        return True
    return loss <= candidates[0].ranked_loss - min_improvement


def compute_ranked_loss(candidates: Sequence[pb.Candidate], account: bytes, loss: int, min_improvement: int) -> int:
    """Return the loss that orders the announcement.

    One that does not lead ranks no better than any other candidate that it does not undercut by `min_improvement`:
    otherwise many small steps would pass everybody without one real improvement.
    """
    if is_leading(candidates, account, loss, min_improvement):
        return loss
    others = [candidate.ranked_loss for candidate in candidates if candidate.account != account]
    return max([loss, *(ranked for ranked in others if loss > ranked - min_improvement)])


def place(candidates: Sequence[pb.Candidate], new: pb.Candidate, places: int, free_places: int) -> Placement:
    """Put `new` into the list, in the place of the same account's earlier candidacy.

    Kept are the best `places`, at most `free_places` of them unsecured, taken in the order of (ranked loss, height,
    index).
    """
    others = [candidate for candidate in candidates if candidate.account != new.account]
    kept: list[pb.Candidate] = []
    left: list[pb.Candidate] = []
    free = free_places
    for candidate in sorted([*others, new], key=_get_order):
        if len(kept) < places and (candidate.secured or free > 0):
            kept.append(candidate)
            free -= not candidate.secured
        else:
            left.append(candidate)
    return Placement(kept, left)


def _get_order(candidate: pb.Candidate) -> tuple[int, int, int]:
    return candidate.ranked_loss, candidate.height, candidate.index
