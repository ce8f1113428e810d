"""The outcome of a round: the table of section 7, as one pure function."""

from tests.model.records import RESERVED_LOSS, Vote

HONEST, WORSE, LIE = "honest", "worse", "lie"


def judge(vote: Vote, announced: int, tolerance: int, ban_margin: int) -> str:
    """Return what the chain makes of a revealed vote: honest, worse, lie, unavailable or unrunnable."""
    if vote.finding in ("UNAVAILABLE", "UNRUNNABLE"):
        return vote.finding.lower()
    if vote.finding == "OVERRUN":
        return WORSE
    if vote.loss <= announced + tolerance:
        return HONEST
    return WORSE if vote.loss <= announced + ban_margin else LIE


def find_cluster(votes: list[Vote], tolerance: int) -> list[Vote]:
    """Return the MEASURED ones of the bad votes that lie within the tolerance of their lower median seat."""
    losses = sorted(vote.loss for vote in votes if vote.finding == "MEASURED" for _ in range(vote.seats))
    if not losses:
        return []
    median = losses[(len(losses) - 1) // 2]
    return [v for v in votes if v.finding == "MEASURED" and abs(v.loss - median) <= tolerance]


def seats_of(votes: list[Vote]) -> int:
    """Return how many seats these votes hold."""
    return sum(vote.seats for vote in votes)


def find_payable(votes: list[Vote], row_pays_reserved: bool) -> list[Vote]:
    """Return those of a row's votes that are paid: with a receipt, and the common one if more than half carry it."""
    crashed = [v for v in votes if v.loss == RESERVED_LOSS and row_pays_reserved]
    receipted = [v for v in votes if v.loss != RESERVED_LOSS and v.receipt]
    for receipt in {v.receipt for v in receipted}:
        same = [v for v in receipted if v.receipt == receipt]
        if 2 * seats_of(same) > seats_of(receipted):
            return crashed + same
    return crashed + receipted


def find_outcome(
    votes: list[Vote],
    announced: int,
    tolerance: int,
    ban_margin: int,
    seats: int,
    quorum_bps: int,
    drawable: int,
    class_bond: int,
) -> tuple[str, list[Vote]]:
    """Return the outcome of a round and the votes that its row pays. `votes` may hold unrevealed ones."""
    revealed = [v for v in votes if v.finding]
    kinds = [(v, judge(v, announced, tolerance, ban_margin)) for v in revealed]
    bad = [v for v, kind in kinds if kind in (WORSE, LIE)]
    lies = [v for v, kind in kinds if kind == LIE]
    cluster = find_cluster(bad, tolerance)
    liecluster = [v for v in cluster if v in lies]
    failed = seats_of(bad) + seats_of([v for v, kind in kinds if kind == "unavailable"])
    r, lying = seats_of(revealed), seats_of(liecluster)
    if 10_000 * r < quorum_bps * seats:
        return "UNVERIFIED", []
    if 2 * seats_of([v for v, kind in kinds if kind == "unrunnable"]) > r:
        return "FAULTY_JOB", []
    if 3 * lying > 2 * r and 2 * lying * drawable > seats * class_bond:
        return "CONVICTED", find_payable(liecluster, True)
    if 2 * failed > r and 3 * failed > seats:
        return "REJECTED", find_payable(cluster, True)
    if 2 * failed > r:
        return "UNVERIFIED", []
    return "ACCEPTED", find_payable([v for v, kind in kinds if kind == HONEST], False)


AGREED = {
    "ACCEPTED": (HONEST,),
    "REJECTED": (WORSE, LIE, "unavailable"),
    "CONVICTED": (WORSE, LIE),
    "FAULTY_JOB": ("unrunnable",),
}
"""Which judgements count as agreed; the others of such a round are outvoted, all other outcomes count neither."""
