import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.learningchain.v1.tx_pb2 import KEY_SCOPE_OWNER, KEY_SCOPE_REMOVED, KEY_SCOPE_WORK
from abci_app.protocol import errors
from abci_app.protocol.limits import MAX_ACTIVE_KEYS, MAX_KEYS, MAX_TIME_MS
from tests.support.chain import BLOCK_MS, Chain
from tests.support.wallets import Wallet


@pytest.fixture
def chain() -> Chain:
    return Chain(overrides={"tx_burst": 200})


def second(chain: Chain, name: str = "second") -> Wallet:
    return Wallet(name, owner=chain.address("alice"))


def set_key(
    chain: Chain,
    wallet: Wallet,
    scope: tx_pb2.KeyScope = KEY_SCOPE_WORK,
    expires_at_ms: int = 0,
    account: str = "alice",
) -> tx_pb2.SetKey:
    proof = wallet.prove_for(chain.tag, chain.address(account)) if scope != KEY_SCOPE_REMOVED else b""
    return tx_pb2.SetKey(public_key=wallet.public_key, proof=proof, scope=scope, expires_at_ms=expires_at_ms)


def code(chain: Chain, message: tx_pb2.SetKey, sender: str | Wallet = "alice") -> int:
    return chain.send(sender, message).code


PROFILE = tx_pb2.SetProfile(name="x")


def test_an_added_key_signs_for_the_account_from_its_own_nonce_1(chain: Chain) -> None:
    result = chain.must("alice", set_key(chain, second(chain)))
    assert [event.type for event in result.events] == ["account.key_set"]
    chain.must(second(chain), PROFILE, nonce=1)
    assert [key.nonce for key in chain.account("alice").keys] == [1, 1]


def test_an_added_owner_key_can_replace_the_first_one(chain: Chain) -> None:
    chain.must("alice", set_key(chain, second(chain), KEY_SCOPE_OWNER))
    chain.must(second(chain), set_key(chain, chain.wallet("alice"), KEY_SCOPE_REMOVED))
    assert chain.send("alice", PROFILE).code == errors.KeyRemoved.code
    chain.must(second(chain), tx_pb2.Transfer(to=chain.address("bob"), amount=1))


def test_scope_and_expiry_of_a_present_key_can_be_changed(chain: Chain) -> None:
    chain.must("alice", set_key(chain, second(chain)))
    chain.must("alice", set_key(chain, second(chain), KEY_SCOPE_OWNER, chain.time_ms + 5_000))
    chain.must(second(chain), tx_pb2.Transfer(to=chain.address("bob"), amount=1))
    chain.skip(5_000)
    assert chain.send(second(chain), PROFILE).code == errors.KeyExpired.code


def test_a_removed_key_added_again_continues_with_its_next_nonce(chain: Chain) -> None:
    """Otherwise every old transaction of it could be replayed."""
    chain.must("alice", set_key(chain, second(chain)))
    old = chain.sign(second(chain), PROFILE, nonce=1, expires=90)
    assert chain.block([old]).tx_results[0].code == 0
    chain.must("alice", set_key(chain, second(chain), KEY_SCOPE_REMOVED))
    chain.must("alice", set_key(chain, second(chain)))
    assert chain.block([old]).tx_results[0].code == errors.WrongNonce.code
    chain.must(second(chain), PROFILE, nonce=2)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_invalid_bad_key(chain: Chain, length: int) -> None:
    assert code(chain, tx_pb2.SetKey(public_key=b"k" * length, scope=KEY_SCOPE_WORK)) == errors.BadKey.code


def test_invalid_bad_key_proof(chain: Chain) -> None:
    wallet = second(chain)
    for proof in (
        b"",
        bytes(64),
        wallet.prove_for(chain.tag, chain.address("bob")),
        wallet.prove_for(b"othertag", wallet.address),
    ):
        message = tx_pb2.SetKey(public_key=wallet.public_key, scope=KEY_SCOPE_WORK, proof=proof)
        assert code(chain, message) == errors.BadKeyProof.code


@pytest.mark.parametrize("between", [None, KEY_SCOPE_REMOVED])
def test_invalid_bad_key_proof_for_a_key_that_the_account_has_or_had(chain: Chain, between: tx_pb2.KeyScope) -> None:
    chain.must("alice", set_key(chain, second(chain)))
    if between:
        chain.must("alice", set_key(chain, second(chain), between))
    change = tx_pb2.SetKey(public_key=second(chain).public_key, scope=KEY_SCOPE_OWNER)
    assert code(chain, change) == errors.BadKeyProof.code


def test_invalid_key_taken(chain: Chain) -> None:
    taken = Wallet("bob", owner=chain.address("alice"))
    assert code(chain, set_key(chain, taken)) == errors.KeyTaken.code


def test_invalid_key_taken_even_after_the_other_account_removed_it(chain: Chain) -> None:
    wallet = Wallet("shared")
    chain.must("bob", set_key(chain, wallet, account="bob"))
    chain.must("bob", set_key(chain, wallet, KEY_SCOPE_REMOVED, account="bob"))
    assert code(chain, set_key(chain, wallet)) == errors.KeyTaken.code
    chain.must("bob", set_key(chain, wallet, account="bob"))


def test_invalid_key_taken_within_one_block(chain: Chain) -> None:
    wallet = Wallet("shared")
    txs = [("bob", set_key(chain, wallet, account="bob")), ("alice", set_key(chain, wallet))]
    assert [r.code for r in chain.block(txs).tx_results] == [0, errors.KeyTaken.code]


def test_invalid_too_many_keys_at_once(chain: Chain) -> None:
    for number in range(MAX_ACTIVE_KEYS - 1):
        chain.must("alice", set_key(chain, second(chain, f"key {number}")))
    one_more = set_key(chain, second(chain, "one more"))
    assert code(chain, one_more) == errors.TooManyKeys.code
    chain.must("alice", set_key(chain, second(chain, "key 3"), KEY_SCOPE_OWNER))  # a change is no new key
    chain.must("alice", set_key(chain, second(chain, "key 5"), KEY_SCOPE_REMOVED))
    chain.must("alice", one_more)


def test_invalid_too_many_keys_expired_ones_count(chain: Chain) -> None:
    for number in range(MAX_ACTIVE_KEYS - 1):
        chain.must("alice", set_key(chain, second(chain, f"key {number}"), expires_at_ms=chain.time_ms + 2 * BLOCK_MS))
    chain.skip(5_000)
    assert code(chain, set_key(chain, second(chain, "one more"))) == errors.TooManyKeys.code


def test_invalid_too_many_keys_ever(chain: Chain) -> None:
    for number in range(MAX_KEYS - 1):
        wallet = second(chain, f"key {number}")
        chain.block([("alice", set_key(chain, wallet)), ("alice", set_key(chain, wallet, KEY_SCOPE_REMOVED))])
    assert len(chain.account("alice").keys) == MAX_KEYS
    assert code(chain, set_key(chain, second(chain, "one more"))) == errors.TooManyKeys.code
    chain.must("alice", set_key(chain, second(chain, "key 7")))


def test_invalid_bad_scope(chain: Chain) -> None:
    wallet = second(chain)
    chain.must("alice", set_key(chain, wallet))
    proof = wallet.prove_for(chain.tag, wallet.address)
    bad = [
        tx_pb2.SetKey(public_key=wallet.public_key, proof=proof),
        tx_pb2.SetKey(public_key=wallet.public_key, proof=proof, scope=KEY_SCOPE_REMOVED),
        tx_pb2.SetKey(public_key=wallet.public_key, scope=KEY_SCOPE_REMOVED, expires_at_ms=chain.time_ms + 9_000),
    ]
    unknown = tx_pb2.SetKey.FromString(bad[0].SerializeToString() + b"\x18\x07")
    for message in [*bad, unknown]:
        assert code(chain, message) == errors.BadScope.code


def test_invalid_last_owner_key(chain: Chain) -> None:
    alice = chain.wallet("alice")
    chain.must("alice", set_key(chain, second(chain), KEY_SCOPE_OWNER, chain.time_ms + 60_000))
    changes = [
        set_key(chain, alice, KEY_SCOPE_REMOVED),
        set_key(chain, alice, KEY_SCOPE_WORK),
        set_key(chain, alice, KEY_SCOPE_OWNER, chain.time_ms + 60_000),
    ]
    for message in changes:
        assert code(chain, message) == errors.LastOwnerKey.code
        assert code(chain, message, second(chain)) == errors.LastOwnerKey.code


def test_the_last_owner_key_may_be_set_to_what_it_is(chain: Chain) -> None:
    chain.must("alice", set_key(chain, chain.wallet("alice"), KEY_SCOPE_OWNER))


def test_invalid_key_not_present(chain: Chain) -> None:
    removal = set_key(chain, second(chain), KEY_SCOPE_REMOVED)
    assert code(chain, removal) == errors.KeyNotPresent.code
    chain.must("alice", set_key(chain, second(chain)))
    chain.must("alice", removal)
    assert code(chain, removal) == errors.KeyNotPresent.code
    assert code(chain, set_key(chain, chain.wallet("bob"), KEY_SCOPE_REMOVED)) == errors.KeyNotPresent.code


def test_invalid_bad_key_expiry(chain: Chain) -> None:
    at_block = chain.time_ms + BLOCK_MS  # time of the block that runs the first one
    for expires_at_ms in (at_block, 1, MAX_TIME_MS + 1, 2**64 - 1):
        assert code(chain, set_key(chain, second(chain), expires_at_ms=expires_at_ms)) == errors.BadKeyExpiry.code
    chain.must("alice", set_key(chain, second(chain), expires_at_ms=chain.time_ms + BLOCK_MS + 1))
    chain.must("alice", set_key(chain, second(chain), expires_at_ms=MAX_TIME_MS))


def test_a_work_key_may_set_no_keys(chain: Chain) -> None:
    chain.must("alice", set_key(chain, second(chain)))
    assert code(chain, set_key(chain, second(chain, "third")), second(chain)) == errors.ScopeTooSmall.code
