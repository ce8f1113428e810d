"""Counts what a layer holds, from its tar alone and without unpacking any of it.

The engine must not find more in it than was counted here. So what tars can say in two ways is read as Go's archive/tar
reads it, which all engines use, and what it reads in surprising ways is refused: sparse files, of which a few bytes
unpack to any number, and old headers that may or may not have a body. Folders that the engine makes above an entry,
since the tar does not name them, count too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from worker.sandbox.folders import Folders
from worker.sandbox.headers import (
    CHECKSUM,
    KIND,
    NAME,
    SIZE,
    get_name,
    get_text,
    parse_attributes,
    parse_decimal,
    parse_number,
)
from worker.sandbox.unpack import LayerError

BLOCK: Final = 512
MAX_EXTENSION_BYTES: Final = 1 << 20  # of a long name or a list of attributes, as in Go
MAX_ATTRIBUTES: Final = 20_000_000  # of a layer: each takes its time, and a MiB packs to little with 200 000 of them
MAX_EXTENSIONS: Final = 16  # headers that only extend the next one, in a row
MAX_XATTR_BYTES: Final = 2048  # names and values; not all file systems hold more, and engines call that a full disk

_OLD_FILE, _SPARSE = b"\0", b"S"
_BODILESS = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes: the size of such a header is ignored
_ATTRIBUTES, _GLOBAL = b"x", b"g"
_LONG_NAME = b"L"
_XATTR = b"SCHILY.xattr."
_EXTENSIONS = (_ATTRIBUTES, _LONG_NAME, b"K")


def count_entries(chunks: Iterable[bytes], most: int) -> int:
    """Return how many entries a tar has, with the folders that it does not name.

    All of it is read. Raises LayerError for more than `most` and for no tar.
    """
    tar, folders = _Tar(iter(chunks)), Folders()
    count = 0
    while (header := tar.read_header()) is not None:
        kind, size, name = _read_entry(tar, header)
        count += 1 + folders.count(name, kind)
        if count > most:
            raise LayerError(f"a layer has more than {most} files and folders")
        if kind not in _BODILESS:
            tar.skip(size)
    tar.drain()
    return count


def _read_entry(tar: "_Tar", header: bytes) -> tuple[bytes, int, bytes]:
    """Return kind, size and name of an entry, past the headers that extend its own."""
    header, extensions = _read_extensions(tar, header)
    kind, attributes = header[KIND], extensions.attributes
    if kind == _GLOBAL:  # nothing is made of it, but by some engines the folders above its name are
        if extensions.count:
            raise LayerError("a layer has attributes of no entry")
        if b"path" in tar.read_attributes(parse_number(header[SIZE])):  # Go takes it or not, if others are bad
            raise LayerError("a layer has a name that is to be that of all entries")
        return kind, 0, get_name(header, {})
    _check_attributes(kind, attributes)
    size = parse_number(header[SIZE])
    if attributes.get(b"size"):
        size = parse_decimal(attributes[b"size"])
    name = get_text(header[NAME])
    if kind == _OLD_FILE and size and (extensions.count or not name or name.endswith(b"/")):
        raise LayerError("a layer has a header of the oldest kind that may be a folder's")
    return kind, size, extensions.name or get_name(header, attributes)


@dataclass(slots=True)
class _Extensions:
    """What the headers before an entry's own say."""

    count: int = 0
    attributes: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""


def _read_extensions(tar: "_Tar", header: bytes) -> tuple[bytes, _Extensions]:
    """Return the first header that extends no other, and what those before it say; of several only the last counts."""
    found = _Extensions()
    while (kind := header[KIND]) in _EXTENSIONS:
        found.count += 1
        size = parse_number(header[SIZE])
        if kind == _ATTRIBUTES:
            found.attributes = tar.read_attributes(size)
        elif kind == _LONG_NAME:
            found.name = get_text(tar.read_extension(size))
        else:
            tar.read_extension(size)
        following = tar.read_header()
        if following is None or found.count > MAX_EXTENSIONS:
            raise LayerError("a layer has attributes of no entry")
        header = following
    return header, found


def _check_attributes(kind: bytes, attributes: dict[bytes, bytes]) -> None:
    if kind == _SPARSE or any(name.startswith(b"GNU.sparse.") for name in attributes):
        raise LayerError("a layer has a sparse file: make its tar without --sparse")
    if sum(len(key) + len(value) for key, value in attributes.items() if key.startswith(_XATTR)) > MAX_XATTR_BYTES:
        raise LayerError(f"a layer has an entry with more than {MAX_XATTR_BYTES} bytes of extended attributes")


class _Tar:
    """Reads a tar that comes in chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self._attributes = 0

    def read_header(self) -> bytes | None:
        """Return the next header; None at the end. What follows the end is no part of the tar."""
        header = self._read(BLOCK)
        if not header or not any(header):
            return None
        if len(header) < BLOCK or parse_number(header[CHECKSUM]) not in _sum(header):
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

    def read_attributes(self, size: int) -> dict[bytes, bytes]:
        """Return the attributes in the body of a header; of equal ones the last counts."""
        found = parse_attributes(self.read_extension(size))
        self._attributes += len(found)
        if self._attributes > MAX_ATTRIBUTES:
            raise LayerError(f"a layer has more than {MAX_ATTRIBUTES} attributes")
        return dict(found)

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
    summed = header[: CHECKSUM.start] + header[CHECKSUM.stop :]
    unsigned = sum(summed) + ord(" ") * (BLOCK - len(summed))  # the checksum itself counts as blanks
    return unsigned, unsigned - 256 * (0 if summed.isascii() else sum(byte > 127 for byte in summed))
