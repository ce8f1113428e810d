"""Records that are remembered: the same answers as the store's, and fewer questions to it."""

import random

import pytest

from abci_app.store.interface import Writes, stage
from abci_app.store.memory import MemoryStore
from abci_app.store.recent import MAX_VALUE_BYTES, RecentRecords

LIMIT = 5


class CountingStore(MemoryStore):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        return super().get(key)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def commit(store: MemoryStore, recent: RecentRecords, records: Writes) -> None:
    height = store.meta.height + 1
    block = stage(store, records, {}, height=height, time_ms=height, chain_id="test", chain_tag=b"tag45678")
    store.commit(block)
    recent.follow(block.records)


def test_a_record_is_looked_up_once_also_if_there_is_none(store: CountingStore) -> None:
    recent = RecentRecords(store)
    commit(store, RecentRecords(store), {b"a1": b"one"})
    assert [recent.get(b"a1"), recent.get(b"a2")] * 2 == [b"one", None] * 2
    assert store.asked == [b"a1", b"a2"]


def test_what_a_block_wrote_needs_no_look(store: CountingStore) -> None:
    recent = RecentRecords(store)
    commit(store, recent, {b"a1": b"old", b"a2": b"old"})
    commit(store, recent, {b"a1": b"new", b"a2": None})
    assert [recent.get(b"a1"), recent.get(b"a2")] == [b"new", None]
    assert store.asked == []


def test_a_large_record_is_looked_up_again_also_one_that_has_grown(store: CountingStore) -> None:
    recent = RecentRecords(store)
    large = b"x" * (MAX_VALUE_BYTES + 1)
    commit(store, recent, {b"a1": large[1:]})
    assert (recent.get(b"a1"), store.asked) == (large[1:], [])
    commit(store, recent, {b"a1": large})
    assert [recent.get(b"a1"), recent.get(b"a1")] == [large, large]
    assert store.asked == [b"a1", b"a1"]


def test_no_more_than_the_limit_is_remembered(store: CountingStore) -> None:
    recent = RecentRecords(store, LIMIT)
    keys = [b"a%d" % number for number in range(LIMIT + 1)]
    for key in keys:
        recent.get(key)
    store.asked.clear()
    for key in reversed(keys):
        recent.get(key)
    assert store.asked == keys[-2::-1]  # the last one alone was remembered


def test_any_blocks_and_reads_give_what_the_store_has(store: CountingStore) -> None:
    chance = random.Random(1)
    recent = RecentRecords(store, LIMIT)
    keys = [b"a%d" % number for number in range(3 * LIMIT)]
    for _ in range(200):
        for key in chance.sample(keys, LIMIT):
            assert recent.get(key) == store.get(key)
        values = (None, b"", b"x" * MAX_VALUE_BYTES, b"y" * (MAX_VALUE_BYTES + 1), chance.randbytes(3))
        commit(store, recent, {key: chance.choice(values) for key in chance.sample(keys, 3)})
    assert all(recent.get(key) == store.get(key) for key in keys)
