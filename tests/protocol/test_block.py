"""The block as a whole: its written order, empty blocks, outages, deltas that are dropped as one."""

from collections.abc import Callable
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import block as block_module
from abci_app.protocol import credits, errors, keys
from abci_app.protocol.block import Block, process_block
from abci_app.protocol.context import BlockContext
from abci_app.protocol.credits import get_supply
from abci_app.protocol.invariants import BrokenInvariant, check_totals
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.outages import get_outage_end
from abci_app.protocol.state import BlockState, StateDelta, StateWrite
from tests.support.chain import GENESIS_MS, Chain, Holding, consensus_address


@pytest.fixture
def chain() -> Chain:
    chain = Chain(accounts={"alice": Holding(), "bob": Holding(5 * UCREDIT, 5 * UCREDIT, 1)})
    chain.block()
    return chain


def test_an_empty_block_that_everybody_signed_changes_no_record(chain: Chain) -> None:
    """Else every empty block would change the app hash."""
    before, index = dict(chain.committed.records), dict(chain.committed.index)
    for dt_ms in (1, 1_000, chain.params.outage_ms, chain.params.epoch_ms // 2):
        chain.block(dt_ms=min(dt_ms, chain.params.outage_ms))
    assert chain.committed.records == before
    assert chain.committed.index == index


def test_the_order_of_a_block_is_the_written_one(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def spy(name: str) -> None:
        original = getattr(block_module, name)

        def wrapper(*args: Any) -> Any:
            order.append(name)
            return original(*args)

        monkeypatch.setattr(block_module, name, wrapper)

    steps = [
        "process_evidence",
        "process_missed_blocks",
        "process_gap",
        "process_epoch",
        "process_due_jobs",
        "process_due_unbondings",
        "prune_settled",
        "process_transaction",
        "process_validators",
        "check_totals",
    ]
    for name in reversed(steps):
        spy(name)
    chain.block([("alice", tx_pb2.SetProfile(name="x"))])
    assert order == steps


def test_evidence_comes_before_transactions() -> None:
    chain = Chain(validators={"val0": 1_000 * UCREDIT, "val1": 1_000 * UCREDIT})
    chain.block()
    escape = chain.sign("val1", tx_pb2.Transfer(to=chain.address("alice"), amount=UCREDIT))
    assert chain.block([escape], misbehavior=[(1, "val1")]).tx_results[0].code == errors.AccountBanned.code


def test_a_release_comes_before_the_blocks_transactions(chain: Chain) -> None:
    chain.must("bob", tx_pb2.Transfer(to=chain.address("alice"), amount=5 * UCREDIT))
    chain.must("bob", tx_pb2.Unbond(amount=5 * UCREDIT))
    while chain.height < chain.account("bob").unbonding[0].release_height:
        chain.block()
    spend = chain.sign("bob", tx_pb2.Transfer(to=chain.address("alice"), amount=5 * UCREDIT))
    assert chain.block([spend], dt_ms=chain.params.unbonding_ms).tx_results[0].code == 0


def test_a_failed_transaction_drops_writes_and_events_together(chain: Chain) -> None:
    good = chain.sign("alice", tx_pb2.SetProfile(name="one"))
    bad = chain.sign("alice", tx_pb2.Transfer(to=chain.address("bob"), amount=2**62))
    last = chain.sign("alice", tx_pb2.SetProfile(name="two"))
    results = chain.block([good, bad, last]).tx_results
    assert [(r.code, len(r.events)) for r in results] == [(0, 1), (errors.InsufficientBalance.code, 0), (0, 1)]
    assert chain.balance("alice") == 1_000 * UCREDIT


def test_dropping_a_delta_drops_its_writes_and_events(chain: Chain) -> None:
    state = chain.state()
    delta = StateDelta(state)
    delta.edit(keys.account(chain.address("alice")), pb.Account).balance = 0
    delta.delete(keys.account(chain.address("bob")))
    assert state.get_changed_records() == {}
    alice = state.get(keys.account(chain.address("alice")), pb.Account)
    assert alice is not None
    assert alice.balance == 1_000 * UCREDIT


# --- outages ---


def test_a_gap_longer_than_outage_ms_is_remembered_by_its_end(chain: Chain) -> None:
    chain.block(dt_ms=chain.params.outage_ms)
    assert get_outage_end(chain.state()) == 0
    chain.block(dt_ms=chain.params.outage_ms + 1)
    assert get_outage_end(chain.state()) == chain.time_ms
    end = chain.time_ms
    chain.block()
    assert get_outage_end(chain.state()) == end


def test_no_gap_lies_before_the_first_block() -> None:
    chain = Chain()
    chain.block(dt_ms=10 * chain.params.outage_ms)
    assert chain.time_ms > GENESIS_MS
    assert get_outage_end(chain.state()) == 0


# --- proposer, context ---


def test_a_proposer_without_an_account_is_no_error(chain: Chain) -> None:
    chain.block([("alice", tx_pb2.SetProfile(name="x"))], proposer="stranger")
    assert chain.last.tx_results[0].code == 0


def test_the_same_block_on_the_same_state_gives_the_same_result(chain: Chain) -> None:
    """FinalizeBlock is run again after a crash, with an empty memo of transactions."""
    txs = [chain.sign("alice", tx_pb2.Bond(amount=UCREDIT)), chain.sign("nobody", tx_pb2.Unjail(), nonce=1), b"junk"]
    block = Block(
        height=chain.height + 1,
        time_ms=chain.time_ms + 700,
        block_hash=b"h" * 32,
        proposer_address=consensus_address("val0"),
        txs=txs,
        previous_time_ms=chain.time_ms,
        signed=[consensus_address("val0")],
    )
    outcomes = []
    for cache in (chain.cache, type(chain.cache)(), type(chain.cache)(limit=1)):
        state = BlockState(chain.committed)
        outcomes.append((process_block(state, chain.tag, block, cache), state.get_changed_records()))
    assert outcomes[0] == outcomes[1] == outcomes[2]


# --- invariants ---


def test_credits_out_of_nothing_stop_the_node(chain: Chain) -> None:
    state = chain.state()
    before = get_supply(state)
    delta = StateDelta(state)
    delta.edit(keys.account(chain.address("alice")), pb.Account).balance += 1
    delta.apply()
    with pytest.raises(BrokenInvariant, match="differ from what the records show"):
        check_totals(state, before)


def test_totals_that_do_not_sum_stop_the_node(chain: Chain) -> None:
    state = chain.state()
    before = get_supply(state)
    delta = StateDelta(state)
    delta.edit(keys.SUPPLY, pb.Supply).burned += 1
    delta.apply()
    with pytest.raises(BrokenInvariant, match="do not sum"):
        check_totals(state, before)


def test_another_genesis_supply_stops_the_node(chain: Chain) -> None:
    state = chain.state()
    before = get_supply(state)
    delta = StateDelta(state)
    supply = delta.edit(keys.SUPPLY, pb.Supply)
    supply.genesis += 1
    supply.balances += 1
    delta.edit(keys.account(chain.address("alice")), pb.Account).balance += 1
    delta.apply()
    with pytest.raises(BrokenInvariant, match="genesis supply"):
        check_totals(state, before)


def test_burned_credits_never_come_back(chain: Chain) -> None:
    chain = Chain(validators={"val0": 1_000 * UCREDIT, "val1": 1_000 * UCREDIT})
    chain.block()
    chain.block(misbehavior=[(1, "val1")])
    state = chain.state()
    before = get_supply(state)
    delta = StateDelta(state)
    supply = delta.edit(keys.SUPPLY, pb.Supply)
    supply.burned -= 1
    supply.balances += 1
    delta.edit(keys.account(chain.address("alice")), pb.Account).balance += 1
    delta.apply()
    with pytest.raises(BrokenInvariant, match="came back"):
        check_totals(state, before)


def mint(state: StateWrite, context: BlockContext, sender: bytes, recipient: bytes, amount: int) -> None:
    """A Transfer that forgets to take what it gives."""
    state.edit(keys.account(recipient), pb.Account).balance += amount


def forget_the_total(state: StateWrite, address: bytes, amount: int) -> None:
    """A Bond that moves credits without noting it in the totals."""
    account = state.edit(keys.account(address), pb.Account)
    account.balance -= amount
    account.bond += amount


def forget_the_record(state: StateWrite, address: bytes, amount: int) -> None:
    """A Bond that notes what it did not do."""
    supply = state.edit(keys.SUPPLY, pb.Supply)
    supply.balances -= amount
    supply.bonds += amount


def lose(state: StateWrite, address: bytes, amount: int) -> None:
    """A Bond that takes credits and gives none."""
    state.edit(keys.account(address), pb.Account).balance -= amount
    state.edit(keys.SUPPLY, pb.Supply).balances -= amount


@pytest.mark.parametrize(
    ("name", "defect"),
    [("transfer", mint), ("bond", forget_the_total), ("bond", forget_the_record), ("bond", lose)],
    ids=["minted", "total forgotten", "record forgotten", "lost"],
)
def test_a_defect_in_a_rule_stops_the_block_that_meets_it(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, name: str, defect: Callable[..., None]
) -> None:
    monkeypatch.setattr(credits, name, defect)
    chain.audited = False  # the block itself notices
    chain.block([("alice", tx_pb2.SetProfile(name="harmless"))])
    moves = {"transfer": tx_pb2.Transfer(to=chain.address("bob"), amount=1), "bond": tx_pb2.Bond(amount=UCREDIT)}
    with pytest.raises(BrokenInvariant):
        chain.block([("alice", moves[name])])
