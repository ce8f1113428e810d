"""Upper pages of the tree in memory: the same pages as if they were stored, through growth, restarts and damage."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.protocol.keys import STORE_OF, STORES
from abci_app.protocol.proof import check_value, prove
from abci_app.protocol.tree import MAX_KEY_BYTES, ROOTS_PAGE, update_state
from abci_app.protocol.tree_page import EMPTY_HASH, get_top
from abci_app.protocol.tree_top import build_upper_pages
from abci_app.store import upper_pages
from abci_app.store.interface import StoreDamagedError
from abci_app.store.layout import RECORD_DIGITS, get_record_key, locate_record
from abci_app.store.lmdb_store import LmdbStore
from abci_app.store.memory import MemoryStore
from abci_app.store.upper_pages import UpperPages
from tests.store.test_store import blocks, commit, stage_next
from tests.support.trees import DictPages, compute_app_hash, get_bits, hash_leaf


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the upper pages reach down as soon as there is anything at all."""
    monkeypatch.setattr(upper_pages, "MIN_ENTRIES_PER_NAME", 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    made = LmdbStore(tmp_path / "state")
    yield made
    made.close()


def make_records(count: int, seed: int = 1) -> dict[bytes, bytes]:
    random = Random(seed)
    firsts = [bytes((first,)) for first in STORE_OF]  # several for some stores
    return {random.choice(firsts) + random.randbytes(20): random.randbytes(9) for _ in range(count)}


def get_digits(store: LmdbStore) -> int:
    return store._views[-1].upper.digits


def get_stored(store: LmdbStore) -> dict[bytes, bytes]:
    """Return what the database of the state holds."""
    with store._environment.begin() as txn, txn.cursor(store._databases.state) as cursor:
        return dict(cursor)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 400), digits=st.integers(1, 4))
def test_pages_made_anew_are_those_that_updates_left(seed: int, size: int, digits: int) -> None:
    random, pages = Random(seed), DictPages()
    records = {b"a" + random.randbytes(20): random.randbytes(4) for _ in range(size)}
    pages.write(update_state(pages, records).page_writes)
    gone = random.sample(sorted(records), random.randint(0, size - 1))
    pages.write(update_state(pages, dict.fromkeys(gone)).page_writes)
    under: dict[bytes, list[bytes]] = {}
    for key in set(records) - set(gone):
        path = f"{int(get_bits(key), 2):064x}"
        under.setdefault(b"a" + path[:digits].encode(), []).append(key)
    nodes = {
        name: (get_top(pages[name]) or b"", None) if name in pages else (hash_leaf(key, records[key]), key)
        for name, (key, *_) in under.items()
    }
    upper = {name: page for name, page in pages.items() if len(name) <= digits and name != ROOTS_PAGE}
    assert build_upper_pages(sorted(nodes.items())) == upper


def test_of_nothing_no_pages_are_made() -> None:
    assert build_upper_pages([]) == {}
    assert UpperPages(3).compute_app_hash() == compute_app_hash({})


@pytest.mark.parametrize("stored", [b"", b"\0", b"\0\0", bytes(40), b"\1\0\2" + EMPTY_HASH, b"\1\0\1" + EMPTY_HASH[1:]])
def test_what_is_no_page_has_no_top(stored: bytes) -> None:
    assert get_top(stored) is None


def test_a_record_lies_below_the_page_of_its_path() -> None:
    key = b"a" + bytes(range(20))
    path = f"{int(get_bits(key), 2):064x}".encode()
    assert locate_record(key) == b"a" + path[:RECORD_DIGITS] + b"/" + key
    assert get_record_key(locate_record(key)) == key
    for length in (0, 1, 5, 6, 7, 8, 20, 64):
        assert get_record_key(b"a" + path[:length]) is None
    assert get_record_key(ROOTS_PAGE) is None
    assert {locate_record(bytes((first, 7)))[:1] for first in STORE_OF} == {store[:1].encode() for store in STORES}


@pytest.mark.parametrize("minimum", [0, 1, 4])
@settings(max_examples=20, deadline=None)
@given(history=blocks, seed=st.integers(0, 100))
def test_however_deep_they_reach_the_store_does_what_the_plain_one_does(
    minimum: int, history: list[tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]], seed: int
) -> None:
    many: dict[bytes, bytes | None] = dict(make_records(60, seed))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(upper_pages, "MIN_ENTRIES_PER_NAME", minimum)
        plain, durable = MemoryStore(), LmdbStore(Path(folder))
        for records, index in [*history, (many, {}), (dict.fromkeys(many), {}), *history]:
            assert commit(plain, records, index) == commit(durable, records, index)
            assert sorted(durable.records()) == sorted(plain.records())
            upper = durable._views[-1].upper
            durable.close()
            durable = LmdbStore(Path(folder))
            assert durable._views[-1].upper == upper
        durable.close()


@pytest.mark.usefixtures("deep")
def test_upper_pages_are_not_written(store: LmdbStore) -> None:
    records = make_records(3_000)
    commit(store, records)
    upper = store._views[-1].upper
    stored = get_stored(store)
    names = [entry for entry in stored if get_record_key(entry) is None and entry != ROOTS_PAGE]
    assert upper.digits == 5
    assert all(len(name) > 5 for name in names)
    assert all(len(name) <= 5 for name in upper.by_name)
    assert len(upper.by_name) > 500
    assert len(stored) - len(names) - 1 == len(records)


@pytest.mark.usefixtures("deep")
def test_a_block_that_changes_no_record_neither_makes_nor_copies_them(store: LmdbStore) -> None:
    commit(store, make_records(100))
    upper = store._views[-1].upper
    commit(store, {})
    assert store._views[-1].upper is upper


def test_they_reach_deeper_as_the_state_grows(store: LmdbStore) -> None:
    seen = []
    for count in (20, 64, 400, 1_200):
        commit(store, make_records(count, count))
        seen.append((len(get_stored(store)), get_digits(store)))
    minimum = upper_pages.MIN_ENTRIES_PER_NAME
    assert [digits for _, digits in seen] == [0, 1, 1, 2]
    for entries, digits in seen:
        assert minimum * 16**digits <= entries or not digits
        assert entries < minimum * 16 ** (digits + 1)


def test_they_do_not_come_back_to_the_disk_when_the_state_shrinks(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "state")
    records = make_records(2_000)
    commit(store, records)
    commit(store, dict.fromkeys(records))
    assert get_digits(store) == 2
    assert store._views[-1].upper.by_name == {}
    commit(store, {b"a1": b"x", b"j1": b"y"})
    store.close()
    store = LmdbStore(tmp_path / "state")
    assert get_digits(store) == 2
    assert store.meta.app_hash == compute_app_hash({b"a1": b"x", b"j1": b"y"})
    store.close()


@pytest.mark.parametrize("first", [30, 300, 3_000])
def test_both_heights_prove_their_own_values_while_they_reach_deeper(store: LmdbStore, first: int) -> None:
    records = make_records(first)
    hashes = [commit(store, records)]
    before = get_digits(store)
    with store.view(1) as view:
        hashes.append(commit(store, {**dict.fromkeys(records, b"new"), **make_records(20 * first, 2)}))
        assert get_digits(store) > before
        commit(store, dict.fromkeys(records))
        for key, value in list(records.items())[:20]:
            check_value(hashes[0], key, value, prove(view, key))
        with store.view(2) as later:
            for key in list(records)[:20]:
                check_value(hashes[1], key, b"new", prove(later, key))


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("damage", [None, b"", b"\1\0\2" + EMPTY_HASH, b"\3\0\1\2\3" + 3 * EMPTY_HASH])
def test_damage_below_them_is_found_at_the_start(tmp_path: Path, damage: bytes | None) -> None:
    store = LmdbStore(tmp_path / "state")
    commit(store, {b"a%d" % number: b"x" for number in range(5_000)})
    name = min(entry for entry in get_stored(store) if entry[:1] == b"a" and len(entry) == 6)
    with store._environment.begin(write=True) as txn:
        if damage is None:
            txn.delete(name, db=store._databases.state)
        else:
            txn.put(name, damage, db=store._databases.state)
    store.close()
    with pytest.raises(StoreDamagedError, match=r"is damaged: .*move the folder away"):
        LmdbStore(tmp_path / "state")


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize(
    "entry",
    [
        b"a",
        b"a00",
        b"a0000g",
        b"b\xff\xff\xff\xff\xff",
        b"a00000/" + bytes(200),
        b"a000000/" + bytes(MAX_KEY_BYTES + 1),
        b"a000000/" + bytes(300),
    ],
)
def test_an_entry_that_nobody_wrote_is_found_at_the_start(tmp_path: Path, entry: bytes) -> None:
    store = LmdbStore(tmp_path / "state")
    commit(store, {b"a%d" % number: b"x" for number in range(10)})
    with store._environment.begin(write=True) as txn:
        txn.put(entry, b"x", db=store._databases.state)
    store.close()
    with pytest.raises(StoreDamagedError, match="of the state tree"):
        LmdbStore(tmp_path / "state")


@pytest.mark.usefixtures("deep")
def test_a_record_with_the_longest_key_is_found_again(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "state")
    longest = b"a" * MAX_KEY_BYTES
    app_hash = commit(store, {longest: b"x"})
    store.close()
    store = LmdbStore(tmp_path / "state")
    check_value(app_hash, longest, b"x", prove(store, longest))
    store.close()


@pytest.mark.usefixtures("deep")
def test_a_changed_record_is_found_at_the_start(tmp_path: Path) -> None:
    """A record alone in its place is read for its leaf; the others are not."""
    store = LmdbStore(tmp_path / "state")
    commit(store, {b"a%d" % number: b"x" for number in range(10)})
    with store._environment.begin(write=True) as txn:
        txn.put(locate_record(b"a7"), b"y", db=store._databases.state)
    store.close()
    with pytest.raises(StoreDamagedError, match="does not have the app hash of the last block"):
        LmdbStore(tmp_path / "state")


@pytest.mark.usefixtures("deep")
def test_a_block_that_could_not_be_written_changes_no_page_in_memory(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "state", map_bytes=1 << 20)
    records = make_records(100)
    app_hash = commit(store, records)
    upper = store._views[-1].upper
    block = stage_next(store, dict.fromkeys(records, b"x" * 9_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_grow", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.commit(block)
    assert store._views[-1].upper is upper
    key = next(iter(records))
    check_value(app_hash, key, records[key], prove(store, key))
    store.commit(block)
    check_value(block.meta.app_hash, key, b"x" * 9_000, prove(store, key))
    store.close()
