"""Views of the durable store: how long they last, and what they say when they cannot read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from abci_app.store.interface import HeightNotHeldError, StoreDamagedError
from abci_app.store.lmdb_store import LmdbStore
from abci_app.store.lmdb_view import LmdbView
from tests.store.test_store import commit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    made = LmdbStore(tmp_path / "state")
    yield made
    made.close()


def test_a_read_whose_view_ends_before_it_begins_is_answered_from_the_next(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread commits two blocks between finding the view and reading from it."""
    get = LmdbView.get

    def get_late(view: LmdbView, key: bytes) -> bytes | None:
        monkeypatch.setattr(LmdbView, "get", get_held)
        commit(store, {b"a1": b"new"})
        commit(store, {b"a1": b"newest"})
        return get(view, key)

    def get_held(view: LmdbView, key: bytes) -> bytes | None:
        assert store._lock.locked()  # so this one cannot end
        return get(view, key)

    commit(store, {b"a1": b"old"})
    monkeypatch.setattr(LmdbView, "get", get_late)
    assert store.get(b"a1") == b"newest"


def test_what_lmdb_cannot_read_is_named_as_damage_by_every_read(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def get(self, *_: object, **__: object) -> bytes:
            raise lmdb.CorruptedError("a page cannot be right")

        cursor = get

    commit(store, {b"a1": b"x"}, {b"d1": b""})
    with monkeypatch.context() as patch:
        patch.setattr(store._views[-1], "_txn", Broken())
        reads: list[Callable[[], object]] = [
            lambda: store.get(b"a1"),
            lambda: store.get_page(b"a"),
            lambda: list(store.records()),
            lambda: list(store.scan(b"d", b"e")),
        ]
        for read in reads:
            with pytest.raises(StoreDamagedError, match=r"is damaged: a page cannot be right"):
                read()
    assert store.get(b"a1") == b"x"


def test_a_view_ends_when_the_last_of_its_users_leaves(store: LmdbStore) -> None:
    commit(store, {b"a1": b"old"})
    with store.view(1) as view:
        with store.view(1):
            commit(store, {b"a1": b"new"})
            commit(store, {b"a1": b"newest"})
        assert view.get(b"a1") == b"old"
    with pytest.raises(HeightNotHeldError):
        view.get(b"a1")


def test_a_view_that_nobody_uses_any_more_ends_when_its_height_is_no_longer_held(store: LmdbStore) -> None:
    commit(store, {b"a1": b"old"})
    with store.view(1) as view:
        pass
    commit(store, {b"a1": b"new"})
    assert view.get(b"a1") == b"old"
    commit(store, {b"a1": b"newest"})
    with pytest.raises(HeightNotHeldError):
        view.get(b"a1")


def test_views_in_use_end_with_the_store_and_are_not_called_damaged(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "state")
    commit(store, {b"a1": b"old"})
    with store.view(1) as lent:
        commit(store, {b"a1": b"new"})
        commit(store, {b"a1": b"newest"})
        with store.view(3) as last:
            store.close()
            for view in (lent, last):
                with pytest.raises(HeightNotHeldError):
                    view.get(b"a1")
