"""What a store of committed state does, whatever it is made of.

A store holds four key spaces and a few facts: records (hashed into the app hash), the index derived from them (never
hashed), the pages of the Merkle tree, and `Meta`. A block reaches it in two steps: `stage` computes everything in
memory, `Store.commit` writes it in one step that either happens or does not.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from abci_app.protocol.tree import PageSource, update_state

Writes = Mapping[bytes, bytes | None]
"""New values by key; None deletes."""

PINNED_HEIGHTS: Final = 2
"""How many committed heights a store can answer proved queries for."""


class StoreError(Exception):
    """A store cannot be opened, read or written; the text says what to do next."""


class StoreDamagedError(StoreError):
    """What is stored cannot be what was written: no answer can be trusted any more."""

    def __init__(self, folder: Path, finding: object) -> None:
        """Say what was found in which folder."""
        super().__init__(
            f"the store {folder} is damaged: {finding}. Stop the node, move the folder away and start it again: it "
            "builds the state anew from CometBFT's blocks. If that comes again, test the disk and the memory"
        )


class HeightNotHeldError(LookupError):
    """The state of this height is not, or no longer, held."""

    def __init__(self, height: int, held: tuple[int, ...]) -> None:
        """Name the heights one can ask for instead."""
        instead = " or ".join(str(one) for one in held) or "none yet: wait for the first block"
        super().__init__(f"the state of height {height} is not held; heights that are: {instead}")


@dataclass(frozen=True, slots=True)
class Meta:
    """Facts of the last committed block."""

    chain_id: str
    chain_tag: bytes
    height: int
    """0: nothing was ever committed."""
    app_hash: bytes
    time_ms: int
    """Block time."""


NOTHING_COMMITTED: Final = Meta(chain_id="", chain_tag=b"", height=0, app_hash=b"", time_ms=0)


@dataclass(frozen=True, slots=True)
class StagedBlock:
    """Everything one Commit will write, made by `stage`."""

    base_height: int
    """Height of the store it was computed on."""
    meta: Meta
    records: Writes
    index: Writes
    pages: Writes


class View(Protocol):
    """The committed state of one height, unchanging."""

    @property
    def meta(self) -> Meta:
        """Facts of the block this state is from."""

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""

    def records(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records whose state key begins with `prefix`, in whatever order they are stored."""


class Store(View, Protocol):
    """Committed state; its own reads are those of the last committed height.

    Reads may come from any thread. `commit` may come from any one thread at a time, and other threads see the state
    from before it or from after it.
    """

    def commit(self, block: StagedBlock) -> None:
        """Write one block durably, or nothing of it.

        Raises StoreError when the block was staged on another height or the disk has no room; the store then still
        holds the state from before.
        """

    def heights(self) -> tuple[int, ...]:
        """Return the heights `view` can give, ascending: the last committed one and, if held, the one before."""

    def view(self, height: int) -> AbstractContextManager[View]:
        """Hold the state of a height for a while. Raises HeightNotHeldError."""

    def pages(self) -> AbstractContextManager[PageSource]:
        """Hold the tree's pages of the last committed height for one thread, without the cost of sharing them."""

    def close(self) -> None:
        """Release everything. Nothing may be called afterwards."""


def check_base(block: StagedBlock, meta: Meta) -> None:
    """Raise StoreError unless the block was staged on exactly this committed state and leads beyond it."""
    if block.base_height != meta.height or block.meta.height <= meta.height:
        raise StoreError(
            f"block {block.meta.height} was computed on height {block.base_height}, but the store is at height "
            f"{meta.height}: restart the node, it will replay what is missing"
        )


def stage(
    store: Store, records: Writes, index: Writes, *, height: int, time_ms: int, chain_id: str, chain_tag: bytes
) -> StagedBlock:
    """Compute what committing a block would write, its app hash among it (`.meta.app_hash`); writes nothing.

    `records` and `index` hold all changes since the store's last Commit, also those of InitChain if there was none.
    """
    with store.pages() as pages:
        tree = update_state(pages, records)
    meta = Meta(chain_id, chain_tag, height, tree.app_hash, time_ms)
    return StagedBlock(store.meta.height, meta, records, index, tree.page_writes)
