"""The byte-level rules, written again: every part is preceded by its length, integers are 8 bytes big-endian."""

import hashlib


def joined(purpose: str, *parts: bytes | int) -> bytes:
    """Return the length-prefixed parts, the first of them `learningchain/v1/<purpose>`."""
    data = b""
    for part in (f"learningchain/v1/{purpose}".encode(), *parts):
        raw = part if isinstance(part, bytes) else (part % 2**64).to_bytes(8, "big")
        data += len(raw).to_bytes(8, "big") + raw
    return data


def hashed(purpose: str, *parts: bytes | int) -> bytes:
    """Return SHA-256 of `joined`."""
    return hashlib.sha256(joined(purpose, *parts)).digest()


def address_of(public_key: bytes) -> bytes:
    """Return the address of the account whose first key this is."""
    return hashlib.sha256(public_key).digest()[:20]


def model_commitment(tag: bytes, job: int, account: bytes, digest: bytes, salt: bytes) -> bytes:
    """Return the commitment that an Announce carries."""
    return hashed("model", tag, job, account, digest, salt)


def vote_commitment(
    tag: bytes, job: int, number: int, account: bytes, finding: int, loss: int, receipt: bytes, salt: bytes
) -> bytes:
    """Return the commitment that a CommitVote carries."""
    return hashed("vote", tag, job, number, account, finding, loss, receipt, salt)


def seat_position(
    tag: bytes, job: int, number: int, seat: int, seats: int, opening_hash: bytes, salt: bytes, bond: int
) -> int:
    """Return the position of a seat in the cumulated bonds, 0 … bond-1: one slice of the bond per seat."""
    h = int.from_bytes(hashed("seat", tag, job, number, seat, opening_hash, salt)[:8], "big")
    return (seat * 2**64 + h) * bond // (seats * 2**64)
