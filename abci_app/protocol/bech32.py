"""Addresses as people see them: bech32 with the prefix `lc`, as in BIP-173.

Every transfer names two accounts in its event, so writing an address is done with tables. BIP-173's checksum is linear:
that of an address is the exclusive or of what each of its bytes contributes and of what the prefix does.
"""

from functools import lru_cache
from typing import Final

from bech32 import CHARSET, bech32_create_checksum, bech32_decode, convertbits

from abci_app.protocol.limits import ADDRESS_BYTES

HUMAN_PREFIX: Final = "lc"


@lru_cache(maxsize=2**14)
def encode_address(address: bytes) -> str:
    """Return the `lc1…` text of a 20-byte address. Remembered: events name the same accounts again and again."""
    if len(address) != ADDRESS_BYTES:
        raise ValueError("an address has 20 bytes")
    checksum = _PREFIX_CHECKSUM
    for contributions, byte in zip(_CONTRIBUTIONS, address, strict=True):
        checksum ^= contributions[byte]
    number = int.from_bytes(address, "big") << _CHECKSUM_BITS | checksum
    return _START + "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])


def _compute_checksum(address: bytes) -> int:
    words = bech32_create_checksum(HUMAN_PREFIX, convertbits(list(address), 8, 5) or [])
    return sum(word << 5 * place for place, word in enumerate(reversed(words)))


def _compute_contributions(place: int) -> tuple[int, ...]:
    """Return what each value of the byte at `place` changes in the checksum: that of its bits, taken together."""
    out = [0]
    for bit in range(8):
        single = bytearray(ADDRESS_BYTES)
        single[place] = 1 << bit
        own = _compute_checksum(bytes(single)) ^ _PREFIX_CHECKSUM
        out += [other ^ own for other in out]
    return tuple(out)


_START: Final = HUMAN_PREFIX + "1"
_CHECKSUM_BITS: Final = 30
_PREFIX_CHECKSUM: Final = _compute_checksum(bytes(ADDRESS_BYTES))
_CONTRIBUTIONS: Final = tuple(_compute_contributions(place) for place in range(ADDRESS_BYTES))
_PAIRS: Final = tuple(first + second for first in CHARSET for second in CHARSET)
_SHIFTS: Final = range(8 * ADDRESS_BYTES + _CHECKSUM_BITS - 10, -1, -10)


def decode_address(text: str) -> bytes:
    """Return the 20 bytes of an `lc1…` address. Raises ValueError with a reason for anything else."""
    prefix, words = bech32_decode(text)
    if prefix != HUMAN_PREFIX or words is None:
        raise ValueError("an address starts with lc1 and has a valid checksum")
    data = convertbits(words, 5, 8, False)
    if data is None or len(data) != ADDRESS_BYTES:
        raise ValueError("an address holds 20 bytes")
    return bytes(data)
