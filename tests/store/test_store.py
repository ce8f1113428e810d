"""What every store does, tried on the durable and on the plain one, and the two compared."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.protocol.proof import check_value, prove
from abci_app.store.interface import (
    NOTHING_COMMITTED,
    HeightNotHeldError,
    Meta,
    StagedBlock,
    Store,
    StoreError,
    Writes,
    stage,
)
from abci_app.store.lmdb_store import LmdbStore
from abci_app.store.memory import MemoryStore
from tests.support.trees import compute_app_hash


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else LmdbStore(tmp_path / "state")
    yield made
    made.close()


def stage_next(store: Store, records: Writes, index: Writes | None = None) -> StagedBlock:
    height = store.meta.height + 1
    return stage(
        store, records, index or {}, height=height, time_ms=1_000 * height, chain_id="test", chain_tag=b"\x07" * 8
    )


def commit(store: Store, records: Writes, index: Writes | None = None) -> bytes:
    block = stage_next(store, records, index)
    store.commit(block)
    return block.meta.app_hash


def fill(store: Store, height: int, count: int = 200) -> bytes:
    return commit(store, {b"a%d" % number: b"%d " % height * 100 for number in range(count)})


def test_a_fresh_store_holds_nothing(store: Store) -> None:
    assert store.meta == NOTHING_COMMITTED
    assert store.heights() == ()
    with pytest.raises(HeightNotHeldError, match="none yet"), store.view(0):
        pass
    assert store.get(b"a1") is None
    assert list(store.scan(b"", b"\xff")) == []
    assert list(store.records()) == []


def test_a_block_is_there_after_its_commit_and_not_before(store: Store) -> None:
    block = stage_next(store, {b"a1": b"one", b"j1": b"job"}, {b"d5": b""})
    assert store.meta == NOTHING_COMMITTED
    assert store.get(b"a1") is None
    store.commit(block)
    assert store.meta == Meta("test", b"\x07" * 8, 1, compute_app_hash({b"a1": b"one", b"j1": b"job"}), 1_000)
    assert store.get(b"a1") == b"one"
    assert list(store.scan(b"d", b"e")) == [(b"d5", b"")]


def test_deleted_keys_are_gone(store: Store) -> None:
    commit(store, {b"a1": b"one", b"a2": b"two"}, {b"d1": b"x", b"d2": b"y"})
    app_hash = commit(store, {b"a1": None, b"a9": None}, {b"d1": None, b"d9": None})
    assert list(store.records()) == [(b"a2", b"two")]
    assert list(store.scan(b"d", b"e")) == [(b"d2", b"y")]
    assert app_hash == compute_app_hash({b"a2": b"two"})


def test_an_empty_block_leaves_the_app_hash_alone(store: Store) -> None:
    before = commit(store, {b"a1": b"one"})
    assert commit(store, {}) == before
    assert store.meta.height == 2
    assert store.meta.time_ms == 2_000


def test_a_block_staged_twice_gives_the_same_app_hash(store: Store) -> None:
    commit(store, {b"a1": b"one"})
    changes = {b"a1": b"new", b"j1": b"job"}
    assert stage_next(store, changes) == stage_next(store, changes)


def test_a_scan_is_in_byte_order_and_leaves_out_its_end(store: Store) -> None:
    names = [b"d" + bytes([n]) for n in (9, 1, 255, 5, 0)]
    commit(store, {}, {**dict.fromkeys(names, b"v"), b"e": b"other", b"c\xff": b"other"})
    assert [key for key, _ in store.scan(b"d", b"e")] == sorted(names)
    assert [key for key, _ in store.scan(b"d\x01", b"d\x09")] == [b"d\x01", b"d\x05"]
    assert list(store.scan(b"d\x01", b"d\x01")) == []
    assert list(store.scan(b"f", b"g")) == []


def test_a_scan_of_many_entries_is_complete(store: Store) -> None:
    entries = {b"d%06d" % number: b"%d" % number for number in range(2_000)}
    commit(store, {}, entries)
    assert dict(store.scan(b"d", b"e")) == entries
    assert next(store.scan(b"d", b"e")) == (b"d000000", b"0")


def test_records_are_found_by_prefix(store: Store) -> None:
    records = {b"j%05d" % number: b"x" for number in range(700)}
    commit(store, {**records, b"a1": b"y", b"r1": b"z"})
    assert sorted(store.records(b"j")) == sorted(records.items())
    assert sorted(store.records(b"j0001")) == [(b"j%05d" % number, b"x") for number in range(10, 20)]
    assert len(list(store.records())) == 702


def test_the_last_two_heights_can_be_read_and_no_other(store: Store) -> None:
    for height in range(1, 5):
        commit(store, {b"a1": b"%d" % height}, {b"d": b"%d" % height})
    assert store.heights() == (3, 4)
    for height in (3, 4):
        with store.view(height) as view:
            assert view.meta.height == height
            assert view.get(b"a1") == b"%d" % height
            assert list(view.scan(b"d", b"e")) == [(b"d", b"%d" % height)]
    for height in (0, 2, 5, -1):
        with pytest.raises(HeightNotHeldError, match="heights that are: 3 or 4"), store.view(height):
            pass


def test_a_view_in_use_outlives_later_commits(store: Store) -> None:
    commit(store, {b"a1": b"old"})
    with store.view(1) as view:
        for _ in range(4):
            commit(store, {b"a1": b"new"})
        assert view.get(b"a1") == b"old"
        assert list(view.records()) == [(b"a1", b"old")]
    assert store.heights() == (4, 5)


def test_both_heights_prove_their_own_values(store: Store) -> None:
    hashes = [commit(store, {b"a%d" % n: b"v%d" % height for n in range(30)}) for height in (1, 2)]
    for height in (1, 2):
        with store.view(height) as view:
            check_value(hashes[height - 1], b"a7", b"v%d" % height, prove(view, b"a7"))
            assert view.meta.app_hash == hashes[height - 1]


def test_a_block_computed_on_another_height_is_refused(store: Store) -> None:
    first, other = stage_next(store, {b"a1": b"x"}), stage_next(store, {b"a1": b"y"})
    store.commit(first)
    with pytest.raises(StoreError, match="was computed on height 0, but the store is at height 1"):
        store.commit(other)
    assert store.get(b"a1") == b"x"


def test_a_chain_may_begin_at_any_height(store: Store) -> None:
    store.commit(stage(store, {b"a1": b"x"}, {}, height=500, time_ms=9, chain_id="test", chain_tag=b""))
    assert store.heights() == (500,)
    assert store.meta.height == 500


small_keys = st.sampled_from([b"a1", b"a2", b"a3", b"j1", b"j2", b"r1", b"v1", b"cp"])
index_keys = st.binary(min_size=1, max_size=2)
writes = st.one_of(st.none(), st.binary(max_size=4))
blocks = st.lists(
    st.tuples(st.dictionaries(small_keys, writes), st.dictionaries(index_keys, writes, max_size=6)), max_size=6
)


@settings(max_examples=25, deadline=None)
@given(history=blocks, start=index_keys, end=index_keys)
def test_the_durable_store_does_what_the_plain_one_does(
    history: list[tuple[Writes, Writes]], start: bytes, end: bytes
) -> None:
    with TemporaryDirectory() as folder:
        plain, durable = MemoryStore(), LmdbStore(Path(folder))
        for records, index in history:
            assert commit(plain, records, index) == commit(durable, records, index)
            assert durable.meta == plain.meta
            assert sorted(durable.records()) == sorted(plain.records())
            assert list(durable.scan(start, end)) == list(plain.scan(start, end))
            assert durable.heights() == plain.heights()
        durable.close()
