"""Where an announcement ranks and who stays in the list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.ranking import compute_ranked_loss, is_leading, place

STEP = 10


def candidate(name: str, ranked: int, secured: bool = False, height: int = 1, loss: int | None = None) -> pb.Candidate:
    return pb.Candidate(
        account=name.encode(), loss=ranked if loss is None else loss, ranked_loss=ranked, secured=secured, height=height
    )


def names(candidates: list[pb.Candidate]) -> str:
    return "".join(found.account.decode() for found in candidates)


def test_in_an_empty_list_every_loss_leads() -> None:
    assert is_leading([], b"x", 2**62, STEP)
    assert compute_ranked_loss([], b"x", 2**62, STEP) == 2**62


def test_to_lead_the_leader_must_be_undercut_by_the_minimum_improvement() -> None:
    held = [candidate("a", 100)]
    assert is_leading(held, b"x", 90, STEP)
    assert not is_leading(held, b"x", 91, STEP)


def test_the_leaders_loss_is_its_ranked_loss() -> None:
    """A leader that once was held back by another one's loss is beaten at its ranked, not its announced loss."""
    held = [candidate("a", 100, loss=95)]
    assert is_leading(held, b"x", 90, STEP)


def test_the_leader_lowers_its_own_loss_by_one() -> None:
    held = [candidate("a", 100), candidate("b", 100)]
    assert is_leading(held, b"a", 99, STEP)
    assert compute_ranked_loss(held, b"a", 99, STEP) == 99


def test_a_small_step_ranks_as_the_largest_loss_it_does_not_undercut() -> None:
    held = [candidate("a", 100), candidate("b", 105), candidate("c", 120)]
    assert compute_ranked_loss(held, b"x", 95, STEP) == 100
    assert compute_ranked_loss(held, b"x", 96, STEP) == 105
    assert compute_ranked_loss(held, b"x", 110, STEP) == 110
    assert compute_ranked_loss(held, b"x", 111, STEP) == 120
    assert compute_ranked_loss(held, b"x", 200, STEP) == 200


def test_behind_the_leader_too_the_ranked_losses_count_not_the_announced_ones() -> None:
    held = [candidate("a", 100), candidate("b", 130, loss=120)]
    assert compute_ranked_loss(held, b"x", 120, STEP) == 120
    assert compute_ranked_loss(held, b"x", 121, STEP) == 130


def test_ones_own_earlier_candidacy_does_not_hold_one_back() -> None:
    held = [candidate("a", 100), candidate("x", 105)]
    assert compute_ranked_loss(held, b"x", 104, STEP) == 104


def test_small_steps_never_pass_the_leader() -> None:
    """Ninety-nine accounts each one below the last: all rank with the leader, behind it."""
    held = [candidate("a", 100)]
    for number in range(1, 100):
        account = b"%d" % number
        loss = 100 - number % STEP
        ranked = compute_ranked_loss(held, account, loss, STEP)
        assert ranked == 100
        new = pb.Candidate(account=account, loss=loss, ranked_loss=ranked, height=1 + number)
        held = place(held, new, 5, 5).kept
        assert held[0].account == b"a"


def test_order_is_ranked_loss_then_height_then_index() -> None:
    held = [candidate("a", 100, height=5)]
    later = pb.Candidate(account=b"b", ranked_loss=100, height=5, index=1)
    earlier = pb.Candidate(account=b"c", ranked_loss=100, height=4, index=9)
    assert names(place(place(held, later, 9, 9).kept, earlier, 9, 9).kept) == "cab"


def test_only_the_best_are_kept() -> None:
    held = [candidate("a", 100), candidate("b", 110)]
    placement = place(held, candidate("c", 105), 2, 2)
    assert (names(placement.kept), names(placement.left)) == ("ac", "b")


def test_free_places_are_for_the_best_unsecured() -> None:
    held = [candidate("a", 100), candidate("S", 110, secured=True), candidate("T", 120, secured=True)]
    placement = place(held, candidate("b", 90), 3, 1)
    assert (names(placement.kept), names(placement.left)) == ("bST", "a")


def test_a_secured_one_takes_the_place_of_the_last_whoever_that_is() -> None:
    held = [candidate("a", 100), candidate("S", 110, secured=True)]
    assert names(place(held, candidate("T", 105, secured=True), 2, 1).kept) == "aT"


def test_a_new_announcement_replaces_the_earlier_one() -> None:
    held = [candidate("a", 100), candidate("b", 110)]
    placement = place(held, candidate("b", 90), 2, 2)
    assert (names(placement.kept), placement.left) == ("ba", [])


ENTRIES = st.tuples(st.integers(0, 6), st.integers(-30, 30), st.booleans())


@settings(max_examples=200, deadline=None)
@given(
    announcements=st.lists(ENTRIES, max_size=30),
    places=st.integers(1, 5),
    free=st.integers(0, 5),
    step=st.integers(2, 9),
)
def test_the_list_stays_sorted_within_its_places_and_never_exceeds_the_free_ones(
    announcements: list[tuple[int, int, bool]], places: int, free: int, step: int
) -> None:
    held: list[pb.Candidate] = []
    for height, (number, loss, secured) in enumerate(announcements):
        account = bytes([number])
        ranked = compute_ranked_loss(held, account, loss, step)
        assert ranked >= loss
        leads = is_leading(held, account, loss, step)
        leader = held[0].account if held else b""
        new = pb.Candidate(account=account, loss=loss, ranked_loss=ranked, secured=secured, height=height)
        kept, left = place(held, new, places, min(free, places))
        if leader != account and kept and kept[0].account != leader and new in kept:
            assert leads
        assert len(kept) <= places
        assert sum(not found.secured for found in kept) <= min(free, places)
        assert kept == sorted(kept, key=lambda c: (c.ranked_loss, c.height, c.index))
        assert len({found.account for found in [*kept, *left]}) == len(kept) + len(left)
        if new in kept:
            held = kept
