"""Reads the fields of a tar's headers as Go's archive/tar does; see worker.sandbox.entries."""

from typing import Final

from worker.sandbox.unpack import LayerError

MAX_SIZE: Final = 2**63 - 1
MAX_LENGTH_DIGITS: Final = 7  # of the length of an attribute

# Offsets in a header, from POSIX.1-1988, GNU tar and star.
NAME: Final = slice(0, 100)
SIZE: Final = slice(124, 136)
CHECKSUM: Final = slice(148, 156)
KIND: Final = slice(156, 157)
_MAGIC = slice(257, 265)
_PREFIX = slice(345, 500)  # of the name
_STAR_PREFIX, _STAR_END = slice(345, 476), slice(508, 512)
_GNU_TIMES = (slice(345, 357), slice(357, 369))


def get_text(field: bytes) -> bytes:
    """Return a field up to its end."""
    return field.partition(b"\0")[0]


def get_name(header: bytes, attributes: dict[bytes, bytes]) -> bytes:
    """Return the name of an entry that has no long one of GNU's. Raises LayerError."""
    prefix, name = _get_prefix(header), get_text(header[NAME])
    return attributes.get(b"path") or (prefix + b"/" + name if prefix else name)


def _get_prefix(header: bytes) -> bytes:
    """Return the beginning of a name that its field has no room for."""
    magic = header[_MAGIC]
    if magic.startswith(b"ustar\0"):
        return get_text(header[_STAR_PREFIX if header[_STAR_END] == b"tar\0" else _PREFIX])
    if magic == b"ustar  \0":  # GNU's has times there; Go takes what is none for a prefix, as it once wrote them itself
        for field in (header[each] for each in _GNU_TIMES):
            if field[0]:
                parse_number(field)
    return b""


def parse_number(field: bytes) -> int:
    """Return a number in octal digits or, if its first bit is set, in binary. Raises LayerError."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
        if field[0] & 0x40 or number > MAX_SIZE:
            raise LayerError("a layer has an entry of an impossible size")
        return number
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not all(digit in b"01234567" for digit in digits):
        raise LayerError("a layer has a header that is none")
    return int(digits or b"0", 8)


def parse_decimal(digits: bytes) -> int:
    """Return a size that an attribute gives. Raises LayerError."""
    if not digits.isdigit() or len(digits) > 19 or int(digits) > MAX_SIZE:
        raise LayerError("a layer has an entry of an impossible size")
    return int(digits)


def parse_attributes(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records `length key=value` of an extended header (POSIX.1-2001) in their order.

    Raises LayerError.
    """
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(body):
        length = body[at : at + MAX_LENGTH_DIGITS + 1].partition(b" ")[0]
        end = at + int(length) if length.isdigit() and len(length) <= MAX_LENGTH_DIGITS else at
        record = body[at + len(length) + 1 : end]
        key, is_pair, value = record.removesuffix(b"\n").partition(b"=")
        if not at < end <= len(body) or not record.endswith(b"\n") or not is_pair:
            raise LayerError("a layer has attributes that cannot be read")
        found.append((key, value))
        at = end
    return found
