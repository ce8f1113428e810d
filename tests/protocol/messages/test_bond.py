import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Chain, Holding


@pytest.fixture
def chain() -> Chain:
    return Chain(accounts={"alice": Holding(10 * UCREDIT + 7), "poor": Holding(5)})


def test_a_bond_moves_credits_out_of_the_balance(chain: Chain) -> None:
    result = chain.must("alice", tx_pb2.Bond(amount=UCREDIT))
    account, supply = chain.account("alice"), chain.supply()
    assert (account.balance, account.bond) == (9 * UCREDIT + 7, UCREDIT)
    assert supply.bonds == 1_000 * UCREDIT + UCREDIT
    assert [event.type for event in result.events] == ["credits.bonded"]


def test_all_that_is_left_can_be_bonded_even_below_1_credit(chain: Chain) -> None:
    chain.must("alice", tx_pb2.Bond(amount=10 * UCREDIT))
    chain.must("alice", tx_pb2.Bond(amount=7))
    assert (chain.balance("alice"), chain.account("alice").bond) == (0, 10 * UCREDIT + 7)
    chain.must("poor", tx_pb2.Bond(amount=5))


def test_bonded_credits_keep_the_ordinary_quota(chain: Chain) -> None:
    chain.must("alice", tx_pb2.Bond(amount=10 * UCREDIT + 7))
    codes = [r.code for r in chain.block([("alice", tx_pb2.SetProfile(name="x"))] * 20).tx_results]
    assert codes == [0] * 20


def test_a_validators_bond_becomes_power_in_the_same_block(chain: Chain) -> None:
    chain.must("val0", tx_pb2.Bond(amount=5 * UCREDIT))
    assert chain.validator_power("val0") == 1_005
    assert [power for _, power in chain.last.validator_updates] == [1_005]


def test_less_than_a_power_unit_tells_cometbft_nothing(chain: Chain) -> None:
    chain.must("val0", tx_pb2.Bond(amount=UCREDIT + 1))
    chain.must("val0", tx_pb2.Bond(amount=UCREDIT))
    chain.must("val0", tx_pb2.Bond(amount=2 * UCREDIT - 1))
    assert chain.validator_power("val0") == 1_004
    assert len(chain.last.validator_updates) == 1
    chain.must("alice", tx_pb2.Bond(amount=UCREDIT))
    assert chain.last.validator_updates == []


@pytest.mark.parametrize("amount", [0, 2**63])
def test_invalid_bad_amount(chain: Chain, amount: int) -> None:
    assert chain.send("alice", tx_pb2.Bond(amount=amount)).code == errors.BadAmount.code


@pytest.mark.parametrize("amount", [1, UCREDIT - 1])
def test_invalid_bad_bond_amount(chain: Chain, amount: int) -> None:
    assert chain.send("alice", tx_pb2.Bond(amount=amount)).code == errors.BadBondAmount.code


def test_invalid_insufficient_balance(chain: Chain) -> None:
    assert chain.send("alice", tx_pb2.Bond(amount=10 * UCREDIT + 8)).code == errors.InsufficientBalance.code
    assert chain.send("poor", tx_pb2.Bond(amount=6)).code == errors.InsufficientBalance.code
