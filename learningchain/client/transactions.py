"""From a message to signed bytes, and the search for the work of a Register. Pure: nothing is sent here."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol.hashing import (
    compute_address,
    compute_tx_hash,
    get_key_proof_bytes,
    get_tx_sign_bytes,
    join,
)
from abci_app.protocol.limits import MAX_TX_BYTES
from learningchain.wallet import SecretKey

SOLUTION_BYTES: Final = 8
MAX_BITS: Final = 60
BATCH: Final = 1 << 14
"""Hashes between two looks at whether the search should stop."""
KIND_OF: Final = {
    field.message_type.name: field.name
    for field in pb.TxBody.DESCRIPTOR.oneofs_by_name["message"].fields
    if field.message_type is not None
}
"""Name of a message type to its field in TxBody: SubmitJob is `submit_job`."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to be sent. `tx` are the bytes that go to the node."""

    tx: bytes
    tx_hash: bytes
    nonce: int
    expires_at_height: int


class TransactionTooLong(ValueError):
    """The signed transaction has more bytes than the chain takes."""


class SearchStopped(Exception):
    """The search for work was stopped from outside."""


def build_body(chain_tag: bytes, account: bytes, nonce: int, expires_at_height: int, message: Message) -> bytes:
    """Return the canonical bytes of a body. Raises ValueError for a type that is no message of a transaction."""
    kind = KIND_OF.get(message.DESCRIPTOR.name)
    if kind is None:
        raise ValueError(f"{message.DESCRIPTOR.name} is not a message of a transaction")
    body = pb.TxBody(chain_tag=chain_tag, account=account, nonce=nonce, expires_at_height=expires_at_height)
    getattr(body, kind).CopyFrom(message)
    getattr(body, kind).SetInParent()
    return body.SerializeToString(deterministic=True)


def sign_body(key: SecretKey, chain_tag: bytes, body: bytes) -> bytes:
    """Return the bytes of the signed transaction. Raises TransactionTooLong above 16 KiB."""
    signature = key.sign(get_tx_sign_bytes(chain_tag, body))
    signed = pb.SignedTx(body_bytes=body, public_key=key.public_key, signature=signature)
    tx = signed.SerializeToString(deterministic=True)
    if len(tx) > MAX_TX_BYTES:
        raise TransactionTooLong(f"the transaction has {len(tx)} bytes, at most {MAX_TX_BYTES} are allowed")
    return tx


def build_transaction(
    key: SecretKey, chain_tag: bytes, account: bytes, nonce: int, expires_at_height: int, message: Message
) -> SignedTransaction:
    """Build and sign."""
    tx = sign_body(key, chain_tag, build_body(chain_tag, account, nonce, expires_at_height, message))
    return SignedTransaction(tx, compute_tx_hash(tx), nonce, expires_at_height)


def build_register(key: SecretKey, chain_tag: bytes, expires_at_height: int, solution: bytes) -> SignedTransaction:
    """Build and sign the Register of a key's own account."""
    message = pb.Register(solution=solution)
    return build_transaction(key, chain_tag, compute_address(key.public_key), 0, expires_at_height, message)


def build_set_key(
    chain_tag: bytes, account: bytes, new_key: SecretKey, scope: pb.KeyScope, expires_at_ms: int = 0
) -> pb.SetKey:
    """Return the message that adds `new_key` to an account, with the new key's own signature."""
    proof = new_key.sign(get_key_proof_bytes(chain_tag, account))
    return pb.SetKey(public_key=new_key.public_key, proof=proof, scope=scope, expires_at_ms=expires_at_ms)


def search_work(chain_tag: bytes, public_key: bytes, bits: int, should_stop: Callable[[], bool]) -> bytes:
    """Return a solution whose hash starts with at least `bits` zero bits, trying 0, 1, 2 … in 8 bytes big-endian.

    `should_stop` is asked after every BATCH of them. Raises SearchStopped, or ValueError above MAX_BITS.
    """
    if not 0 <= bits <= MAX_BITS:
        raise ValueError(f"work of {bits} bits cannot be found; is this the right chain?")
    # All but the solution is hashed once; an attempt then costs one block of SHA-256.
    hasher = sha256(join("register", chain_tag, public_key) + SOLUTION_BYTES.to_bytes(8, "big"))
    zeros, rest = divmod(bits, 8)
    prefix, limit = bytes(zeros), 1 << (8 - rest)
    tried = 0
    while True:
        for value in range(tried, tried + BATCH):
            attempt = hasher.copy()
            attempt.update(value.to_bytes(SOLUTION_BYTES, "big"))
            digest = attempt.digest()
            if digest.startswith(prefix) and digest[zeros] < limit:
                return value.to_bytes(SOLUTION_BYTES, "big")
        tried += BATCH
        if should_stop():
            raise SearchStopped
