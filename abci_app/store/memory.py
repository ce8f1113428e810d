"""A store in plain dicts with nothing on disk: the oracle of the durable store's tests, and the tests' chain."""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from abci_app.protocol.tree import PageSource
from abci_app.store.interface import (
    NOTHING_COMMITTED,
    PINNED_HEIGHTS,
    HeightNotHeldError,
    Meta,
    StagedBlock,
    View,
    Writes,
    check_base,
)


class MemoryView:
    """The state of one height, as dicts that nobody changes."""

    __slots__ = ("_index", "_index_keys", "_pages", "_records", "meta")

    def __init__(
        self, meta: Meta, records: dict[bytes, bytes], index: dict[bytes, bytes], pages: dict[bytes, bytes]
    ) -> None:
        """Keep the dicts; keys of `records` and `index` are in ascending order."""
        self.meta = meta
        self._records = records
        self._index = index
        self._index_keys = list(index)
        self._pages = pages

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        return self._records.get(key)

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""
        return self._pages.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        keys = self._index_keys
        for key in keys[bisect_left(keys, start) : bisect_left(keys, end)]:
            yield key, self._index[key]

    def records(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records whose state key begins with `prefix`."""
        return ((key, value) for key, value in self._records.items() if key.startswith(prefix))

    def apply(self, block: StagedBlock) -> "MemoryView":
        """Return the state after a block."""
        return MemoryView(
            block.meta,
            _apply(self._records, block.records),
            _apply(self._index, block.index),
            _apply(self._pages, block.pages),
        )


class MemoryStore:
    """See interface.Store; a Commit lasts as long as the process."""

    def __init__(self) -> None:
        """Begin with nothing committed."""
        self._views = [MemoryView(NOTHING_COMMITTED, {}, {}, {})]

    @property
    def meta(self) -> Meta:
        """Facts of the last committed block."""
        return self._views[-1].meta

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        return self._views[-1].get(key)

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""
        return self._views[-1].get_page(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        return self._views[-1].scan(start, end)

    def records(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records whose state key begins with `prefix`."""
        return self._views[-1].records(prefix)

    def commit(self, block: StagedBlock) -> None:
        """Take over one block. Raises StoreError when it was staged on another height."""
        check_base(block, self.meta)
        self._views = [*self._views, self._views[-1].apply(block)][-PINNED_HEIGHTS:]

    def heights(self) -> tuple[int, ...]:
        """Return the heights `view` can give, ascending."""
        return tuple(view.meta.height for view in self._views if view.meta.height)

    def view(self, height: int) -> AbstractContextManager[View]:
        """Hold the state of a height for a while. Raises HeightNotHeldError."""
        for view in self._views:
            if height and view.meta.height == height:
                return nullcontext(view)
        raise HeightNotHeldError(height, self.heights())

    def pages(self) -> AbstractContextManager[PageSource]:
        """Hold the tree's pages of the last committed height."""
        return nullcontext(self)

    def close(self) -> None:
        """Forget everything."""
        self._views = []


def _apply(before: dict[bytes, bytes], writes: Writes) -> dict[bytes, bytes]:
    merged = {**before, **writes}
    return {key: value for key, value in sorted(merged.items()) if value is not None}
