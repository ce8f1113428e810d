import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.limits import UCREDIT
from tests.support.chain import Chain, Holding


@pytest.fixture
def chain() -> Chain:
    return Chain(accounts={"alice": Holding(10 * UCREDIT), "bob": Holding(0)}, validators={"val0": 1_000 * UCREDIT})


def transfer(chain: Chain, to: str = "bob", amount: int = 1, memo: str = "") -> tx_pb2.Transfer:
    return tx_pb2.Transfer(to=chain.address(to), amount=amount, memo=memo)


def test_a_transfer_moves_credits_and_says_so(chain: Chain) -> None:
    result = chain.must("alice", transfer(chain, amount=3 * UCREDIT, memo="rent"))
    assert (chain.balance("alice"), chain.balance("bob")) == (7 * UCREDIT, 3 * UCREDIT)
    assert [event.type for event in result.events] == ["credits.transferred"]
    assert chain.supply().balances == 1_000 * UCREDIT + 10 * UCREDIT


def test_the_whole_balance_can_be_transferred(chain: Chain) -> None:
    chain.must("alice", transfer(chain, amount=10 * UCREDIT))
    assert (chain.balance("alice"), chain.balance("bob")) == (0, 10 * UCREDIT)


def test_received_credits_can_be_passed_on_in_the_same_block(chain: Chain) -> None:
    there = chain.sign("alice", transfer(chain, amount=5 * UCREDIT))
    back = chain.sign("bob", transfer(chain, to="alice", amount=2 * UCREDIT))
    assert [result.code for result in chain.block([there, back]).tx_results] == [0, 0]
    assert chain.balance("bob") == 3 * UCREDIT


def test_invalid_bad_recipient(chain: Chain) -> None:
    for to in (b"", b"x" * 20, b"x" * 21, chain.address("alice")):
        assert chain.send("alice", tx_pb2.Transfer(to=to, amount=1)).code == errors.BadRecipient.code


def test_invalid_recipient_banned() -> None:
    chain = Chain(validators={"val0": 1_000 * UCREDIT, "val1": 1_000 * UCREDIT})
    chain.block()
    chain.block(misbehavior=[(1, "val1")])
    assert chain.send("alice", transfer(chain, to="val1")).code == errors.RecipientBanned.code


def test_invalid_bad_amount(chain: Chain) -> None:
    for amount in (0, 2**63, 2**64 - 1):
        assert chain.send("alice", transfer(chain, amount=amount)).code == errors.BadAmount.code


def test_invalid_insufficient_balance(chain: Chain) -> None:
    for amount in (10 * UCREDIT + 1, 2**63 - 1):
        assert chain.send("alice", transfer(chain, amount=amount)).code == errors.InsufficientBalance.code


@pytest.mark.parametrize("memo", ["x" * 129, "é" * 65, "a\nb", "a\x00", "\x7f", "\t"])
def test_invalid_bad_text(chain: Chain, memo: str) -> None:
    assert chain.send("alice", transfer(chain, memo=memo)).code == errors.BadText.code


@pytest.mark.parametrize("memo", ["x" * 128, "é" * 64, "\u2028", "a b"])
def test_text_is_measured_in_bytes_and_only_control_bytes_are_refused(chain: Chain, memo: str) -> None:
    chain.must("alice", transfer(chain, memo=memo))


def test_a_failed_transfer_takes_nonce_and_quota_and_nothing_else(chain: Chain) -> None:
    chain.block()
    before = chain.account("alice")
    assert chain.send("alice", transfer(chain, amount=2**62)).code == errors.InsufficientBalance.code
    after = chain.account("alice")
    assert after.keys[0].nonce == before.keys[0].nonce + 1
    assert after.bucket_units < before.bucket_units
    after.keys[0].nonce = before.keys[0].nonce
    after.bucket_units, after.bucket_ms = before.bucket_units, before.bucket_ms
    assert after == before
