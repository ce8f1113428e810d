"""The full audit notices every kind of damage, and the index can be rebuilt from the records."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.audit import audit, rebuild_index
from abci_app.protocol.invariants import BrokenInvariant
from tests.support.market import Market, measured

Records = dict[bytes, bytes]
Change = Callable[[Records], object]
TOTALS = ("balances", "bonds", "unbonding", "escrow", "deposits")


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


# --- each rule by itself: nothing else is wrong with the state ---


def put(record: Message, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(record, name, value)


def edit_first(letter: bytes, **values: Any) -> Change:
    """Set fields of the first record of a kind."""

    def change(records: Records) -> None:
        edit(records, first(records, letter), lambda record: put(record, values))

    return change


def add(letter: bytes, name: str, amount: int = 1) -> Change:
    """Add to a number of the first record of a kind."""

    def change(records: Records) -> None:
        edit(records, first(records, letter), lambda record: setattr(record, name, getattr(record, name) + amount))

    return change


def copy(letter: bytes, to: bytes, **values: Any) -> Change:
    """Put the first record of a kind under another key as well."""

    def change(records: Records) -> None:
        records[to] = records[first(records, letter)]
        edit(records, to, lambda record: put(record, values))

    return change


def lose(letter: bytes) -> Change:
    return lambda records: records.pop(first(records, letter))


def share_a_key(records: Records) -> None:
    one, other, *_ = sorted(key for key in records if key.startswith(b"a"))
    shared = pb.Account.FromString(records[one]).keys[0].public_key
    edit(records, other, lambda account: setattr(account.keys[0], "public_key", shared))


def give_settled_deposits(records: Records) -> None:
    edit(records, keys.job(1), lambda job: job.candidates.add(account=b"c" * 20, deposit=1))


def together(*changes: Change) -> Change:
    def change(records: Records) -> None:
        for each in changes:
            each(records)

    return change


def moving(name: str, change: Change) -> Change:
    """Take the credit that `change` adds from an account, and move the totals along."""
    return together(change, add(b"a", "balance", -1), add(b"cs", "balances", -1), add(b"cs", name))


EXCESS = 2**63
RULES: list[tuple[str, Change]] = [
    ("two records claim the index entry", share_a_key),
    ("there is no supply record", lose(b"cs")),
    *((f"the total of {name} is wrong", add(b"cs", name)) for name in TOTALS),
    ("do not sum to the genesis supply", add(b"cs", "burned")),
    (
        "the supply exceeds its range",
        together(add(b"a", "balance", EXCESS), add(b"cs", "balances", EXCESS), add(b"cs", "genesis", EXCESS)),
    ),
    *(("the counters of", add(b"s", name)) for name in ("open_jobs", "candidacies", "unsecured_candidacies")),
    ("the banned account .* holds credits", edit_first(b"a", banned=True, checker=0)),
    ("Standing .* has no account", copy(b"s", keys.standing(b"n" * 20), open_jobs=0)),
    ("Profile .* has no account", lambda records: records.update({keys.profile(b"n" * 20): b""})),
    ("the operator of validator .* does not exist", edit_first(b"v", operator=b"n" * 20)),
    ("there is no counters record", lose(b"cn")),
    ("job . has a wrong number", edit_first(b"cn", next_job_id=3)),
    ("the settled job 1 holds an escrow", moving("escrow", add(b"j", "escrow"))),
    ("the settled job 1 holds deposits", moving("deposits", give_settled_deposits)),
    ("round 0 of job 1 is missing", lose(b"r")),
    ("round 0 of job 99 has no job", copy(b"r", keys.round_(99, 0), job_id=99)),
    ("a round lies under a wrong key", copy(b"r", keys.round_(1, 9))),
    ("the checker tables are not the current one", copy(b"ct", keys.checker_table(7), epoch=7)),
    ("the checker tables are not the current one", lose(b"ct")),
]


@pytest.mark.parametrize(("words", "change"), RULES, ids=[f"{i}: {rule[0]}" for i, rule in enumerate(RULES)])
def test_each_rule_of_the_audit_holds_by_itself(market: Market, words: str, change: Change) -> None:
    records = dict(market.committed.records)
    change(records)
    with pytest.raises(BrokenInvariant, match=words):
        audit(records.items(), rebuild_index(records.items()))
