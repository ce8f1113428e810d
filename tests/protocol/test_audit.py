"""The full audit notices every kind of damage, and the index can be rebuilt from the records."""

from collections.abc import Callable

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.audit import audit, rebuild_index
from abci_app.protocol.invariants import BrokenInvariant
from tests.support.market import Market, measured

Records = dict[bytes, bytes]


@pytest.fixture(scope="module")
def market() -> Market:
    """A state with jobs in several states, rounds, candidates and a second table."""
    market = Market()
    job_id = market.open_vote(deposit=3_000_000)
    market.decide_all(job_id, measured(0))
    open_job = market.submit(runner_ups=2)
    market.announce("worker1", open_job, 0)
    in_vote = market.open_vote("worker2", runner_ups=1)
    assert market.job(job_id).settled_ms
    assert market.job(in_vote).state == pb.JOB_STATE_VOTE
    return market


def test_a_sound_state_passes(market: Market) -> None:
    market.audit()


def test_the_index_can_be_rebuilt_from_the_records(market: Market) -> None:
    assert dict(rebuild_index(market.committed.records.items())) == market.committed.index


def edit(records: Records, key: bytes, change: Callable[..., object]) -> None:
    record = keys.get_record_type(key).FromString(records[key])
    change(record)
    records[key] = record.SerializeToString(deterministic=True)


def first(records: Records, letter: bytes) -> bytes:
    return min(key for key in records if key.startswith(letter))


def move_credits(record: pb.Account) -> None:
    record.balance += 1


def raise_total(record: pb.Supply) -> None:
    record.burned += 1


def raise_escrow(record: pb.Job) -> None:
    record.escrow += 1


def raise_counter(record: pb.Standing) -> None:
    record.open_jobs += 1


def raise_table(record: pb.CheckerTable) -> None:
    record.epoch += 1


def lower_ids(record: pb.Counters) -> None:
    record.next_job_id = 1


def ban(record: pb.Account) -> None:
    record.banned = True


@pytest.mark.parametrize(
    ("letter", "change"),
    [
        (b"a", move_credits),
        (b"a", ban),
        (b"cs", raise_total),
        (b"j", raise_escrow),
        (b"s", raise_counter),
        (b"ct", raise_table),
        (b"cn", lower_ids),
    ],
)
def test_a_changed_record_is_noticed(market: Market, letter: bytes, change: Callable[..., object]) -> None:
    records = dict(market.committed.records)
    edit(records, first(records, letter), change)
    with pytest.raises(BrokenInvariant):
        audit(records.items(), rebuild_index(records.items()))


@pytest.mark.parametrize("letter", [b"a", b"s", b"j", b"r", b"cs", b"cn", b"ct"])
def test_a_lost_record_is_noticed(market: Market, letter: bytes) -> None:
    records = dict(market.committed.records)
    del records[first(records, letter)]
    with pytest.raises(BrokenInvariant):
        audit(records.items(), rebuild_index(records.items()))


def test_every_lost_or_changed_index_entry_is_noticed(market: Market) -> None:
    for entry in market.committed.index:
        index = dict(market.committed.index)
        del index[entry]
        with pytest.raises(BrokenInvariant, match="index"):
            audit(market.committed.records.items(), index.items())
    index = {**market.committed.index, b"d" + bytes(17): b""}
    with pytest.raises(BrokenInvariant, match="index"):
        audit(market.committed.records.items(), index.items())


def test_a_record_in_another_encoding_is_noticed(market: Market) -> None:
    records = dict(market.committed.records)
    key = first(records, b"a")
    records[key] += b"\xa0\x06\x01"
    with pytest.raises(BrokenInvariant, match="canonical"):
        audit(records.items(), market.committed.index.items())


def test_a_record_under_the_wrong_key_is_noticed(market: Market) -> None:
    for letter in (b"j", b"r"):
        records = dict(market.committed.records)
        key = first(records, letter)
        records[key[:-1] + bytes([key[-1] + 100])] = records.pop(key)
        with pytest.raises(BrokenInvariant):
            audit(records.items(), rebuild_index(records.items()))
