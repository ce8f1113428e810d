"""Counts what a layer holds, from its tar alone and without unpacking any of it.

The engine must not find more in it than was counted here. So what tars can say in two ways is read as Go's archive/tar
reads it, which all engines use, and what it reads in surprising ways is refused: sparse files, of which a few bytes
unpack to any number, and old headers that may or may not have a body.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from worker.sandbox.unpack import LayerError

BLOCK: Final = 512
MAX_EXTENSION_BYTES: Final = 1 << 20  # of a long name or a list of attributes, as in Go
MAX_EXTENSIONS: Final = 16  # headers that only extend the next one, in a row
MAX_SIZE: Final = 2**63 - 1

# Offsets in a header, from POSIX.1-1988 and GNU tar.
_NAME = slice(0, 100)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_KIND = slice(156, 157)

_OLD_FILE, _SPARSE = b"\0", b"S"
_BODILESS = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes: the size of such a header is ignored
_ATTRIBUTES, _GLOBAL = b"x", b"g"
_EXTENSIONS = (_ATTRIBUTES, b"L", b"K")


def count_entries(chunks: Iterable[bytes], most: int) -> int:
    """Return how many entries a tar has, all of which is read. Raises LayerError for more than `most` and no tar."""
    tar = _Tar(iter(chunks))
    count = 0
    while (header := tar.read_header()) is not None:
        kind, size = _read_entry(tar, header)
        count += 1
        if count > most:
            raise LayerError(f"a layer has more than {most} files and folders")
        if kind not in _BODILESS:
            tar.skip(size)
    tar.drain()
    return count


def _read_entry(tar: "_Tar", header: bytes) -> tuple[bytes, int]:
    """Return kind and size of an entry, past the headers that extend its own."""
    attributes: dict[bytes, bytes] = {}
    extensions = 0
    while (kind := header[_KIND]) in _EXTENSIONS:
        extensions += 1
        body = tar.read_extension(_parse_number(header[_SIZE]))
        if kind == _ATTRIBUTES:
            attributes = _parse_attributes(body)  # of several only the last counts
        following = tar.read_header()
        if following is None or extensions > MAX_EXTENSIONS:
            raise LayerError("a layer has attributes of no entry")
        header = following
    if kind == _GLOBAL and extensions:
        raise LayerError("a layer has attributes of no entry")
    if kind == _SPARSE or any(name.startswith(b"GNU.sparse.") for name in attributes):
        raise LayerError("a layer has a sparse file: make its tar without --sparse")
    size = _parse_number(header[_SIZE])
    if attributes.get(b"size"):
        size = _parse_decimal(attributes[b"size"])
    name = header[_NAME].partition(b"\0")[0]
    if kind == _OLD_FILE and size and (extensions or not name or name.endswith(b"/")):
        raise LayerError("a layer has a header of the oldest kind that may be a folder's")
    return kind, size


def _parse_number(field: bytes) -> int:
    """Return a number in octal digits or, if its first bit is set, in binary."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
        if field[0] & 0x40 or number > MAX_SIZE:
            raise LayerError("a layer has an entry of an impossible size")
        return number
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not all(digit in b"01234567" for digit in digits):
        raise LayerError("a layer has a header that is none")
    return int(digits or b"0", 8)


def _parse_decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19 or int(digits) > MAX_SIZE:
        raise LayerError("a layer has an entry of an impossible size")
    return int(digits)


def _parse_attributes(body: bytes) -> dict[bytes, bytes]:
    """Return the records `length key=value` of an extended header (POSIX.1-2001); of equal keys the last counts."""
    found: dict[bytes, bytes] = {}
    while body:
        length, _, _ = body.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < 8 else 0
        record = body[len(length) + 1 : end]
        key, is_pair, value = record.removesuffix(b"\n").partition(b"=")
        if not 0 < end <= len(body) or not record.endswith(b"\n") or not is_pair:
            raise LayerError("a layer has attributes that cannot be read")
        found[key] = value
        body = body[end:]
    return found


class _Tar:
    """Reads a tar that comes in chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def read_header(self) -> bytes | None:
        """Return the next header; None at the end. What follows the end is no part of the tar."""
        header = self._read(BLOCK)
        if not header or not any(header):
            return None
        if len(header) < BLOCK or _parse_number(header[_CHECKSUM]) not in _sum(header):
            raise LayerError("a layer is no tar, or a damaged one")
        return header

    def read_extension(self, size: int) -> bytes:
        """Return the body of a header that extends the next one."""
        if size > MAX_EXTENSION_BYTES:
            raise LayerError(f"a layer has an entry with more than {MAX_EXTENSION_BYTES} bytes of attributes")
        body = self._read(size)
        if len(body) < size:
            raise LayerError("a layer ends too early")
        self._read(-size % BLOCK)
        return body

    def skip(self, size: int) -> None:
        """Pass over a body and what fills its last block; only that may be missing at the end."""
        if self._pass(size) < size:
            raise LayerError("a layer ends too early")
        self._pass(-size % BLOCK)

    def drain(self) -> None:
        """Pass over all that is left."""
        for _ in self._chunks:
            pass

    def _read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        parts = bytearray()
        while len(parts) < size and self._has_more():
            part = self._chunk[self._at : self._at + size - len(parts)]
            self._at += len(part)
            parts += part
        return bytes(parts)

    def _pass(self, size: int) -> int:
        """Pass over `size` bytes and return how many there were."""
        left = size
        while left and self._has_more():
            step = min(left, len(self._chunk) - self._at)
            self._at += step
            left -= step
        return size - left

    def _has_more(self) -> bool:
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk, self._at = chunk, 0
        return True


def _sum(header: bytes) -> tuple[int, int]:
    """Return the checksum that a header must have, of unsigned and, as some old programs did, of signed bytes."""
    summed = header[: _CHECKSUM.start] + header[_CHECKSUM.stop :]
    unsigned = sum(summed) + ord(" ") * (BLOCK - len(summed))  # the checksum itself counts as blanks
    return unsigned, unsigned - 256 * (0 if summed.isascii() else sum(byte > 127 for byte in summed))
