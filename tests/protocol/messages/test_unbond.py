import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors, keys
from abci_app.protocol.limits import MAX_UNBONDINGS, UCREDIT
from tests.support.chain import Chain, Holding


@pytest.fixture
def chain() -> Chain:
    return Chain(accounts={"alice": Holding(0, bond=20 * UCREDIT + 7), "bob": Holding(0, bond=20 * UCREDIT)})


def test_unbonding_credits_lose_their_weight_and_wait(chain: Chain) -> None:
    result = chain.must("alice", tx_pb2.Unbond(amount=5 * UCREDIT))
    account, supply = chain.account("alice"), chain.supply()
    assert (account.balance, account.bond) == (0, 15 * UCREDIT + 7)
    assert list(account.unbonding) == [
        pb.Unbonding(
            amount=5 * UCREDIT,
            release_ms=chain.time_ms + chain.params.unbonding_ms,
            release_height=chain.height + chain.params.unbonding_blocks,
            number=0,
        )
    ]
    assert supply.unbonding == 5 * UCREDIT
    assert [event.type for event in result.events] == ["credits.unbonding"]


def test_it_is_released_when_time_and_blocks_have_passed(chain: Chain) -> None:
    chain.must("alice", tx_pb2.Unbond(amount=5 * UCREDIT))
    entry = chain.account("alice").unbonding[0]
    while chain.height < entry.release_height:
        chain.block(dt_ms=1)
    chain.skip_to(entry.release_ms - 1)
    assert chain.balance("alice") == 0
    result = chain.block(dt_ms=1)
    assert chain.balance("alice") == 5 * UCREDIT
    assert [event.type for event in result.events] == ["credits.released"]
    assert chain.supply().unbonding == 0


def test_time_alone_does_not_release_it(chain: Chain) -> None:
    """A chain that makes few blocks would else release a bond before the evidence against it expires."""
    chain.must("alice", tx_pb2.Unbond(amount=5 * UCREDIT))
    entry = chain.account("alice").unbonding[0]
    chain.block(dt_ms=10 * chain.params.unbonding_ms)
    while chain.height < entry.release_height - 1:
        assert chain.block(dt_ms=1).events == []
    assert chain.balance("alice") == 0
    chain.block(dt_ms=1)
    assert chain.balance("alice") == 5 * UCREDIT


def test_one_that_waits_for_blocks_neither_uses_the_cap_nor_holds_up_another(chain: Chain) -> None:
    """Entries that are ripe come before those that are not, whatever the block times."""
    chain.must("alice", tx_pb2.Unbond(amount=UCREDIT))
    for _ in range(5):
        chain.block(dt_ms=1)
    chain.block([("bob", tx_pb2.Unbond(amount=UCREDIT))] * 4, dt_ms=1)
    chain.block(dt_ms=10 * chain.params.unbonding_ms)
    while chain.height < chain.account("alice").unbonding[0].release_height - 1:
        chain.block(dt_ms=1)
    assert len(chain.block(dt_ms=1).events) == 1
    assert chain.balance("alice") == UCREDIT
    assert len(chain.account("bob").unbonding) == 4


def test_a_block_releases_at_most_its_cap_and_carries_the_rest_over_in_order(chain: Chain) -> None:
    cap = chain.params.max_released_per_block
    chain.block([("bob", tx_pb2.Unbond(amount=UCREDIT + number)) for number in range(cap + 2)])
    chain.block(dt_ms=10 * chain.params.unbonding_ms)
    while chain.height < chain.account("bob").unbonding[0].release_height - 1:
        chain.block(dt_ms=1)
    first, second, third = (chain.block(dt_ms=1).events for _ in range(3))
    amounts = [dict(event.attributes)["amount"] for event in [*first, *second]]
    assert (len(first), len(second), len(third)) == (cap, 2, 0)
    assert amounts == [str(UCREDIT + number) for number in range(cap + 2)]


def test_unbonding_credits_are_burned_by_a_ban() -> None:
    chain = Chain(validators={"val0": 1_000 * UCREDIT, "val1": 1_000 * UCREDIT})
    chain.must("val1", tx_pb2.Unbond(amount=300 * UCREDIT))
    chain.block(misbehavior=[(1, "val1")])
    assert not chain.account("val1").unbonding
    assert chain.supply().burned == 2_000 * UCREDIT
    chain.block(dt_ms=10 * chain.params.unbonding_ms)
    for _ in range(20):
        chain.block()
    assert chain.balance("val1") == 0


def test_entries_are_numbered_over_all_accounts(chain: Chain) -> None:
    chain.block([("bob", tx_pb2.Unbond(amount=UCREDIT)), ("alice", tx_pb2.Unbond(amount=UCREDIT))])
    assert [chain.account(name).unbonding[0].number for name in ("bob", "alice")] == [0, 1]
    assert (chain.get(keys.COUNTERS, pb.Counters) or pb.Counters()).next_unbonding == 2


def test_the_whole_bond_can_be_unbonded_even_below_1_credit(chain: Chain) -> None:
    chain.must("alice", tx_pb2.Unbond(amount=20 * UCREDIT))
    chain.must("alice", tx_pb2.Unbond(amount=7))
    assert chain.account("alice").bond == 0


@pytest.mark.parametrize("amount", [0, 2**63])
def test_invalid_bad_amount(chain: Chain, amount: int) -> None:
    assert chain.send("alice", tx_pb2.Unbond(amount=amount)).code == errors.BadAmount.code


@pytest.mark.parametrize("amount", [1, UCREDIT - 1])
def test_invalid_bad_bond_amount(chain: Chain, amount: int) -> None:
    assert chain.send("alice", tx_pb2.Unbond(amount=amount)).code == errors.BadBondAmount.code


def test_invalid_insufficient_bond(chain: Chain) -> None:
    assert chain.send("alice", tx_pb2.Unbond(amount=20 * UCREDIT + 8)).code == errors.InsufficientBond.code


def test_invalid_too_many_unbondings(chain: Chain) -> None:
    one = tx_pb2.Unbond(amount=UCREDIT)
    codes = [r.code for r in chain.block([("alice", one)] * (MAX_UNBONDINGS + 1)).tx_results]
    assert codes == [0] * MAX_UNBONDINGS + [errors.TooManyUnbondings.code]
