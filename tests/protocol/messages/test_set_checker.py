import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Chain, Holding


@pytest.fixture
def chain() -> Chain:
    return Chain(accounts={"alice": Holding(0, bond=20 * UCREDIT), "bob": Holding(0, bond=30 * UCREDIT, checker=1)})


def members(chain: Chain) -> list[bytes]:
    return [entry.account for entry in chain.table().entries]


def test_who_opts_in_is_in_the_next_epochs_table_and_not_before(chain: Chain) -> None:
    chain.block()
    assert members(chain) == [chain.address("bob")]
    result = chain.must("alice", tx_pb2.SetChecker(enabled=True, highest_class=1))
    assert [event.type for event in result.events] == ["account.checker_set"]
    assert members(chain) == [chain.address("bob")]
    chain.skip(chain.params.epoch_ms)
    assert members(chain) == sorted([chain.address("alice"), chain.address("bob")])
    assert list(chain.table().class_bonds) == [50 * UCREDIT, 20 * UCREDIT]


def test_who_opts_out_leaves_the_next_table(chain: Chain) -> None:
    chain.must("bob", tx_pb2.SetChecker())
    assert members(chain) == [chain.address("bob")]
    chain.skip(chain.params.epoch_ms)
    assert members(chain) == []


def test_silence_is_counted_from_here_on(chain: Chain) -> None:
    chain.skip(7_000)
    chain.must("bob", tx_pb2.SetChecker(enabled=True, highest_class=0))
    assert chain.standing("bob").silent_since_ms == chain.time_ms


def test_it_does_not_move_the_bond(chain: Chain) -> None:
    chain.must("alice", tx_pb2.SetChecker(enabled=True))
    assert chain.account("alice").bond == 20 * UCREDIT


@pytest.mark.parametrize(
    "message",
    [
        tx_pb2.SetChecker(enabled=False, highest_class=1),
        tx_pb2.SetChecker(enabled=True, highest_class=2),
        tx_pb2.SetChecker(enabled=True, highest_class=2**64 - 1),
    ],
)
def test_invalid_bad_checker(chain: Chain, message: tx_pb2.SetChecker) -> None:
    assert chain.send("alice", message).code == errors.BadChecker.code
