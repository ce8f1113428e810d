"""Views of the durable store that end while somebody uses them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from abci_app.store.interface import HeightNotHeldError
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
