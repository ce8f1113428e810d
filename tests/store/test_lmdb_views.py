"""Views of the durable store that end while somebody uses them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
