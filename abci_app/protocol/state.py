"""State in layers: a block's overlay over the committed state, and a delta over it for each transaction or transition.

Records are protobuf messages. A record got from a layer is shared and must not be changed; `edit` gives the layer's
own copy. Dropping a delta drops its writes and its events together. The index is never written by hand: when a delta
is applied, `indexes.py` derives the change of the index from the old and the new record.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message

from abci_app.protocol import keys
from abci_app.protocol.events import Event
from abci_app.protocol.indexes import IndexChange, compute_index_changes

R = TypeVar("R", bound=Message)
_ABSENT: Final = object()


class CommittedState(Protocol):
    """What the last Commit left: encoded records and the index, in byte order."""

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""


class EmptyState:
    """The committed state of a chain that has not begun."""

    def get(self, key: bytes) -> bytes | None:
        """Return None: there are no records."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return no entries."""
        return iter(())


class StateRead(Protocol):
    """A layer one can read."""

    def get(self, key: bytes, kind: type[R]) -> R | None:
        """Return the record under `key`, not to be changed."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end, as of the last applied delta."""


class StateWrite(StateRead, Protocol):
    """A layer one can write."""

    def edit(self, key: bytes, kind: type[R]) -> R:
        """Return this layer's own copy of a record, a fresh one if there is none."""

    def delete(self, key: bytes) -> None:
        """Remove a record."""

    def record(self, event: Event) -> None:
        """Remember an event, to be dropped with this layer."""


class BlockState:
    """The overlay of one block (or of one check or proposal) over the committed state."""

    __slots__ = (
        "_index",
        "_ordered",
        "_records",
        "_source",
        "dirty",
        "drift",
        "free_votes",
        "fresh_accounts",
        "registrations",
    )

    def __init__(self, source: CommittedState) -> None:
        """Begin an overlay without changes."""
        self._source = source
        self._records: dict[bytes, Any] = {}  # Message | None; Any, a cast at each read is not free
        self._index: dict[bytes, bytes | None] = {}
        self._ordered: dict[int, list[bytes]] = {}
        self.dirty: dict[bytes, None] = {}
        self.drift = [0, 0, 0, 0, 0]  # balances, bonds, unbonding, escrow, deposits, as the records show them
        self.registrations = 0
        self.fresh_accounts: dict[bytes, None] = {}
        self.free_votes: dict[tuple[bytes, str, int, int], None] = {}  # taken without quota (account, kind, job, round)

    def get(self, key: bytes, kind: type[R]) -> R | None:
        """Return the record under `key`, not to be changed."""
        found = self._records.get(key, _ABSENT)
        if found is not _ABSENT:
            known: R | None = found
            return known
        data = self._source.get(key)
        record = None if data is None else kind.FromString(data)
        self._records[key] = record
        return record

    def mark_changed(self, key: bytes) -> None:
        """Note that a record of the overlay itself was changed, in fields that neither index nor totals depend on."""
        self.dirty[key] = None

    def forget_unchanged(self, most: int) -> None:
        """Let go of what was only read, absent records included, if that is more than `most` records."""
        if len(self._records) > most + len(self.dirty):
            self._records = {key: self._records[key] for key in self.dirty}

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end; the overlay must not change meanwhile."""
        ordered = self._ordered.get(start[0], [])
        changed = ordered[bisect_left(ordered, start) : bisect_left(ordered, end)]
        position = 0
        for key, value in self._source.scan(start, end):
            while position < len(changed) and changed[position] < key:
                yield from self._overlaid(changed[position])
                position += 1
            if position < len(changed) and changed[position] == key:
                yield from self._overlaid(key)
                position += 1
            else:
                yield key, value
        for key in changed[position:]:
            yield from self._overlaid(key)

    def _overlaid(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        value = self._index[key]
        if value is not None:
            yield key, value

    def absorb(self, writes: Mapping[bytes, Message | None]) -> None:
        """Take over the writes of a delta and bring index and totals up to date."""
        for key, record in writes.items():
            old = self._records.get(key, _ABSENT)
            if old is _ABSENT:
                old = self.get(key, keys.get_record_type(key))
            for change in compute_index_changes(key, old, record, self.drift):
                self._put_index(change)
            self._records[key] = record
            self.dirty[key] = None

    def _put_index(self, change: IndexChange) -> None:
        key, value = change
        if key not in self._index:
            insort(self._ordered.setdefault(key[0], []), key)
        self._index[key] = value

    def get_changed_records(self) -> dict[bytes, bytes | None]:
        """Return the changed records in canonical encoding, None for removed ones."""
        out: dict[bytes, bytes | None] = {}
        for key in self.dirty:
            record = self._records[key]
            out[key] = None if record is None else record.SerializeToString(deterministic=True)
        return out

    def get_changed_index_keys(self, letter: bytes) -> Sequence[bytes]:
        """Return the index keys of one kind that were added, changed or removed, in ascending order."""
        return self._ordered.get(letter[0], ())

    def get_changed_index(self) -> dict[bytes, bytes | None]:
        """Return the changed index entries, None for removed ones."""
        return dict(self._index)


class StateDelta:
    """The writes and events of one transaction or one transition, until they are applied or dropped."""

    __slots__ = ("_parent", "_writes", "events")

    def __init__(self, parent: BlockState) -> None:
        """Begin a delta without changes."""
        self._parent = parent
        self._writes: dict[bytes, Any] = {}  # Message | None
        self.events: list[Event] = []

    def get(self, key: bytes, kind: type[R]) -> R | None:
        """Return the record under `key`, not to be changed."""
        found = self._writes.get(key, _ABSENT)
        if found is _ABSENT:
            return self._parent.get(key, kind)
        written: R | None = found
        return written

    def edit(self, key: bytes, kind: type[R]) -> R:
        """Return this delta's own copy of a record, a fresh one if there is none."""
        found: R | None = self._writes.get(key)
        if found is not None:
            return found
        copy = kind()
        if key not in self._writes:
            old = self._parent.get(key, kind)
            if old is not None:
                copy.CopyFrom(old)
        self._writes[key] = copy
        return copy

    def delete(self, key: bytes) -> None:
        """Remove a record."""
        self._writes[key] = None

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end as of before this delta."""
        return self._parent.scan(start, end)

    def record(self, event: Event) -> None:
        """Remember an event, to be dropped with this delta."""
        self.events.append(event)

    def apply(self) -> list[Event]:
        """Hand the writes to the block's overlay and return the events."""
        self._parent.absorb(self._writes)
        return self.events
