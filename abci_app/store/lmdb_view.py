"""Reads of the durable store at one height, from one pinned read transaction."""

from __future__ import annotations  # lmdb's classes are generic in its stubs only

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import lmdb
from lmdb import Environment, Transaction

from abci_app.protocol.tree import TreeError
from abci_app.store.interface import NOTHING_COMMITTED, HeightNotHeldError, Meta, StoreDamagedError
from abci_app.store.layout import MAX_UPPER_DIGITS, get_letter, get_record_key, locate_record
from abci_app.store.upper_pages import UpperPages, load_upper_pages

CHUNK_ENTRIES: Final = 256
"""How many entries an iteration reads under one hold of the lock."""

_UPPER_DIGITS: Final = b"upper_digits"


class Databases(NamedTuple):
    """Handles of the named databases of an environment."""

    state: Any
    """Records and pages of the tree, see layout."""
    index: Any
    meta: Any


def read_meta(txn: Transaction[bytes], databases: Databases) -> Meta:
    """Return the facts of the last committed block as `txn` sees them. Raises TreeError for what cannot be such."""
    height = txn.get(b"height", db=databases.meta)
    if height is None:
        return NOTHING_COMMITTED
    facts = dict(txn.cursor(databases.meta))
    try:
        return Meta(
            chain_id=facts[b"chain_id"].decode(),
            chain_tag=facts[b"chain_tag"],
            height=int.from_bytes(height, "big"),
            app_hash=facts[b"app_hash"],
            time_ms=int.from_bytes(facts[b"time_ms"], "big"),
        )
    except (KeyError, UnicodeDecodeError) as error:
        raise TreeError(f"the facts of the last block are no such: {error}") from error


def write_meta(txn: Transaction[bytes], databases: Databases, meta: Meta) -> None:
    """Store the facts of a block."""
    facts = {
        b"chain_id": meta.chain_id.encode(),
        b"chain_tag": meta.chain_tag,
        b"height": meta.height.to_bytes(8, "big"),
        b"app_hash": meta.app_hash,
        b"time_ms": meta.time_ms.to_bytes(8, "big"),
    }
    for key, value in facts.items():
        txn.put(key, value, db=databases.meta)


def read_upper_digits(txn: Transaction[bytes], databases: Databases) -> int:
    """Return how deep the pages reach that are not on the disk. Raises TreeError for what cannot be written."""
    digits = int.from_bytes(txn.get(_UPPER_DIGITS, b"", db=databases.meta), "big")
    if digits > MAX_UPPER_DIGITS:
        raise TreeError(f"upper pages of {digits} digits are more than {MAX_UPPER_DIGITS}")
    return digits


def write_upper_digits(txn: Transaction[bytes], databases: Databases, digits: int) -> None:
    """Store how deep the pages reach that are not on the disk."""
    txn.put(_UPPER_DIGITS, bytes((digits,)), db=databases.meta)


@contextmanager
def naming_damage(environment: Environment) -> Iterator[None]:
    """Raise StoreDamagedError for whatever LMDB, or the state tree, finds wrong in what it reads."""
    try:
        yield
    except (lmdb.Error, TreeError) as error:
        raise StoreDamagedError(Path(environment.path()), error) from error


class LmdbPages:
    """Pages of the tree from a transaction of one thread, and from memory."""

    __slots__ = ("_get_stored", "_get_upper")

    def __init__(self, txn: Transaction[bytes], databases: Databases, upper: UpperPages) -> None:
        """Bind the reads."""
        self._get_upper = upper.by_name.get
        self._get_stored: Callable[[bytes], bytes | None] = partial(txn.get, db=databases.state)

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page by its name."""
        page = self._get_upper(key)
        return self._get_stored(key) if page is None else page


class LmdbView:
    """The state of one height. A transaction serves one thread at a time, hence the lock."""

    __slots__ = ("_databases", "_environment", "_lock", "_txn", "meta", "upper", "users")

    def __init__(self, environment: Environment, databases: Databases, upper: UpperPages | None = None) -> None:
        """Pin what is committed now. Its upper pages are made from it if they are not given."""
        self.users = 0
        """Holders of this view; changed under the store's lock."""
        self._environment = environment
        self._databases = databases
        self._lock = Lock()
        self._txn: Transaction[bytes] | None = environment.begin()
        self.meta = read_meta(self._txn, databases)
        if upper is None:
            upper = load_upper_pages(self._txn, databases.state, read_upper_digits(self._txn, databases))
        self.upper = upper

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        with self._lock:
            try:
                return self._live().get(locate_record(key), db=self._databases.state)
            except lmdb.Error as error:  # naming_damage, written out: this is the hottest read
                raise StoreDamagedError(Path(self._environment.path()), error) from error

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""
        with self._lock, naming_damage(self._environment):
            txn, page = self._live(), self.upper.by_name.get(key)
            return txn.get(key, db=self._databases.state) if page is None else page

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        for key, value in self._iterate(self._databases.index, start):
            if key >= end:
                return
            yield key, value

    def records(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records whose state key begins with `prefix`, in the order of their paths."""
        store = get_letter(prefix)
        for entry, value in self._iterate(self._databases.state, store):
            if not entry.startswith(store):
                return
            key = get_record_key(entry)
            if key is not None and key.startswith(prefix):
                yield key, value

    def close(self) -> None:
        """Release the transaction; later reads raise HeightNotHeldError."""
        with self._lock:
            if self._txn is not None:
                self._txn.abort()
                self._txn = None

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Let go of the transaction for a while in which nothing is committed; readers wait."""
        with self._lock:
            self._live().abort()
            self._txn = None
            yield
            self._txn = self._environment.begin()

    def _live(self) -> Transaction[bytes]:
        if self._txn is None:
            raise HeightNotHeldError(self.meta.height, ())
        return self._txn

    def _iterate(self, database: Any, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        count = 8  # most scans want a few entries, an audit wants all
        while True:
            with self._lock, naming_damage(self._environment), self._live().cursor(database) as cursor:
                chunk = list(islice(cursor.iternext(), count)) if cursor.set_range(start) else []
                if chunk and chunk[0][0] < start:  # only in a damaged file, where this could go round for ever
                    raise TreeError(f"entry {chunk[0][0].hex()} is out of order")
            yield from chunk
            if len(chunk) < count:
                return
            start = chunk[-1][0] + b"\0"
            count = CHUNK_ENTRIES
