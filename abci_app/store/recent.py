"""The records that blocks read and wrote lately, in memory.

A transaction needs the same accounts when it is admitted, proposed and carried out, and those behind it in the mempool
when they are checked again. Each time a look into the store would cost a hash, a search and cold memory.
"""

from collections.abc import Iterator
from typing import Final

from abci_app.store.interface import Store, Writes

MAX_RECORDS: Final = 50_000
"""Records remembered: more than those that the transactions of a mempool of 20 000 and of a block name."""
MAX_VALUE_BYTES: Final = 256
"""Of a record to be remembered: an account with a few keys is below it, what is larger is asked for less often."""


class RecentRecords:
    """The state after the last Commit, as the store has it, but without looking up there what is known.

    For one thread, and for a store to which nothing else commits.
    """

    __slots__ = ("_limit", "_records", "_store")

    def __init__(self, store: Store, limit: int = MAX_RECORDS) -> None:
        """Begin with nothing remembered; `limit` is in records."""
        self._store = store
        self._limit = limit
        self._records: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        try:
            return self._records[key]
        except KeyError:
            record = self._store.get(key)
            self._remember(key, record)
            return record

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        return self._store.scan(start, end)

    def follow(self, writes: Writes) -> None:
        """Take over what a block has changed; to be called right after its Commit."""
        for key, record in writes.items():
            self._remember(key, record)

    def _remember(self, key: bytes, record: bytes | None) -> None:
        if record is not None and len(record) > MAX_VALUE_BYTES:
            self._records.pop(key, None)
            return
        if len(self._records) >= self._limit:
            self._records.clear()
        self._records[key] = record
