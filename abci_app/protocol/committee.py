"""The committee of a round: one slice of the eligible bond for each seat, drawn from a checker table.

A table is fixed for an epoch while many Reveals draw from it, so its prefix sums are made once per table and class; a
draw then costs the logarithm of the table for each seat.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.hashing import compute_seat_draw

_REMEMBERED: Final = 16
"""Tables (times classes) whose prefix sums are remembered."""


@dataclass(frozen=True, slots=True)
class Slices:
    """The eligible accounts of a table and class in address order; `ends[i]` is the bond of the first i + 1."""

    accounts: tuple[bytes, ...]
    ends: tuple[int, ...]

    @property
    def total(self) -> int:
        """The bond of all eligible accounts, in ucredit."""
        return self.ends[-1] if self.ends else 0

    def find(self, account: bytes) -> int | None:
        """Return the position of an account, None if it is not eligible."""
        position = bisect_left(self.accounts, account)
        return position if position < len(self.accounts) and self.accounts[position] == account else None

    def get_start(self, position: int) -> int:
        """Return the bond before the account at `position`."""
        return self.ends[position - 1] if position else 0

    def get_bond(self, account: bytes) -> int:
        """Return the bond of an account, 0 if it is not eligible."""
        position = self.find(account)
        return 0 if position is None else self.ends[position] - self.get_start(position)

    def find_all(self, accounts: Iterable[bytes]) -> list[int]:
        """Return the positions of those accounts that are eligible, ascending, each once."""
        found = dict.fromkeys(self.find(account) for account in accounts)
        return sorted(position for position in found if position is not None)


@dataclass(frozen=True, slots=True)
class Committee:
    """A drawn committee: seats by account in address order, and the bond it was drawn from (W)."""

    seats: tuple[tuple[bytes, int], ...]
    empty_seats: int
    drawable_bond: int


_memo: OrderedDict[tuple[int, int], tuple[pb.CheckerTable, Slices]] = OrderedDict()


def get_slices(table: pb.CheckerTable, job_class: int) -> Slices:
    """Return the prefix sums of a table for a class.

    A memo without influence on the result: it holds the very record object, so no other one can have its id, and the
    entries of a table never change once it is stored.
    """
    key = (id(table), job_class)
    found = _memo.get(key)
    if found is None:
        found = _memo[key] = (table, _compute_slices(table, job_class))
        if len(_memo) > _REMEMBERED:
            _memo.popitem(last=False)
    return found[1]


def _compute_slices(table: pb.CheckerTable, job_class: int) -> Slices:
    accounts, ends, total = [], [], 0
    for entry in table.entries:
        if entry.highest_class >= job_class:
            total += entry.bond
            accounts.append(entry.account)
            ends.append(total)
    return Slices(tuple(accounts), tuple(ends))


def compute_committee(
    slices: Slices, excluded: Iterable[bytes], seats: int, chain_tag: bytes, round_: pb.Round, opening_hash: bytes
) -> Committee:
    """Draw `seats` seats of a revealed round among the eligible accounts that are not excluded."""
    out = slices.find_all(excluded)
    bond = slices.total - sum(slices.ends[position] - slices.get_start(position) for position in out)
    if bond == 0:
        return Committee((), seats, 0)
    drawn: dict[int, int] = {}
    for seat in range(seats):
        h = compute_seat_draw(chain_tag, round_.job_id, round_.number, seat, opening_hash, round_.salt)
        point = _skip(slices, out, ((seat << 64) + h) * bond // (seats << 64))
        position = bisect_right(slices.ends, point)
        drawn[position] = drawn.get(position, 0) + 1
    return Committee(tuple((slices.accounts[p], drawn[p]) for p in sorted(drawn)), 0, bond)


def _skip(slices: Slices, out: list[int], point: int) -> int:
    """Return the point in the whole bond that corresponds to `point` in the bond without the positions `out`."""
    for position in out:
        start = slices.get_start(position)
        if point < start:
            break
        point += slices.ends[position] - start
    return point
