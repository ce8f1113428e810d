"""What a layer unpacks to: the bytes of its tar, the same on every machine and whichever engine there is.

Layers are packed with gzip, with zstd or not at all, in one piece or many (OCI image specification, "Layer").
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Literal, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
ZSTD_NOTE: Final = b"\x2a\x4d\x18"  # behind a byte from 0x50 to 0x5f: a frame without content, which may come first
OTHERS: Final = (b"BZh", b"\xfd7zXZ\0")  # bzip2 and xz, which some engines unpack too, whatever the layer is said to be
READ_BYTES: Final = 16 << 10
CHUNK_BYTES: Final = 1 << 20  # unpacked at a time, however small it was
FREE_PIECES: Final = 10_000  # gzip members or zstd frames, empty ones too, whatever is in them
PIECE_BYTES: Final = 256  # of tar for each further one: formats that begin one with each file have 512 and more
MAX_WINDOW_LOG: Final = 27  # of zstd: 128 MiB of memory, as much as its own command takes without being asked to

Packing = Literal["gzip", "zstd", ""]


class LayerError(Exception):
    """A layer is not what every engine unpacks alike; the text says why."""


class _Piece(Protocol):
    """A gzip member or zstd frame that is being unpacked."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what more packed bytes unpack to, at most CHUNK_BYTES at a time."""

    @property
    def is_over(self) -> bool:
        """Whether it has all its bytes."""

    @property
    def rest(self) -> bytes:
        """What was fed beyond its end."""


def find_packing(file: BinaryIO) -> Packing:
    """Return what a layer is packed with, as media types name it. Raises LayerError.

    A tar may begin with any name. One that begins like something packed is taken for that, as engines do.
    """
    file.seek(0)
    magic = file.read(max(map(len, OTHERS)))
    file.seek(0)
    if magic.startswith(OTHERS):
        raise LayerError("a layer begins like one packed with bzip2 or xz: use gzip or zstd")
    if magic.startswith(GZIP):
        return "gzip"
    return "zstd" if _is_zstd(magic) else ""


def read_unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Give the tar of a packed layer, from its beginning, in pieces that may be empty. Raises LayerError."""
    packing = find_packing(file)
    if packing:
        yield from _unpack(file, _Gzip if packing == "gzip" else _Zstd)
    else:
        while data := file.read(CHUNK_BYTES):
            yield data


def _is_zstd(magic: bytes) -> bool:
    return magic.startswith(ZSTD) or (magic[1:4] == ZSTD_NOTE and magic[0] >> 4 == 5)


def _unpack(file: BinaryIO, begin: Callable[[], _Piece]) -> Iterator[bytes]:
    piece: _Piece | None = None
    pieces, unpacked, data = 0, 0, b""
    while data or (data := file.read(READ_BYTES)):
        if piece is None:
            piece, pieces = begin(), pieces + 1
            if pieces > FREE_PIECES + unpacked // PIECE_BYTES:
                raise LayerError(f"a layer is packed in more than {FREE_PIECES} pieces of few bytes")
        is_empty = True
        try:
            for chunk in piece.feed(data):
                is_empty = False
                unpacked += len(chunk)
                yield chunk
        except (zlib.error, zstd.ZstdError) as error:
            raise LayerError(f"a layer cannot be unpacked: {error}") from error
        if is_empty:
            yield b""  # much can unpack to nothing, and whoever reads may want to stop
        data = b""
        if piece.is_over:
            data, piece = piece.rest, None
    if piece is not None:
        raise LayerError("a layer cannot be unpacked: it ends too early")


class _Gzip:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inflater.eof:
            if chunk := self._inflater.decompress(data, CHUNK_BYTES):
                yield chunk
            data = self._inflater.unconsumed_tail

    @property
    def is_over(self) -> bool:
        return self._inflater.eof

    @property
    def rest(self) -> bytes:
        return self._inflater.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if chunk := self._decompressor.decompress(data, CHUNK_BYTES):
                yield chunk
            data = b""
            if self._decompressor.eof or self._decompressor.needs_input:
                return

    @property
    def is_over(self) -> bool:
        return self._decompressor.eof

    @property
    def rest(self) -> bytes:
        return self._decompressor.unused_data
