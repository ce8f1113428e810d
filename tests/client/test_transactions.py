"""Building and signing: bytes that the chain's own parser accepts, and work that is enough."""

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_tx_hash, compute_work, count_leading_zero_bits
from abci_app.protocol.limits import MAX_TX_BYTES
from abci_app.protocol.transaction import parse
from learningchain.client.transactions import (
    KIND_OF,
    SearchStopped,
    build_body,
    build_register,
    build_set_key,
    build_transaction,
    search_work,
    sign_body,
)
from learningchain.wallet import SecretKey

TAG = bytes(range(8))
KEY = SecretKey(b"k" * 32)


@pytest.mark.parametrize("name", sorted(KIND_OF))
def test_every_message_becomes_a_transaction_that_the_chain_parses(name: str) -> None:
    message = getattr(tx_pb2, name)()
    signed = build_transaction(KEY, TAG, KEY.address, 7, 99, message)
    parsed = parse(signed.tx)
    assert (parsed.kind, parsed.nonce, parsed.expires, parsed.account) == (KIND_OF[name], 7, 99, KEY.address)
    assert parsed.is_signature_valid()
    assert signed.tx_hash == compute_tx_hash(signed.tx)


def test_what_is_no_message_of_a_transaction_is_refused() -> None:
    with pytest.raises(ValueError, match="TrainingNeeds"):
        build_body(TAG, KEY.address, 1, 2, tx_pb2.TrainingNeeds())


def test_a_transaction_above_16_kib_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match=str(MAX_TX_BYTES)):
        sign_body(KEY, TAG, bytes(MAX_TX_BYTES))


def test_work_has_the_bits_asked_for() -> None:
    solution = search_work(TAG, KEY.public_key, 10, lambda: False)
    assert count_leading_zero_bits(compute_work(TAG, KEY.public_key, solution)) >= 10


def test_the_first_of_all_solutions_is_found() -> None:
    solution = int.from_bytes(search_work(TAG, KEY.public_key, 9, lambda: False), "big")
    for earlier in range(solution):
        work = compute_work(TAG, KEY.public_key, earlier.to_bytes(8, "big"))
        assert count_leading_zero_bits(work) < 9


def test_the_search_can_be_stopped_after_any_batch() -> None:
    answers = iter((False, True))
    with pytest.raises(SearchStopped):
        search_work(TAG, KEY.public_key, 60, lambda: next(answers))
    assert next(answers, None) is None


def test_work_that_nobody_could_find_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be found"):
        search_work(TAG, KEY.public_key, 61, lambda: False)


def test_a_register_is_of_the_keys_own_account() -> None:
    parsed = parse(build_register(KEY, TAG, 9, b"solution").tx)
    assert (parsed.kind, parsed.nonce, parsed.account) == ("register", 0, KEY.address)


def test_a_new_key_signs_for_the_account_that_gets_it() -> None:
    from abci_app.protocol.crypto import is_valid_signature
    from abci_app.protocol.hashing import get_key_proof_bytes

    owner = b"o" * 20
    message = build_set_key(TAG, owner, KEY, tx_pb2.KEY_SCOPE_WORK, 5)
    assert is_valid_signature(KEY.public_key, get_key_proof_bytes(TAG, owner), message.proof)
    assert (message.scope, message.expires_at_ms) == (tx_pb2.KEY_SCOPE_WORK, 5)
