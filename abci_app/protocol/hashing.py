"""Length-prefixed concatenation, hashes and addresses: the byte-level rules every client must reproduce."""

import hashlib
from functools import lru_cache
from typing import Final

from abci_app.protocol.limits import ADDRESS_BYTES, TAG_BYTES

PREFIX: Final = b"learningchain/v1/"


def join(purpose: str, *parts: bytes | int) -> bytes:
    """Return `learningchain/v1/<purpose>` and the parts, each preceded by its length in 8 bytes big-endian.

    An integer part is its 8-byte big-endian two's complement. Raises OverflowError outside int64.
    """
    out = []
    for part in (PREFIX + purpose.encode("ascii"), *parts):
        data = part if isinstance(part, bytes) else part.to_bytes(8, "big", signed=True)
        out.append(len(data).to_bytes(8, "big"))
        out.append(data)
    return b"".join(out)


def digest(purpose: str, *parts: bytes | int) -> bytes:
    """Return the SHA-256 of `join`."""
    return hashlib.sha256(join(purpose, *parts)).digest()


def compute_chain_tag(chain_id: str, genesis: bytes) -> bytes:
    """Return the 8-byte tag of a chain; `genesis` is the canonical encoding of its validated genesis state."""
    return digest("chain", chain_id.encode("utf-8"), genesis)[:TAG_BYTES]


def compute_address(public_key: bytes) -> bytes:
    """Return the 20-byte address of an account whose first public key this is."""
    return hashlib.sha256(public_key).digest()[:ADDRESS_BYTES]


def compute_consensus_address(consensus_key: bytes) -> bytes:
    """Return CometBFT's 20-byte address of an Ed25519 consensus key (crypto/ed25519, `PubKey.Address`)."""
    return hashlib.sha256(consensus_key).digest()[:ADDRESS_BYTES]


def compute_tx_hash(tx: bytes) -> bytes:
    """Return CometBFT's hash of a transaction."""
    return hashlib.sha256(tx).digest()


def get_tx_sign_bytes(chain_tag: bytes, body: bytes) -> bytes:
    """Return what the signature of a transaction covers."""
    return _get_tx_head(chain_tag) + len(body).to_bytes(8, "big") + body


@lru_cache(maxsize=4)
def _get_tx_head(chain_tag: bytes) -> bytes:
    return join("tx", chain_tag)


def get_key_proof_bytes(chain_tag: bytes, account: bytes) -> bytes:
    """Return what a new key signs to be added to `account`."""
    return join("key", chain_tag, account)


def compute_work(chain_tag: bytes, public_key: bytes, solution: bytes) -> bytes:
    """Return the hash that must start with the required zero bits for a Register."""
    return digest("register", chain_tag, public_key, solution)


def count_leading_zero_bits(value: bytes) -> int:
    """Return how many zero bits `value` starts with."""
    return 8 * len(value) - int.from_bytes(value, "big").bit_length()


def compute_model_commitment(chain_tag: bytes, job_id: int, account: bytes, model_digest: bytes, salt: bytes) -> bytes:
    """Return the commitment of an Announce."""
    return digest("model", chain_tag, job_id, account, model_digest, salt)


def compute_vote_commitment(
    chain_tag: bytes,
    job_id: int,
    round_number: int,
    account: bytes,
    finding: int,
    loss: int,
    receipt: bytes,
    salt: bytes,
) -> bytes:
    """Return the commitment of a CommitVote."""
    return digest("vote", chain_tag, job_id, round_number, account, finding, loss, receipt, salt)


def compute_seat_draw(
    chain_tag: bytes, job_id: int, round_number: int, seat: int, opening_hash: bytes, salt: bytes
) -> int:
    """Return h of one committee seat, 0 … 2^64-1."""
    return int.from_bytes(digest("seat", chain_tag, job_id, round_number, seat, opening_hash, salt)[:8], "big")
