"""A damaged store is named as such, whatever is damaged, and nothing goes on with it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lmdb
import pytest

from abci_app.protocol.tree import ROOTS_PAGE, TreeError
from abci_app.store.interface import StoreDamagedError, StoreError
from abci_app.store.lmdb_store import LmdbStore
from abci_app.store.lmdb_view import LmdbView
from abci_app.store.upper_pages import _scan_names
from tests.store.test_store import commit, fill, stage_next
from tests.support.trees import compute_app_hash


@pytest.mark.parametrize(
    ("name", "value"),
    [("height", None), ("chain_id", None), ("app_hash", None), ("chain_id", b"\xff"), ("upper_digits", b"\xff" * 5)],
)
def test_facts_that_cannot_have_been_written_are_damage(tmp_path: Path, name: str, value: bytes | None) -> None:
    store = LmdbStore(tmp_path)
    commit(store, {b"a1": b"one"})
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=3) as environment:
        meta = environment.open_db(b"meta")
        with environment.begin(write=True) as txn:
            if value is None:
                assert txn.delete(name.encode(), db=meta)
            else:
                txn.put(name.encode(), value, db=meta)
    with pytest.raises(StoreDamagedError, match=r"is damaged: .*move the folder away"):
        LmdbStore(tmp_path)


class RoundInCircles:
    """A cursor in a damaged file: after the second entry the first one comes again, wherever one begins."""

    def __init__(self) -> None:
        self._next = 1

    def __enter__(self) -> "RoundInCircles":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def iternext(self) -> Iterator[tuple[bytes, bytes]]:
        return iter([(b"d1", b""), (b"d2", b"")] * 200)

    def set_range(self, key: bytes) -> bool:
        self._next = 1 - self._next
        return True

    def item(self) -> tuple[bytes, bytes]:
        return b"a%d" % self._next, b"page"


def test_entries_that_go_round_in_circles_are_damage() -> None:
    names = _scan_names(cast(Any, RoundInCircles()), 1)
    with pytest.raises(TreeError, match="out of order"):
        list(islice(names, 10))


def test_a_scan_that_goes_round_in_circles_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(tmp_path)
    monkeypatch.setattr(LmdbView, "_live", lambda _view: SimpleNamespace(cursor=lambda _database: RoundInCircles()))
    with pytest.raises(StoreDamagedError, match="entry 6431 is out of order"):
        list(islice(store.scan(b"d", b"e"), 1_000))
    monkeypatch.undo()
    store.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no store" * 1_024)
    with pytest.raises(StoreError, match=r"holds no readable store.*move the folder away"):
        LmdbStore(tmp_path)


def test_a_file_that_was_cut_off_is_found_damaged_and_kills_nothing(tmp_path: Path) -> None:
    """A read behind the end of a mapped file would end the process with SIGBUS: tried in a process of its own."""
    store = LmdbStore(tmp_path)
    for height in range(1, 20):
        fill(store, height)
    store.close()
    whole = (tmp_path / "data.mdb").read_bytes()
    page = os.sysconf("SC_PAGESIZE")
    for size in (2 * page, *(len(whole) * part // (8 * page) * page for part in range(1, 8))):
        (tmp_path / "data.mdb").write_bytes(whole[:size])
        result = subprocess.run(
            [sys.executable, "-c", READER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert result.returncode == 0, size
        assert result.stdout == "whole\n" or "is damaged" in result.stdout, (size, result.stdout)
    assert result.stdout
    (tmp_path / "data.mdb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreDamagedError, match=r"is damaged: .*move the folder away"):
        read_all(tmp_path)


def test_a_start_on_any_page_that_was_overwritten_goes_well_or_names_the_damage(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    fill(store, 1, 20)
    commit(store, {}, {b"d%02d" % number: b"x" for number in range(20)})
    store.close()
    whole, page = (tmp_path / "data.mdb").read_bytes(), os.sysconf("SC_PAGESIZE")
    told = []
    for start in range(0, len(whole), page):
        (tmp_path / "data.mdb").write_bytes(whole[:start] + b"\xff" * page + whole[start + page :])
        try:
            LmdbStore(tmp_path).close()
        except StoreError as error:
            told.append(str(error))
    assert told
    assert all("move the folder away" in text for text in told)


READER = """
import sys
from pathlib import Path
from tests.store.test_damage import read_all
from abci_app.store.interface import StoreDamagedError
try:
    read_all(Path(sys.argv[1]))
    print("whole")
except StoreDamagedError as error:
    print(error)
"""


def read_all(folder: Path) -> None:
    """Open a store and read everything that is in it."""
    store = LmdbStore(folder)
    try:
        assert store.meta.app_hash == compute_app_hash(dict(store.records()))
        stage_next(store, {key: b"new" for key, _ in store.records()})
    finally:
        store.close()


@pytest.mark.parametrize(
    ("roots", "finding"),
    [
        (bytes(160), "the state tree does not have the app hash of the last block"),
        (bytes(159), "the page of the roots has 159 bytes"),
        (bytes(192), "the page of the roots has 192 bytes"),
        (b"", "the page of the roots has 0 bytes"),
    ],
)
def test_garbage_in_the_tree_is_found_at_the_start(tmp_path: Path, roots: bytes, finding: str) -> None:
    store = LmdbStore(tmp_path)
    commit(store, {b"a1": b"one", b"j1": b"job"})
    block = stage_next(store, {b"a1": b"two"})
    store.commit(replace(block, pages={**block.pages, ROOTS_PAGE: roots}))
    store.close()
    with pytest.raises(StoreDamagedError, match=f"is damaged: {finding}"):
        LmdbStore(tmp_path)


def test_a_page_of_the_tree_that_is_missing_is_found_by_the_block_that_needs_it(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    fill(store, 1)
    block = stage_next(store, {b"j1": b"x"})
    store.commit(replace(block, pages={**block.pages, b"a0": None}))
    with pytest.raises(StoreDamagedError, match="page a0 of the state tree is missing"):
        stage_next(store, {b"a%d" % number: b"new" for number in range(200)})
    store.close()
