"""Addresses as people see them: bech32 with the prefix `lc`, as in BIP-173."""

from functools import lru_cache
from typing import Final

from bech32 import bech32_decode, bech32_encode, convertbits

from abci_app.protocol.limits import ADDRESS_BYTES

HUMAN_PREFIX: Final = "lc"


@lru_cache(maxsize=2**14)
def encode_address(address: bytes) -> str:
    """Return the `lc1…` text of a 20-byte address. Remembered: events name the same accounts again and again."""
    words = convertbits(list(address), 8, 5)
    if words is None or len(address) != ADDRESS_BYTES:
        raise ValueError("an address has 20 bytes")
    return str(bech32_encode(HUMAN_PREFIX, words))


def decode_address(text: str) -> bytes:
    """Return the 20 bytes of an `lc1…` address. Raises ValueError with a reason for anything else."""
    prefix, words = bech32_decode(text)
    if prefix != HUMAN_PREFIX or words is None:
        raise ValueError("an address starts with lc1 and has a valid checksum")
    data = convertbits(words, 5, 8, False)
    if data is None or len(data) != ADDRESS_BYTES:
        raise ValueError("an address holds 20 bytes")
    return bytes(data)
