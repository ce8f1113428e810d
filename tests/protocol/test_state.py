"""The layers of the state against plain dictionaries, and the index against what it is derived from."""

from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.indexes import get_index_entries
from abci_app.protocol.state import BlockState, EmptyState, StateDelta
from tests.support.chain import DictState

ADDRESSES = [bytes([number]) * 20 for number in range(4)]


def account(bond: int, checker: int, unbonding: list[int]) -> pb.Account:
    record = pb.Account(bond=bond, checker=checker)
    record.keys.add(public_key=b"k" * 32)
    for number, release_ms in enumerate(unbonding):
        record.unbonding.add(amount=1, release_ms=release_ms, number=number)
    return record


RECORDS = st.one_of(
    st.none(),
    st.builds(account, st.integers(0, 2), st.integers(0, 2), st.lists(st.integers(0, 3), max_size=2)),
)
BLOCKS = st.lists(st.lists(st.dictionaries(st.sampled_from(ADDRESSES), RECORDS), max_size=4), max_size=4)


def distinct(address: bytes, record: pb.Account | None) -> pb.Account | None:
    """Give each account its own key and entry numbers, as the rules do."""
    if record is None:
        return None
    copy = pb.Account.FromString(record.SerializeToString())
    copy.keys[0].public_key = address[:1] * 32
    for entry in copy.unbonding:
        entry.number += 10 * address[0]
    return copy


def derive_index(model: dict[bytes, pb.Account | None]) -> dict[bytes, bytes]:
    """Return the index of all records."""
    out: dict[bytes, bytes] = {}
    for address, record in model.items():
        out.update(get_index_entries(keys.account(address), record))
    return out


@settings(max_examples=150, deadline=None)
@given(BLOCKS)
def test_the_index_is_always_what_the_records_say(blocks: list[list[dict[bytes, pb.Account | None]]]) -> None:
    committed = DictState()
    model: dict[bytes, pb.Account | None] = {}
    for deltas in blocks:
        state = BlockState(committed)
        for writes in deltas:
            delta = StateDelta(state)
            for address, record in writes.items():
                new = distinct(address, record)
                model[address] = new
                if new is None:
                    delta.delete(keys.account(address))
                else:
                    delta.edit(keys.account(address), pb.Account).CopyFrom(new)
            delta.apply()
            expected = derive_index(model)
            for letter in (b"k", b"b", b"u"):
                found = list(state.scan(letter, bytes([letter[0] + 1])))
                assert found == sorted((k, v) for k, v in expected.items() if k[:1] == letter)
        committed.commit(state)
        assert committed.index == derive_index(model)
    stored = {key: pb.Account.FromString(data) for key, data in committed.records.items()}
    assert stored == {keys.account(address): record for address, record in model.items() if record is not None}


def test_a_record_got_from_a_delta_is_its_own_copy_and_the_blocks_stays() -> None:
    state = BlockState(EmptyState())
    first = StateDelta(state)
    first.edit(keys.account(ADDRESSES[0]), pb.Account).balance = 5
    first.apply()
    second = StateDelta(state)
    second.edit(keys.account(ADDRESSES[0]), pb.Account).balance = 7
    kept = state.get(keys.account(ADDRESSES[0]), pb.Account)
    assert kept is not None
    assert kept.balance == 5
    again = second.get(keys.account(ADDRESSES[0]), pb.Account)
    assert again is not None
    assert again.balance == 7


def test_a_deleted_record_can_be_written_again_in_the_same_delta() -> None:
    state = BlockState(EmptyState())
    delta = StateDelta(state)
    delta.edit(keys.profile(ADDRESSES[0]), pb.Profile).name = "old"
    delta.delete(keys.profile(ADDRESSES[0]))
    assert delta.get(keys.profile(ADDRESSES[0]), pb.Profile) is None
    assert delta.edit(keys.profile(ADDRESSES[0]), pb.Profile).name == ""


def test_a_scan_ends_before_its_end_and_merges_what_the_block_changed() -> None:
    committed = DictState()
    base = BlockState(committed)
    delta = StateDelta(base)
    for address in ADDRESSES[:3]:
        new = distinct(address, account(1, 1, []))
        assert new is not None
        delta.edit(keys.account(address), pb.Account).CopyFrom(new)
    delta.apply()
    committed.commit(base)
    state = BlockState(committed)
    change = StateDelta(state)
    change.edit(keys.account(ADDRESSES[1]), pb.Account).bond = 2
    change.delete(keys.account(ADDRESSES[2]))
    change.apply()
    start, end = keys.index_bond(2, bytes(20)), keys.index_bond(1, ADDRESSES[0] + b"\x00")
    assert [keys.split_bond(key) for key, _ in state.scan(start, end)] == [(2, ADDRESSES[1]), (1, ADDRESSES[0])]
