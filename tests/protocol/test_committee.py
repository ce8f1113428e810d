"""The draw of a committee, against a naive reading of the rule."""

from collections.abc import Sequence
from typing import overload

from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.committee import Committee, Slices, compute_committee, get_slices
from tests.model.hashes import seat_position

TAG, OPENING = b"t" * 8, b"o" * 32


def address(number: int) -> bytes:
    return number.to_bytes(20, "big")


def table(bonds: Sequence[int], classes: Sequence[int] | None = None) -> pb.CheckerTable:
    classes = [0] * len(bonds) if classes is None else classes
    entries = [
        pb.TableEntry(account=address(2 * number), bond=bond, highest_class=highest)
        for number, (bond, highest) in enumerate(zip(bonds, classes, strict=True))
    ]
    return pb.CheckerTable(entries=entries)


def turn(salt: bytes = b"s" * 32, job_id: int = 3, number: int = 1) -> pb.Round:
    return pb.Round(job_id=job_id, number=number, salt=salt)


def draw_naively(
    held: pb.CheckerTable, job_class: int, excluded: Sequence[bytes], seats: int, drawn: pb.Round
) -> Committee:
    """Walk along the bonds of those who can be drawn, seat by seat."""
    able = [e for e in held.entries if e.highest_class >= job_class and e.account not in excluded]
    bond = sum(entry.bond for entry in able)
    holders: list[bytes] = []
    for seat in range(seats if bond else 0):
        at = seat_position(TAG, drawn.job_id, drawn.number, seat, seats, OPENING, drawn.salt, bond)
        for entry in able:
            if at < entry.bond:
                holders.append(entry.account)
                break
            at -= entry.bond
    counted = tuple((account, holders.count(account)) for account in sorted(set(holders)))
    return Committee(counted, seats - len(holders), bond)


def draw(held: pb.CheckerTable, excluded: Sequence[bytes] = (), seats: int = 15, job_class: int = 0) -> Committee:
    return compute_committee(get_slices(held, job_class), excluded, seats, TAG, turn(), OPENING)


def entries_up_to(bond: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(1, bond), st.integers(0, 2)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    entries=entries_up_to(10**12) | entries_up_to(2),  # of small bonds nearly every point is where one ends
    excluded=st.lists(st.integers(0, 80), max_size=6),
    seats=st.integers(1, 31),
    job_class=st.integers(0, 2),
    salt=st.binary(min_size=32, max_size=32),
)
def test_the_draw_equals_the_naive_one(
    entries: list[tuple[int, int]], excluded: list[int], seats: int, job_class: int, salt: bytes
) -> None:
    held = table([bond for bond, _ in entries], [highest for _, highest in entries])
    out, drawn = [address(number) for number in excluded], turn(salt)
    committee = compute_committee(get_slices(held, job_class), out, seats, TAG, drawn, OPENING)
    assert committee == draw_naively(held, job_class, out, seats, drawn)


def test_without_drawable_bond_every_seat_is_empty() -> None:
    assert draw(table([])) == Committee((), 15, 0)
    assert draw(table([5, 7]), [address(0), address(2)]) == Committee((), 15, 0)
    assert draw(table([5], [0]), job_class=1) == Committee((), 15, 0)


def test_each_account_gets_its_share_of_the_seats_give_or_take_the_slices_at_its_edges() -> None:
    bonds = [100, 300, 50, 550]
    for salt in range(50):
        drawn = turn(salt.to_bytes(32, "big"))
        committee = compute_committee(get_slices(table(bonds), 0), [], 31, TAG, drawn, OPENING)
        seats = dict(committee.seats)
        for number, bond in enumerate(bonds):
            assert abs(seats.get(address(2 * number), 0) - 31 * bond / 1_000) < 2


def test_splitting_a_bond_over_neighbouring_keys_changes_nothing() -> None:
    whole = draw(table([100, 600, 300]))
    entries = [(0, 100), (2, 200), (3, 400), (4, 300)]
    split = pb.CheckerTable(entries=[pb.TableEntry(account=address(n), bond=bond) for n, bond in entries])
    seats = dict(draw(split).seats)
    assert seats.get(address(2), 0) + seats.get(address(3), 0) == dict(whole.seats)[address(2)]


def test_the_draw_depends_on_job_round_salt_and_opening_block() -> None:
    slices = get_slices(table([1] * 1_000), 0)
    draws = {
        compute_committee(slices, [], 31, TAG, drawn, opening).seats
        for drawn, opening in [
            (turn(), OPENING),
            (turn(job_id=4), OPENING),
            (turn(number=2), OPENING),
            (turn(salt=b"x" * 32), OPENING),
            (turn(), b"p" * 32),
        ]
    }
    assert len(draws) == 5


def test_prefix_sums_are_made_once_for_a_table() -> None:
    held = table([1, 2, 3])
    assert get_slices(held, 0) is get_slices(held, 0)


def test_tables_of_the_same_epoch_on_two_chains_are_told_apart() -> None:
    first, second = table([1, 2]), table([5, 5, 5])
    assert [get_slices(held, 0).total for held in (first, second, first)] == [3, 15, 3]


def test_only_so_many_prefix_sums_are_remembered() -> None:
    held = [table([number]) for number in range(100)]
    first = get_slices(held[0], 0)
    assert all(get_slices(each, 0).total == number for number, each in enumerate(held))
    assert get_slices(held[0], 0) is not first


def test_remembered_prefix_sums_never_outlive_their_table() -> None:
    """Tables come and go, so that addresses of objects are used again: each still gives its own sums."""
    for number in range(1, 200):
        assert get_slices(table([number]), 0).total == number


class CountingSums(Sequence[int]):
    """Prefix sums that count how often they are read."""

    def __init__(self, sums: Sequence[int]) -> None:
        self.sums, self.reads = sums, 0

    def __len__(self) -> int:
        return len(self.sums)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        self.reads += 1
        return self.sums[index]


def test_a_draw_reads_the_logarithm_of_the_table_for_each_seat() -> None:
    size, seats = 4_096, 31
    plain = get_slices(table([7] * size), 0)
    counting = CountingSums(plain.ends)
    slices = Slices(plain.accounts, counting)  # type: ignore[arg-type]
    committee = compute_committee(slices, [address(2 * n) for n in (5, 9, 4_000)], seats, TAG, turn(), OPENING)
    assert sum(count for _, count in committee.seats) == seats
    assert counting.reads <= seats * (12 + 1 + 3 * 3) + 20
