"""The outcome of a round: a pure function of what its revealed seats found.

Every reason why doubt pays the candidate and silence never bans is in this table; change a row only with an ADR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import RESERVED_LOSS


class Judgement(Enum):
    """What the chain makes of a vote."""

    HONEST = auto()
    WORSE = auto()
    LIE = auto()
    UNAVAILABLE = auto()
    UNRUNNABLE = auto()


@dataclass(frozen=True, slots=True)
class Ballot:
    """The revealed vote of one account for all its seats; `loss` in 1e-9, `receipt` empty or 32 bytes."""

    seats: int
    finding: int
    loss: int
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Measure:
    """What the ballots are held against. Losses in 1e-9, bonds in ucredit.

    `seats` is S, empty seats included; `drawable_bond` is W, `class_bond` is T.
    """

    announced: int
    tolerance: int
    ban_margin: int
    seats: int
    quorum_bps: int
    drawable_bond: int
    class_bond: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, and for each ballot how it was judged and whether its seats are paid."""

    outcome: pb.Outcome
    judgements: tuple[Judgement, ...]
    paid: tuple[bool, ...]


_BAD: Final = (Judgement.WORSE, Judgement.LIE)
_AGREED: Final = {
    pb.OUTCOME_FAULTY_JOB: (Judgement.UNRUNNABLE,),
    pb.OUTCOME_CONVICTED: _BAD,
    pb.OUTCOME_REJECTED: (*_BAD, Judgement.UNAVAILABLE),
    pb.OUTCOME_ACCEPTED: (Judgement.HONEST,),
}
DEPOSIT_OUTCOMES: Final = (pb.OUTCOME_CONVICTED, pb.OUTCOME_REJECTED)
"""Outcomes in which the candidate's deposit pays the seats first and its rest is burned."""


def compute_judgement(ballot: Ballot, measure: Measure) -> Judgement:
    """Return what the chain makes of a ballot: the chain judges, not the voter."""
    if ballot.finding == tx_pb2.FINDING_UNAVAILABLE:
        return Judgement.UNAVAILABLE
    if ballot.finding == tx_pb2.FINDING_UNRUNNABLE:
        return Judgement.UNRUNNABLE
    if ballot.finding == tx_pb2.FINDING_OVERRUN:
        return Judgement.WORSE
    if ballot.loss <= measure.announced + measure.tolerance:
        return Judgement.HONEST
    return Judgement.WORSE if ballot.loss <= measure.announced + measure.ban_margin else Judgement.LIE


def is_agreed(outcome: pb.Outcome, judgement: Judgement) -> bool | None:
    """Tell whether a ballot found what was decided; None where the outcome says nothing about the ballots."""
    agreed = _AGREED.get(outcome)
    return None if agreed is None else judgement in agreed


def compute_decision(ballots: Sequence[Ballot], measure: Measure) -> Decision:
    """Decide a round. `ballots` are the revealed votes; seats that said nothing count in `measure.seats` only."""
    judgements = tuple(compute_judgement(ballot, measure) for ballot in ballots)
    cluster = _find_cluster(ballots, judgements, measure.tolerance)
    liecluster = [is_in and judged is Judgement.LIE for is_in, judged in zip(cluster, judgements, strict=True)]
    outcome = _find_outcome(ballots, judgements, liecluster, measure)
    owed = {
        pb.OUTCOME_CONVICTED: liecluster,
        pb.OUTCOME_REJECTED: cluster,
        pb.OUTCOME_ACCEPTED: [judged is Judgement.HONEST for judged in judgements],
    }.get(outcome, [False] * len(ballots))
    return Decision(outcome, judgements, _find_paid(ballots, owed))


def _find_outcome(
    ballots: Sequence[Ballot], judgements: Sequence[Judgement], liecluster: Sequence[bool], measure: Measure
) -> pb.Outcome:
    """Test the rows of the table in order."""
    revealed = sum(ballot.seats for ballot in ballots)
    seats = dict.fromkeys(Judgement, 0)
    for ballot, judged in zip(ballots, judgements, strict=True):
        seats[judged] += ballot.seats
    lying = _count_seats(ballots, liecluster)
    against = seats[Judgement.WORSE] + seats[Judgement.LIE] + seats[Judgement.UNAVAILABLE]
    if 10_000 * revealed < measure.quorum_bps * measure.seats:
        return pb.OUTCOME_UNVERIFIED
    if 2 * seats[Judgement.UNRUNNABLE] > revealed:
        return pb.OUTCOME_FAULTY_JOB
    if 3 * lying > 2 * revealed and 2 * lying * measure.drawable_bond > measure.seats * measure.class_bond:
        return pb.OUTCOME_CONVICTED
    if 2 * against > revealed:
        return pb.OUTCOME_REJECTED if 3 * against > measure.seats else pb.OUTCOME_UNVERIFIED
    return pb.OUTCOME_ACCEPTED


def _find_cluster(ballots: Sequence[Ballot], judgements: Sequence[Judgement], tolerance: int) -> list[bool]:
    """Mark the measured bad ballots within `tolerance` of their lower median, one value for each seat."""
    bad = [
        ballot.finding == tx_pb2.FINDING_MEASURED and judged in _BAD
        for ballot, judged in zip(ballots, judgements, strict=True)
    ]
    losses = sorted(b.loss for b, is_bad in zip(ballots, bad, strict=True) if is_bad for _ in range(b.seats))
    if not losses:
        return bad
    median = losses[(len(losses) - 1) // 2]
    return [is_bad and abs(b.loss - median) <= tolerance for b, is_bad in zip(ballots, bad, strict=True)]


def _find_paid(ballots: Sequence[Ballot], owed: Sequence[bool]) -> tuple[bool, ...]:
    """Mark the ballots that are paid among those a row owes to: those with proof that they ran the model.

    The proof is the receipt of the predictions; a run that crashed (reserved loss, so always a lie) may have none. A
    receipt that more than half of the others carry is the one that evaluation gives, so the rest made theirs up.
    """
    crashed = [is_owed and ballot.loss == RESERVED_LOSS for ballot, is_owed in zip(ballots, owed, strict=True)]
    proved = [
        is_owed and not has_crashed and bool(ballot.receipt)
        for ballot, is_owed, has_crashed in zip(ballots, owed, crashed, strict=True)
    ]
    common = _find_common_receipt(ballots, proved)
    return tuple(
        has_crashed or (is_proved and common in (b"", ballot.receipt))
        for ballot, has_crashed, is_proved in zip(ballots, crashed, proved, strict=True)
    )


def _find_common_receipt(ballots: Sequence[Ballot], proved: Sequence[bool]) -> bytes:
    """Return the receipt that more than half of the marked seats carry, empty if there is none."""
    seats: dict[bytes, int] = {}
    for ballot, is_proved in zip(ballots, proved, strict=True):
        if is_proved:
            seats[ballot.receipt] = seats.get(ballot.receipt, 0) + ballot.seats
    total = sum(seats.values())
    return next((receipt for receipt, count in seats.items() if 2 * count > total), b"")


def _count_seats(ballots: Sequence[Ballot], marked: Sequence[bool]) -> int:
    return sum(ballot.seats for ballot, is_marked in zip(ballots, marked, strict=True) if is_marked)
