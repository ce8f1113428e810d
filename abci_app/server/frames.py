"""Frames of the socket protocol: each message is preceded by its length as an unsigned varint."""

from typing import Final

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Largest frame accepted, in bytes: a genesis with half a million accounts; blocks are far smaller."""
_MAX_LENGTH_BYTES: Final = 5
_LENGTH_DELIMITED: Final = 2
"""Protobuf's wire type of messages and bytes."""
_INCOMPLETE: Final = (-1, 0)


class FrameError(ValueError):
    """The peer does not speak the socket protocol; the connection cannot go on."""


class FrameReader:
    """Cuts a stream of bytes into frames. Keeps at most one incomplete frame between two calls."""

    __slots__ = ("_limit", "_needed", "_tail")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        """Begin with an empty stream; `limit` is the largest frame in bytes."""
        self._limit = limit
        self._tail = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes. Raises FrameError for a length above the limit."""
        if self._tail:
            self._tail += data
            if len(self._tail) < self._needed:  # a large frame arrives in many pieces: copy it once only
                return []
            data = bytes(self._tail)
        frames, position, size = [], 0, len(data)
        self._needed = 0
        while position < size:
            length, start = self._read_length(data, position)
            end = start + length
            if length < 0 or end > size:
                self._needed = end - position
                break
            frames.append(data[start:end])
            position = end
        self._tail = bytearray(data[position:])
        return frames

    @property
    def has_partial_frame(self) -> bool:
        """Whether the stream stands in the middle of a frame."""
        return bool(self._tail)

    def _read_length(self, data: bytes, position: int) -> tuple[int, int]:
        """Return (length, where the frame's content starts), or a negative length while it is incomplete."""
        length, start = read_length(data, position)
        if length > self._limit:
            raise FrameError(f"a frame of {length} bytes, at most {self._limit} are accepted")
        if length < 0 and len(data) - position >= _MAX_LENGTH_BYTES:
            raise FrameError(f"a frame's length has more than {_MAX_LENGTH_BYTES} bytes")
        return length, start


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """Return a varint and the position after it, or a negative number if it does not end within 5 bytes or the data."""
    if position + 1 < len(data):  # nearly all lengths have one or two bytes
        first, second = data[position], data[position + 1]
        if first < 0x80:
            return first, position + 1
        if second < 0x80:
            return first & 0x7F | second << 7, position + 2
    length = 0
    for count, byte in enumerate(data[position : position + _MAX_LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return length, position + count + 1
    return _INCOMPLETE


def cut_only_field(message: bytes, tag: int) -> bytes | None:
    """Return the content of a message's only field, if it has this tag of one byte; None for any other message."""
    if not message or message[0] != tag:
        return None
    length, start = read_length(message, 1)
    return message[start:] if length >= 0 and start + length == len(message) else None


def encode_frame(content: bytes) -> bytes:
    """Return `content` preceded by its length."""
    return encode_varint(len(content)) + content


def encode_only_field(number: int, content: bytes) -> bytes:
    """Return a message with one field, itself the message `content`, of which protobuf would make a copy first."""
    return b"".join((encode_varint(number << 3 | _LENGTH_DELIMITED), encode_varint(len(content)), content))


def encode_varint(value: int) -> bytes:
    """Return a number of at least 0, seven bits a byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
