"""Damage that LMDB does not see: the start names it, whatever it is."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lmdb
import pytest

from abci_app.protocol.tree import TreeError
from abci_app.store.interface import StoreDamagedError
from abci_app.store.lmdb_store import LmdbStore
from abci_app.store.lmdb_view import LmdbView
from abci_app.store.upper_pages import _scan_names
from tests.store.test_store import commit


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
