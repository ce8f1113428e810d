"""The durable store: one LMDB environment, one write transaction per block.

A Commit opens, fills and commits its transaction in the calling thread (LMDB's writer lock belongs to a thread) and is
on the disk when it returns. Reads come from read transactions pinned at the Commits of the last two heights, so they
never wait for a Commit and never see half of one.
"""

from __future__ import annotations  # lmdb's classes are generic in its stubs only

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import lmdb

from abci_app.protocol.keys import STORES
from abci_app.protocol.tree import PageSource, compute_app_hash, get_roots
from abci_app.protocol.tree_page import EMPTY_HASH
from abci_app.store.free_pages import FreePages
from abci_app.store.interface import (
    PINNED_HEIGHTS,
    HeightNotHeldError,
    Meta,
    StagedBlock,
    StoreDamagedError,
    StoreError,
    View,
    Writes,
    check_base,
)
from abci_app.store.layout import locate_records
from abci_app.store.lmdb_view import (
    Databases,
    LmdbPages,
    LmdbView,
    naming_damage,
    write_meta,
    write_upper_digits,
)
from abci_app.store.upper_pages import UpperPages, deepen

SCHEMA_VERSION: Final = 2
"""Layout of the store on disk; a store with another one is refused."""
INITIAL_MAP_BYTES: Final = 64 * 2**30
"""Address space reserved at first. Disk is used only for what is stored; a full map is doubled."""
MAX_READERS: Final = 64
"""Read transactions at once; the store itself needs PINNED_HEIGHTS and what queries hold on to."""

_LOCK_NAME: Final = "lock"
_NO_ADDRESS_SPACE: Final = (
    "address space for the store {folder} was refused: {error}. Raise the process's limit ('ulimit -v unlimited') and "
    "start the node again: nothing was lost"
)
_SCHEMA: Final = b"schema"


class LmdbStore:
    """See interface.Store."""

    def __init__(self, folder: Path, map_bytes: int = INITIAL_MAP_BYTES) -> None:
        """Open the store in `folder`, made if missing. Raises StoreError."""
        self._folder = folder
        self._lock = Lock()
        self._lock_file = _lock_folder(folder)
        try:
            self._environment = _open_environment(folder, map_bytes)
            try:
                self._databases = _open_databases(self._environment, folder)
                self._views = [_open_view(self._environment, self._databases, folder)]
                self._free_pages = FreePages(self._environment, self._databases)
            except BaseException:
                self._environment.close()
                raise
        except BaseException:
            os.close(self._lock_file)
            raise
        self._lent: list[LmdbView] = []  # older ones that are still in use

    @property
    def meta(self) -> Meta:
        """Facts of the last committed block."""
        return self._views[-1].meta

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        try:
            return self._views[-1].get(key)
        except HeightNotHeldError:  # blocks were committed between finding the view and reading from it
            with self._lock:
                return self._views[-1].get(key)

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""
        with self._hold() as view:
            return view.get_page(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        with self._hold() as view:
            yield from view.scan(start, end)

    def records(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield all records whose state key begins with `prefix`, in the order of their paths."""
        with self._hold() as view:
            yield from view.records(prefix)

    def commit(self, block: StagedBlock) -> None:
        """Write one block durably, or nothing of it. Raises StoreError."""
        check_base(block, self.meta)
        while (upper := self._write(block)) is None:
            self._grow()
        view = LmdbView(self._environment, self._databases, upper)
        with self._lock:
            self._views.append(view)
            while len(self._views) > PINNED_HEIGHTS:
                self._retire(self._views.pop(0))

    def heights(self) -> tuple[int, ...]:
        """Return the heights `view` can give, ascending."""
        with self._lock:
            return tuple(view.meta.height for view in self._views if view.meta.height)

    def view(self, height: int) -> AbstractContextManager[View]:
        """Hold the state of a height for a while. Entering raises HeightNotHeldError."""
        return self._hold(height)

    @contextmanager
    def _hold(self, height: int | None = None) -> Iterator[LmdbView]:
        """Hold the view of a height, or the last one, so that Commits do not end it."""
        with self._lock:
            view = self._views[-1] if height is None else self._find(height)
            view.users += 1
        try:
            yield view
        finally:
            with self._lock:
                view.users -= 1
                if not view.users and view in self._lent:
                    self._lent.remove(view)
                    view.close()

    def _find(self, height: int) -> LmdbView:
        held = {view.meta.height: view for view in self._views if view.meta.height}
        if height not in held:
            raise HeightNotHeldError(height, tuple(held))
        return held[height]

    @contextmanager
    def pages(self) -> Iterator[PageSource]:
        """Hold the tree's pages of the last committed height for one thread."""
        with naming_damage(self._environment), self._environment.begin() as txn:
            yield LmdbPages(txn, self._databases, self._views[-1].upper)

    def close(self) -> None:
        """Release everything. Nothing may be called afterwards."""
        with self._lock:
            for view in [*self._lent, *self._views]:
                view.close()
        self._free_pages.release()
        self._environment.close()
        os.close(self._lock_file)

    def _write(self, block: StagedBlock) -> UpperPages | None:
        """Try to write a block; return its upper pages, or None if there was no room in the map."""
        databases, before = self._databases, self._views[-1].upper
        stored_pages = {name: page for name, page in block.pages.items() if not before.covers(name)}
        try:
            with self._environment.begin(write=True) as txn:
                _apply(txn, databases.state, {**stored_pages, **locate_records(block.records)})
                _apply(txn, databases.index, block.index)
                write_meta(txn, databases, block.meta)
                upper = deepen(txn, databases.state, before.apply(block.pages))
                if upper.digits != before.digits:
                    write_upper_digits(txn, databases, upper.digits)
        except lmdb.MapFullError:
            return None
        except lmdb.Error as error:
            raise StoreError(
                f"block {block.meta.height} could not be written to {self._folder}: {error}. If the disk is full or a "
                "quota is reached, make room and start the node again: nothing was lost, it continues with this block"
            ) from error
        self._free_pages.adjust()
        return upper

    def _grow(self) -> None:
        """Double the map. LMDB allows that only without transactions, so pinned ones are released; that of the last
        committed height comes back at once, and the one before would end with the Commit that asked for room anyway."""
        size = self._environment.info()["map_size"]
        with self._lock:
            *older, last = self._views
            for view in [*self._lent, *older]:
                view.close()
            self._lent, self._views = [], [last]
            self._free_pages.release()
            try:
                with last.suspend():
                    self._environment.set_mapsize(2 * size)
            except lmdb.Error as error:  # the map is gone, so nothing may be read any more
                raise StoreError(_NO_ADDRESS_SPACE.format(folder=self._folder, error=error)) from error

    def _retire(self, view: LmdbView) -> None:
        if view.users:
            self._lent.append(view)
        else:
            view.close()


def _lock_folder(folder: Path) -> int:
    """Make the folder if missing and return an open file that says it is in use, until closed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be opened: {error.strerror}; check path and owner") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreError(
            f"the store {folder} is in use by process {owner}: stop that node, or give this one its own folder"
        ) from error
    except OSError as error:
        os.close(lock)
        raise StoreError(f"the store {folder} cannot be locked: {error.strerror}; check free space and disk") from error
    return lock


def _open_environment(folder: Path, map_bytes: int) -> lmdb.Environment:
    try:
        environment = lmdb.open(
            str(folder), map_size=map_bytes, mode=0o600, max_dbs=3, max_readers=MAX_READERS, readahead=False
        )
        _extend(environment, folder / "data.mdb")
        return environment
    except lmdb.MemoryError as error:
        raise StoreError(_NO_ADDRESS_SPACE.format(folder=folder, error=error)) from error
    except lmdb.Error as error:
        raise StoreError(
            f"{folder} holds no readable store: {error}. If owner and free space are right, move the folder away and "
            "start the node again: it builds the state anew from CometBFT's blocks"
        ) from error


def _extend(environment: lmdb.Environment, file: Path) -> None:
    """Let the file reach to the last page that LMDB counts.

    It may end before that, since pages that came free in their own transaction are never written. But if it was cut
    off, a read behind its end would kill the process with SIGBUS; a page of zeros is found to be damaged.
    """
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        os.truncate(file, needed)


def _open_view(environment: lmdb.Environment, databases: Databases, folder: Path) -> LmdbView:
    """Return the view of the last committed height. Raises StoreDamagedError if its tree has another app hash."""
    with naming_damage(environment):
        view = LmdbView(environment, databases)
        roots = get_roots(view)
    hashes = {compute_app_hash(roots)} | ({view.upper.compute_app_hash()} if view.upper.digits else set())
    if hashes != {view.meta.app_hash if view.meta.height else compute_app_hash([EMPTY_HASH] * len(STORES))}:
        view.close()
        raise StoreDamagedError(folder, "the state tree does not have the app hash of the last block")
    return view


def _open_databases(environment: lmdb.Environment, folder: Path) -> Databases:
    """Return the named databases, made in an empty environment. Raises StoreError for another layout or no room."""
    try:
        with environment.begin(write=True) as txn, naming_damage(environment):
            databases = Databases(*(environment.open_db(name, txn) for name in (b"state", b"index", b"meta")))
            found = txn.get(_SCHEMA, db=databases.meta)
            if found is None:
                txn.put(_SCHEMA, SCHEMA_VERSION.to_bytes(4, "big"), db=databases.meta)
    except lmdb.Error as error:  # of the end of the transaction: only an empty environment is written
        raise StoreError(
            f"the store {folder} could not be made: {error}. If the disk is full, make room and start the node again"
        ) from error
    if found is None:
        return databases
    version = int.from_bytes(found, "big")
    if version != SCHEMA_VERSION:
        other = "newer" if version > SCHEMA_VERSION else "older"
        raise StoreError(
            f"the store {folder} has layout {version}, this version of the node reads {SCHEMA_VERSION}: run the "
            f"{other} version that wrote it, or move the folder away to build the state anew from CometBFT's blocks"
        )
    return databases


def _apply(txn: lmdb.Transaction[bytes], database: Any, writes: Writes) -> None:
    """Write one key space in key order, which spares the search from one page of LMDB to the next."""
    with txn.cursor(database) as cursor:
        cursor.putmulti(sorted((key, value) for key, value in writes.items() if value is not None))
    for key, value in writes.items():
        if value is None:
            txn.delete(key, db=database)
