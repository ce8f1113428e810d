import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, keys
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.state import BlockState, StateDelta
from tests.support.chain import BLOCK_MS, Chain, Holding, consensus_key


@pytest.fixture
def chain() -> Chain:
    validators = {"val0": 1_000 * UCREDIT, "val1": 500 * UCREDIT}
    chain = Chain(accounts={"bob": Holding(0, bond=30 * UCREDIT, checker=1)}, validators=validators)
    chain.block()
    return chain


def jail(chain: Chain, name: str, checker_ms: int = 0, validator_ms: int = 0, missed: int = 0) -> None:
    """Jail an account as if it had happened at these times."""
    state = BlockState(chain.committed)
    delta = StateDelta(state)
    account = delta.edit(keys.account(chain.address(name)), pb.Account)
    account.checker_jailed_ms, account.validator_jailed_ms = checker_ms, validator_ms
    delta.edit(keys.standing(chain.address(name)), pb.Standing).missed_in_a_row = missed
    delta.apply()
    chain.committed.commit(state)


def test_a_checker_jail_is_lifted_when_it_is_old_enough(chain: Chain) -> None:
    jail(chain, "bob", checker_ms=chain.time_ms, missed=3)
    chain.skip(chain.params.unjail_ms - BLOCK_MS)
    result = chain.must("bob", tx_pb2.Unjail())
    assert chain.account("bob").checker_jailed_ms == 0
    assert (chain.standing("bob").missed_in_a_row, chain.standing("bob").silent_since_ms) == (0, chain.time_ms)
    assert [event.type for event in result.events] == ["account.unjailed"]


def test_a_jailed_checker_is_not_in_the_next_table_and_comes_back_after_unjail(chain: Chain) -> None:
    jail(chain, "bob", checker_ms=chain.time_ms)
    chain.skip(chain.params.epoch_ms)
    assert not chain.table().entries
    chain.must("bob", tx_pb2.Unjail())
    chain.skip(chain.params.epoch_ms)
    assert [entry.account for entry in chain.table().entries] == [chain.address("bob")]


def test_each_jail_is_lifted_for_itself(chain: Chain) -> None:
    jail(chain, "val1", checker_ms=chain.time_ms, validator_ms=chain.time_ms + 5_000)
    chain.skip(chain.params.unjail_ms)
    chain.must("val1", tx_pb2.Unjail())
    account = chain.account("val1")
    assert (account.checker_jailed_ms, account.validator_jailed_ms > 0) == (0, True)
    chain.skip(5_000)
    chain.must("val1", tx_pb2.Unjail())
    assert chain.account("val1").validator_jailed_ms == 0


def test_lifting_one_jail_leaves_the_record_of_the_other_duty(chain: Chain) -> None:
    chain.block(missed=["val1"])
    jail(chain, "val1", validator_ms=chain.time_ms, missed=2)
    silent_since_ms = chain.standing("val1").silent_since_ms
    chain.skip(chain.params.unjail_ms)
    chain.must("val1", tx_pb2.Unjail())
    assert (chain.standing("val1").missed_in_a_row, chain.standing("val1").silent_since_ms) == (2, silent_since_ms)
    chain.block(missed=["val1"])
    jail(chain, "val1", checker_ms=chain.time_ms, missed=3)
    chain.skip(chain.params.unjail_ms)
    chain.must("val1", tx_pb2.Unjail())
    record = chain.get(keys.validator(consensus_key("val1")), pb.Validator)
    assert record is not None
    assert len(record.missed_heights) == 1


@pytest.mark.parametrize("duty", ["checker_ms", "validator_ms"])
def test_each_jail_can_be_lifted_from_its_last_millisecond_on(chain: Chain, duty: str) -> None:
    jail(chain, "val1", **{duty: chain.time_ms})
    chain.skip(chain.params.unjail_ms - BLOCK_MS - 1)
    assert chain.send("val1", tx_pb2.Unjail()).code == errors.StillJailed.code
    chain.block([("val1", tx_pb2.Unjail())], dt_ms=1)
    assert chain.last.tx_results[0].code == 0


def test_a_validator_jailed_for_missed_blocks_comes_back_with_a_clean_record(chain: Chain) -> None:
    for _ in range(chain.params.max_missed_blocks + 1):
        chain.block(missed=["val1"])
    assert chain.account("val1").validator_jailed_ms == chain.time_ms
    assert chain.validator_power("val1") == 0
    chain.skip(chain.params.unjail_ms)
    chain.must("val1", tx_pb2.Unjail())
    assert chain.validator_power("val1") == 500
    record = chain.get(keys.validator(consensus_key("val1")), pb.Validator)
    assert record is not None
    assert list(record.missed_heights) == []


def test_invalid_not_jailed(chain: Chain) -> None:
    assert chain.send("bob", tx_pb2.Unjail()).code == errors.NotJailed.code


def test_invalid_still_jailed(chain: Chain) -> None:
    jail(chain, "bob", checker_ms=chain.time_ms)
    assert chain.send("bob", tx_pb2.Unjail()).code == errors.StillJailed.code
