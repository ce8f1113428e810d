"""The file keeps room in itself, and not more than it needs."""

from pathlib import Path
from random import Random

import lmdb

from abci_app.store.free_pages import SHARE
from abci_app.store.lmdb_store import LmdbStore
from tests.store.test_store import commit

RECORDS = 20_000
CHANGES = 20


def change(store: LmdbStore, random: Random) -> None:
    commit(store, {b"a%d" % number: random.randbytes(120) for number in random.sample(range(RECORDS), CHANGES)})


def count_pages(folder: Path) -> tuple[int, int]:
    """Return the pages that are in use and those of the whole file."""
    with lmdb.open(str(folder), readonly=True, lock=False, max_dbs=3) as environment:
        facts = [environment.stat()]
        with environment.begin() as txn:
            facts += [txn.stat(environment.open_db(name, txn)) for name in (b"state", b"index", b"meta")]
        used = sum(entry["branch_pages"] + entry["leaf_pages"] + entry["overflow_pages"] for entry in facts)
        return used, environment.info()["last_pgno"] + 1


def test_a_part_of_the_file_comes_free_and_then_it_grows_no_more(tmp_path: Path) -> None:
    store, random = LmdbStore(tmp_path), Random(1)
    commit(store, {b"a%d" % number: bytes(120) for number in range(RECORDS)})
    store.close()
    used, pages = count_pages(tmp_path)
    assert pages - used < used / SHARE / 2  # as built it has hardly any room
    sizes = []
    for _ in range(3):
        store = LmdbStore(tmp_path)
        for _ in range(40):
            change(store, random)
        store.close()
        used, pages = count_pages(tmp_path)
        assert pages - used >= used / SHARE
        sizes.append(pages)
    assert sizes == [sizes[0]] * 3
    assert pages - used < 1.5 * used / SHARE


def test_room_is_made_again_when_the_state_grows(tmp_path: Path) -> None:
    store, random = LmdbStore(tmp_path), Random(1)
    for start in range(0, RECORDS // 4, CHANGES):
        commit(store, {b"a%d" % number: random.randbytes(120) for number in range(start, start + CHANGES)})
    store.close()
    used, pages = count_pages(tmp_path)
    assert used / SHARE <= pages - used < 2 * used / SHARE


def test_room_does_not_run_out_while_the_state_grows_block_by_block(tmp_path: Path) -> None:
    """Again and again pages are kept from use until there is room, for a few blocks each time."""
    store, random, room = LmdbStore(tmp_path), Random(1), []
    for start in range(0, RECORDS // 2, CHANGES):
        commit(store, {b"a%d" % number: random.randbytes(120) for number in range(start, start + CHANGES)})
        with store._environment.begin() as txn:
            facts = [txn.stat(database) for database in store._databases]
        used = sum(entry["branch_pages"] + entry["leaf_pages"] + entry["overflow_pages"] for entry in facts)
        room.append((store._environment.info()["last_pgno"] - used) / used)
    store.close()
    assert min(room[len(room) // 5 :]) > 0.8 / SHARE
