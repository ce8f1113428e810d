"""The byte-level rules, spelled out a second time in plain bytes: what another implementation has to reproduce."""

import hashlib

import pytest

from abci_app.protocol import hashing
from abci_app.protocol.hashing import join

TAG, ACCOUNT, DIGEST, SALT = b"t" * 8, b"a" * 20, b"d" * 32, b"s" * 32


def part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def number(value: int) -> bytes:
    return part((value % 2**64).to_bytes(8, "big"))


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_parts_are_preceded_by_their_length_and_integers_are_twos_complement() -> None:
    assert join("x", b"", b"ab", 1, -1) == (
        part(b"learningchain/v1/x") + part(b"") + part(b"ab") + number(1) + part(b"\xff" * 8)
    )


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_integers_outside_64_bits_are_an_error(value: int) -> None:
    with pytest.raises(OverflowError):
        join("x", value)


def test_parts_cannot_be_shifted_into_each_other() -> None:
    assert join("x", b"ab", b"c") != join("x", b"a", b"bc")
    assert join("x", b"a") != join("xa")


def test_every_structure_begins_with_its_purpose_and_the_chain_tag() -> None:
    head = [part(b"learningchain/v1/" + purpose) + part(TAG) for purpose in (b"tx", b"key", b"register")]
    assert hashing.get_tx_sign_bytes(TAG, b"body") == head[0] + part(b"body")
    assert hashing.get_key_proof_bytes(TAG, ACCOUNT) == head[1] + part(ACCOUNT)
    assert hashing.compute_work(TAG, DIGEST, b"1") == sha(head[2] + part(DIGEST) + part(b"1"))


def test_the_chain_tag_is_the_start_of_a_hash_of_id_and_genesis() -> None:
    text = part(b"learningchain/v1/chain") + part("café".encode()) + part(b"genesis")
    assert hashing.compute_chain_tag("café", b"genesis") == sha(text)[:8]


def test_the_commitment_of_a_model_binds_job_account_digest_and_salt() -> None:
    text = part(b"learningchain/v1/model") + part(TAG) + number(7) + part(ACCOUNT) + part(DIGEST) + part(SALT)
    assert hashing.compute_model_commitment(TAG, 7, ACCOUNT, DIGEST, SALT) == sha(text)


def test_the_commitment_of_a_vote_binds_every_field() -> None:
    text = b"".join(
        [
            part(b"learningchain/v1/vote") + part(TAG) + number(7) + number(2) + part(ACCOUNT),
            number(1) + number(-5) + part(DIGEST) + part(SALT),
        ]
    )
    assert hashing.compute_vote_commitment(TAG, 7, 2, ACCOUNT, 1, -5, DIGEST, SALT) == sha(text)


def test_a_seat_is_the_first_8_bytes_of_its_hash() -> None:
    text = part(b"learningchain/v1/seat") + part(TAG) + number(7) + number(2) + number(3) + part(DIGEST) + part(SALT)
    assert hashing.compute_seat_draw(TAG, 7, 2, 3, DIGEST, SALT) == int.from_bytes(sha(text)[:8], "big")


def test_addresses_are_the_first_20_bytes_of_the_keys_hash() -> None:
    assert hashing.compute_address(DIGEST) == hashing.compute_consensus_address(DIGEST) == sha(DIGEST)[:20]


@pytest.mark.parametrize(
    ("value", "bits"), [(b"\x00\x00", 16), (b"\x00\x01", 15), (b"\x01\x00", 7), (b"\x80", 0), (b"\x7f", 1), (b"", 0)]
)
def test_leading_zero_bits_are_counted(value: bytes, bits: int) -> None:
    assert hashing.count_leading_zero_bits(value) == bits
