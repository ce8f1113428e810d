"""The upper pages of the state tree, held in memory and written nowhere.

A block of some thousand changes touches nearly all of them, and each would cost a random write of the disk. They say
nothing new: at the start of a node they are made again from the pages and records below them. How deep they reach is
the number of digits in the names of the pages below; it grows with the state and never shrinks.
"""

from __future__ import annotations  # lmdb's classes are generic in its stubs only

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lmdb import Cursor, Transaction

from abci_app.protocol.keys import STORES
from abci_app.protocol.tree import MAX_KEY_BYTES, ROOTS_PAGE, TreeError, compute_app_hash, hash_leaf
from abci_app.protocol.tree_page import EMPTY_HASH, Node, get_top
from abci_app.protocol.tree_top import build_upper_pages
from abci_app.store.interface import Writes
from abci_app.store.layout import END_OF_NAMES, FIRST_STORE, MAX_UPPER_DIGITS, get_record_key

MIN_ENTRIES_PER_NAME: Final = 4
"""The upper pages reach one digit deeper when the state has this many records and pages for each name of that many
digits. A larger number leaves more of them to the disk; a smaller one takes more memory for fewer records. With 5
digits, the most, they take about 80 MB for each of the tree's stores that has millions of records."""


@dataclass(frozen=True, slots=True)
class UpperPages:
    """Those of one height; nobody changes them."""

    digits: int = 0
    """In the names of the pages right below. 0: all pages are on the disk."""
    by_name: Mapping[bytes, bytes] = field(default_factory=dict)

    def covers(self, name: bytes) -> bool:
        """Return whether a page belongs here rather than on the disk."""
        return len(name) <= self.digits and name != ROOTS_PAGE

    def apply(self, writes: Writes) -> UpperPages:
        """Return those after a block, given all its written pages."""
        changed = {name: page for name, page in writes.items() if self.covers(name)}
        if not changed:
            return self
        by_name = dict(self.by_name)  # readers of the height before keep theirs, without a lock
        for name, page in changed.items():
            if page is None:
                by_name.pop(name, None)
            else:
                by_name[name] = page
        return UpperPages(self.digits, by_name)

    def compute_app_hash(self) -> bytes:
        """Return the app hash of the state; `digits` must not be 0."""
        pages = [self.by_name.get(store[:1].encode()) for store in STORES]
        return compute_app_hash([EMPTY_HASH if page is None else get_top(page) or b"" for page in pages])


def load_upper_pages(txn: Transaction[bytes], state: Any, digits: int) -> UpperPages:
    """Make the upper pages from what is on the disk. Raises TreeError for what cannot have been written."""
    if not digits:
        return UpperPages()
    with txn.cursor(state) as cursor:
        nodes = ((name, _get_node(name, key, value)) for name, key, value in _scan_names(cursor, digits))
        return UpperPages(digits, build_upper_pages(nodes))


def deepen(txn: Transaction[bytes], state: Any, upper: UpperPages) -> UpperPages:
    """Take over further pages from the disk if the state has grown enough; `txn` is the block's own."""
    entries = txn.stat(state)["entries"]
    while upper.digits < MAX_UPPER_DIGITS and entries >= MIN_ENTRIES_PER_NAME * 16 ** (upper.digits + 1):
        with txn.cursor(state) as cursor:
            moved = {name: value for name, key, value in _scan_names(cursor, upper.digits) if key == name}
        for name in moved:
            txn.delete(name, db=state)
        upper = UpperPages(upper.digits + 1, {**upper.by_name, **moved})
    return upper


def _scan_names(cursor: Cursor[bytes], digits: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield each name of so many digits under which anything is stored, in ascending order, and the first entry there.

    Raises TreeError for an entry under no name, or out of order: in a damaged file this could go round for ever.
    """
    before = b""
    is_name = re.compile(rb"[a-z][0-9a-f]{%d}" % digits).fullmatch
    found = cursor.set_range(FIRST_STORE)
    while found:
        key, value = cursor.item()
        name = key[: digits + 1]
        if not is_name(name):
            raise TreeError(f"entry {key.hex()} is neither a record nor a page of the state tree")
        if name <= before:
            raise TreeError(f"entry {key.hex()} of the state tree is out of order")
        before = name
        yield name, key, value
        found = cursor.set_range(name + END_OF_NAMES)


def _get_node(name: bytes, key: bytes, value: bytes) -> Node:
    """Return what stands in the tree under a name, from the first entry there: its page, or its only record."""
    if key == name:
        top = get_top(value)
        if top is None:
            raise TreeError(f"page {name.decode()} of the state tree is not one")
        return top, None
    record = get_record_key(key)
    if record is None or len(record) > MAX_KEY_BYTES:
        raise TreeError(f"page {name.decode()} of the state tree is missing")
    return hash_leaf(record, value), record
