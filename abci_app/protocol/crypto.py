"""Ed25519 signatures under libsodium's strict rule: S < L, canonical and not small-order keys, byte comparison of R."""

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from abci_app.protocol.ed25519_vectors import VECTORS
from abci_app.protocol.limits import KEY_BYTES, SIGNATURE_BYTES


def is_valid_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (64 bytes) of `message` by `public_key` (32 bytes) is valid."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


class CryptoMismatch(RuntimeError):
    """The signature library follows another rule than the chain; a node with it would leave the consensus."""


def self_test() -> None:
    """Check the library against the frozen edge cases, at node start. Raises CryptoMismatch."""
    for vector in VECTORS:
        key, message, signature = (bytes.fromhex(text) for text in vector[1:4])
        if is_valid_signature(key, message, signature) != vector.valid:
            raise CryptoMismatch(
                f"libsodium disagrees with the chain on the signature case {vector.name!r}: "
                f"it must be {'accepted' if vector.valid else 'refused'}. Install the pinned PyNaCl and start again."
            )
