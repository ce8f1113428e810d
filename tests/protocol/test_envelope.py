"""The envelope: every reason to refuse it, the order of the checks, nonces and quota."""

from collections.abc import Sequence

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.errors import TxError
from abci_app.protocol.hashing import get_tx_sign_bytes
from abci_app.protocol.limits import BUCKET_UNIT, MAX_TX_BYTES, UCREDIT
from abci_app.protocol.messages import HANDLERS
from tests.support.chain import KINDS, Chain, Holding
from tests.support.wallets import Wallet

PROFILE = tx_pb2.SetProfile(name="x")


@pytest.fixture
def chain() -> Chain:
    chain = Chain(accounts={"alice": Holding(), "bob": Holding(), "poor": Holding(UCREDIT - 1)})
    chain.block()
    return chain


def refuse(chain: Chain, txs: Sequence[bytes], error: type[TxError]) -> None:
    """Run a block in which every transaction fails for this reason and changes nothing."""
    before = chain.hash()
    assert [r.code for r in chain.block(txs).tx_results] == [error.code] * len(txs)
    assert all(not r.events for r in chain.last.tx_results)
    assert chain.hash() == before


def signed(chain: Chain, body: bytes, name: str = "alice") -> bytes:
    """Sign any body bytes."""
    wallet = chain.wallet(name)
    signature = wallet.sign(get_tx_sign_bytes(chain.tag, body))
    return tx_pb2.SignedTx(body_bytes=body, public_key=wallet.public_key, signature=signature).SerializeToString()


def body_of(tx: bytes) -> tx_pb2.TxBody:
    return tx_pb2.TxBody.FromString(tx_pb2.SignedTx.FromString(tx).body_bytes)


def add_key(chain: Chain, scope: tx_pb2.KeyScope, expires_at_ms: int = 0) -> Wallet:
    wallet = Wallet("second", owner=chain.address("alice"))
    proof = wallet.prove_for(chain.tag, wallet.address)
    message = tx_pb2.SetKey(public_key=wallet.public_key, proof=proof, scope=scope, expires_at_ms=expires_at_ms)
    chain.must("alice", message)
    return wallet


# --- bytes ---


def test_invalid_too_large(chain: Chain) -> None:
    refuse(chain, [bytes(MAX_TX_BYTES + 1)], errors.TooLarge)


def test_a_transaction_of_exactly_16_kib_is_read(chain: Chain) -> None:
    refuse(chain, [bytes(MAX_TX_BYTES)], errors.Undecodable)


def test_invalid_undecodable(chain: Chain) -> None:
    no_message = tx_pb2.TxBody(chain_tag=chain.tag, account=chain.address("alice"), nonce=1, expires_at_height=9)
    text = body_of(chain.sign("alice", tx_pb2.SetProfile(name="abc"), nonce=1)).SerializeToString()
    not_utf8 = text.replace(b"abc", b"a\xffc")
    bad = [b"", b"\xff", signed(chain, b"\xff"), signed(chain, no_message.SerializeToString()), signed(chain, not_utf8)]
    refuse(chain, bad, errors.Undecodable)


def test_invalid_not_canonical(chain: Chain) -> None:
    tx = chain.sign("alice", PROFILE, nonce=1)
    body = body_of(tx).SerializeToString(deterministic=True)
    bad = [
        tx + b"\x20\x01",  # an unknown field
        tx + tx_pb2.SignedTx(signature=b"s" * 64).SerializeToString(),  # a field twice
        signed(chain, body + b"\xa0\x06\x01"),  # an unknown field in the body
        signed(chain, body.replace(b"\x18\x01", b"\x18\x81\x00")),  # a varint longer than needed
        signed(chain, body + b"\x8a\x01\x00"),  # the message twice, in parts
        signed(chain, body[10:] + body[:10]),  # fields out of order
    ]
    refuse(chain, bad, errors.NotCanonical)


def test_an_explicit_default_is_not_canonical(chain: Chain) -> None:
    body = body_of(chain.sign("alice", tx_pb2.Transfer(to=chain.address("bob"), amount=1), nonce=1))
    text = body.SerializeToString(deterministic=True)
    at = text.index(chain.address("bob")) - 2
    longer = text[: at - 1] + bytes([text[at - 1] + 2]) + text[at:] + b"\x1a\x00"  # memo ""
    assert tx_pb2.TxBody.FromString(longer) == body
    refuse(chain, [signed(chain, longer)], errors.NotCanonical)


def test_invalid_bad_field_length(chain: Chain) -> None:
    good = tx_pb2.SignedTx.FromString(chain.sign("alice", PROFILE, nonce=1))
    bodies = [body_of(good.SerializeToString()) for _ in range(3)]
    bodies[0].chain_tag, bodies[1].account, bodies[2].account = chain.tag + b"x", b"", bytes(21)
    bad = [signed(chain, body.SerializeToString(deterministic=True)) for body in bodies]
    for field, value in (("public_key", bytes(31)), ("signature", bytes(65)), ("signature", b"")):
        changed = tx_pb2.SignedTx.FromString(good.SerializeToString())
        setattr(changed, field, value)
        bad.append(changed.SerializeToString(deterministic=True))
    refuse(chain, bad, errors.BadFieldLength)


def test_invalid_wrong_chain(chain: Chain) -> None:
    refuse(chain, [chain.sign("alice", PROFILE, nonce=1, tag=b"12345678")], errors.WrongChain)


def test_invalid_expired(chain: Chain) -> None:
    refuse(chain, [chain.sign("alice", PROFILE, nonce=1, expires=chain.height)], errors.Expired)


def test_invalid_expired_without_an_expiry(chain: Chain) -> None:
    refuse(chain, [chain.sign("alice", PROFILE, nonce=1, expires=0)], errors.Expired)


def test_invalid_expiry_too_far(chain: Chain) -> None:
    too_far = chain.height + 1 + chain.params.max_tx_lifetime + 1
    refuse(chain, [chain.sign("alice", PROFILE, nonce=1, expires=too_far)], errors.ExpiryTooFar)


def test_the_first_and_the_last_height_of_an_expiry_are_valid(chain: Chain) -> None:
    chain.must("alice", PROFILE, expires=chain.height + 1)
    chain.must("alice", PROFILE, expires=chain.height + 1 + chain.params.max_tx_lifetime)


# --- sender ---


def test_invalid_unknown_account(chain: Chain) -> None:
    refuse(chain, [chain.sign("nobody", PROFILE, nonce=1)], errors.UnknownAccount)


def test_invalid_unknown_key(chain: Chain) -> None:
    stranger = Wallet("stranger", owner=chain.address("alice"))
    neighbour = Wallet("bob", owner=chain.address("alice"))
    txs = [chain.sign(stranger, PROFILE, nonce=1), chain.sign(neighbour, PROFILE, nonce=1)]
    refuse(chain, txs, errors.UnknownKey)


def test_invalid_key_removed(chain: Chain) -> None:
    wallet = add_key(chain, tx_pb2.KEY_SCOPE_WORK)
    chain.must("alice", tx_pb2.SetKey(public_key=wallet.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED))
    refuse(chain, [chain.sign(wallet, PROFILE)], errors.KeyRemoved)


def test_invalid_key_expired(chain: Chain) -> None:
    """A key is expired from the block whose time equals its expiry."""
    wallet = add_key(chain, tx_pb2.KEY_SCOPE_OWNER, chain.time_ms + 4_000)
    chain.skip(1_999)
    chain.must(wallet, PROFILE)
    tx = chain.sign(wallet, PROFILE)
    before = chain.hash()
    assert chain.block([tx], dt_ms=1).tx_results[0].code == errors.KeyExpired.code
    assert chain.hash() == before


def test_invalid_scope_too_small(chain: Chain) -> None:
    wallet = add_key(chain, tx_pb2.KEY_SCOPE_WORK)
    owner_only = [
        tx_pb2.Transfer(to=chain.address("bob"), amount=1),
        tx_pb2.Bond(amount=UCREDIT),
        tx_pb2.Unbond(amount=UCREDIT),
        tx_pb2.SetKey(public_key=wallet.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED),
        tx_pb2.SetChecker(enabled=True),
        tx_pb2.SubmitJob(bounty=1),
        tx_pb2.RaiseBounty(job_id=1, amount=1),
        tx_pb2.CancelJob(job_id=1),
        tx_pb2.Unjail(),
        tx_pb2.DeclareValidator(),
        tx_pb2.RetireValidator(),
    ]
    refuse(chain, [chain.sign(wallet, message, nonce=1) for message in owner_only], errors.ScopeTooSmall)


def test_work_keys_may_announce_reveal_vote_and_set_the_profile_and_nothing_else() -> None:
    allowed = {kind for kind, handler in HANDLERS.items() if handler.WORK_SCOPE}
    assert allowed == {"announce", "reveal", "commit_vote", "reveal_vote", "set_profile"}


def test_every_message_has_a_handler() -> None:
    assert set(HANDLERS) == set(KINDS.values())


def test_invalid_account_banned() -> None:
    chain = Chain(validators={"val0": 1_000 * UCREDIT, "val1": 1_000 * UCREDIT})
    chain.block()
    chain.block(misbehavior=[(1, "val1")])
    refuse(chain, [chain.sign("val1", PROFILE)], errors.AccountBanned)


def test_invalid_wrong_nonce(chain: Chain) -> None:
    chain.must("alice", PROFILE, nonce=1)
    refuse(chain, [chain.sign("alice", PROFILE, nonce=nonce) for nonce in (0, 1, 3, 2**64 - 1)], errors.WrongNonce)
    chain.must("alice", PROFILE, nonce=2)


def test_invalid_bad_signature(chain: Chain) -> None:
    good = tx_pb2.SignedTx.FromString(chain.sign("alice", PROFILE, nonce=1))
    other = tx_pb2.SignedTx.FromString(chain.sign("alice", tx_pb2.SetProfile(name="y"), nonce=1))
    swapped = tx_pb2.SignedTx(body_bytes=good.body_bytes, public_key=good.public_key, signature=other.signature)
    empty = tx_pb2.SignedTx(body_bytes=good.body_bytes, public_key=good.public_key, signature=bytes(64))
    txs = [tx.SerializeToString(deterministic=True) for tx in (swapped, empty)]
    refuse(chain, txs, errors.BadSignature)


def test_invalid_fresh_account(chain: Chain) -> None:
    register = chain.sign_register("dave")
    results = chain.block([register, chain.sign("dave", PROFILE, nonce=1)]).tx_results
    assert [r.code for r in results] == [0, errors.FreshAccount.code]
    assert chain.account("dave").keys[0].nonce == 0


def test_a_replay_in_the_same_or_a_later_block_is_refused(chain: Chain) -> None:
    tx = chain.sign("alice", tx_pb2.Transfer(to=chain.address("bob"), amount=1))
    assert [r.code for r in chain.block([tx, tx]).tx_results] == [0, errors.WrongNonce.code]
    refuse(chain, [tx], errors.WrongNonce)


def test_the_nonces_of_two_keys_of_an_account_are_their_own(chain: Chain) -> None:
    wallet = add_key(chain, tx_pb2.KEY_SCOPE_WORK)
    results = chain.block([chain.sign(wallet, PROFILE, nonce=1), chain.sign("alice", PROFILE, nonce=2)]).tx_results
    assert [r.code for r in results] == [0, 0]


# --- order of the checks: a transaction with two faults is refused for the first ---


def test_the_cheaper_check_comes_first(chain: Chain) -> None:
    unsigned = tx_pb2.SignedTx.FromString(chain.sign("alice", PROFILE, nonce=7))
    unsigned.signature = bytes(64)
    stranger = Wallet("stranger", owner=chain.address("alice"))
    cases = [
        (chain.sign("nobody", PROFILE, nonce=9, tag=b"12345678", expires=0), errors.WrongChain),
        (chain.sign("nobody", PROFILE, nonce=9, expires=0), errors.Expired),
        (chain.sign("nobody", PROFILE, nonce=9), errors.UnknownAccount),
        (chain.sign(stranger, PROFILE, nonce=9), errors.UnknownKey),
        (unsigned.SerializeToString(deterministic=True), errors.WrongNonce),
        (chain.sign("alice", tx_pb2.Transfer(), nonce=9), errors.WrongNonce),
    ]
    for tx, error in cases:
        refuse(chain, [tx], error)


# --- quota ---


def test_invalid_quota_exceeded(chain: Chain) -> None:
    burst = chain.params.poor_burst
    codes = [r.code for r in chain.block([("poor", PROFILE)] * (burst + 1)).tx_results]
    assert codes == [0] * burst + [errors.QuotaExceeded.code]
    refuse(chain, [chain.sign("poor", PROFILE)], errors.QuotaExceeded)


def test_failing_messages_use_quota_as_well(chain: Chain) -> None:
    codes = [r.code for r in chain.block([("poor", tx_pb2.Unjail())] * 6).tx_results]
    assert codes == [errors.NotJailed.code] * 5 + [errors.QuotaExceeded.code]


def test_an_envelope_that_fails_uses_neither_nonce_nor_quota(chain: Chain) -> None:
    chain.block([chain.sign("poor", PROFILE, nonce=9)] * 50)
    assert [r.code for r in chain.block([("poor", PROFILE)] * 5).tx_results] == [0] * 5


def test_the_bucket_refills_by_block_time_in_units_of_one_60000th(chain: Chain) -> None:
    chain.block([("poor", PROFILE)] * 5)
    chain.skip(59_999 - 1_000)
    assert chain.block([("poor", PROFILE)], dt_ms=999).tx_results[0].code == errors.QuotaExceeded.code
    assert chain.block([("poor", PROFILE)], dt_ms=1).tx_results[0].code == errors.QuotaExceeded.code
    assert chain.block([("poor", PROFILE)], dt_ms=1).tx_results[0].code == 0


def test_the_bucket_never_holds_more_than_its_burst(chain: Chain) -> None:
    chain.skip(1_200_000)
    codes = [r.code for r in chain.block([("poor", PROFILE)] * 6).tx_results]
    assert codes.count(0) == chain.params.poor_burst


def test_capacity_is_that_of_what_the_account_holds_now(chain: Chain) -> None:
    chain.block([("poor", PROFILE)] * 5)
    chain.must("alice", tx_pb2.Transfer(to=chain.address("poor"), amount=1))
    chain.skip(5_000)  # 1 per second at the ordinary rate, since it has the credit
    codes = [r.code for r in chain.block([("poor", PROFILE)] * 10).tx_results]
    assert codes.count(0) == 6


def test_who_becomes_poor_loses_what_is_above_the_poor_burst(chain: Chain) -> None:
    chain.must("alice", tx_pb2.Transfer(to=chain.address("bob"), amount=1_000 * UCREDIT))
    codes = [r.code for r in chain.block([("alice", PROFILE)] * 10).tx_results]
    assert codes.count(0) == chain.params.poor_burst
    assert chain.account("alice").bucket_units < BUCKET_UNIT
