"""Parsing of transactions: bytes in, a strict and canonical `ParsedTx` or an EnvelopeError out."""

from collections import deque
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.crypto import is_valid_signature
from abci_app.protocol.hashing import get_tx_sign_bytes
from abci_app.protocol.limits import ADDRESS_BYTES, KEY_BYTES, MAX_TX_BYTES, SIGNATURE_BYTES, TAG_BYTES

M = TypeVar("M", bound=Message)

CACHE_ENTRIES: Final = 50_000
"""Transactions a `TxCache` remembers: more than a mempool of 20 000 and a block."""
CACHE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of the transactions a `TxCache` remembers; in memory each takes a few times its size."""


class ParsedTx:
    """A well-formed transaction. Its signature is checked at the first question and then remembered."""

    __slots__ = (
        "_signature_ok",
        "account",
        "body",
        "chain_tag",
        "expires",
        "is_message_sound",
        "kind",
        "message",
        "nonce",
        "public_key",
        "signature",
    )

    def __init__(self, signed: pb.SignedTx, body: pb.TxBody, kind: str) -> None:
        """Take the fields out of the decoded layers."""
        self.body = signed.body_bytes
        self.public_key = signed.public_key
        self.signature = signed.signature
        self.chain_tag = body.chain_tag
        self.account = body.account
        self.nonce = body.nonce
        self.expires = body.expires_at_height
        self.kind = kind
        self.message: Message = getattr(body, kind)
        self.is_message_sound = False
        """Whether the message's own stateless checks are known to pass, a pure function of its bytes."""
        self._signature_ok: bool | None = None

    def is_signature_valid(self) -> bool:
        """Tell whether the signature is valid, a pure function of the transaction's bytes."""
        if self._signature_ok is None:
            message = get_tx_sign_bytes(self.chain_tag, self.body)
            self._signature_ok = is_valid_signature(self.public_key, message, self.signature)
        return self._signature_ok


def parse(tx: bytes) -> ParsedTx:
    """Decode a transaction strictly. Raises EnvelopeError: too large, undecodable, not canonical, bad field length."""
    if len(tx) > MAX_TX_BYTES:
        raise errors.TooLarge
    signed = _decode(pb.SignedTx, tx)
    body = _decode(pb.TxBody, signed.body_bytes)
    kind = body.WhichOneof("message")
    if kind is None:
        raise errors.Undecodable
    if len(body.chain_tag) != TAG_BYTES or len(body.account) != ADDRESS_BYTES:
        raise errors.BadFieldLength
    if len(signed.public_key) != KEY_BYTES or len(signed.signature) != SIGNATURE_BYTES:
        raise errors.BadFieldLength
    return ParsedTx(signed, body, kind)


def _decode(kind: type[M], data: bytes) -> M:
    """Decode one layer. upb keeps unknown fields and would write them again, so they are dropped before comparing."""
    try:
        message = kind.FromString(data)
    except DecodeError:
        raise errors.Undecodable from None
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        raise errors.NotCanonical
    return message


class TxCache:
    """Remembers what `parse` gave for the same bytes: a pure memo, bounded, oldest out first."""

    __slots__ = ("_bytes", "_entries", "_limit", "_max_bytes", "_order")

    def __init__(self, limit: int = CACHE_ENTRIES, max_bytes: int = CACHE_BYTES) -> None:
        """Begin empty; `limit` is in transactions, `max_bytes` in bytes of them."""
        self._entries: dict[bytes, ParsedTx] = {}
        self._order: deque[bytes] = deque()  # a dict finds its oldest key by walking over all that were removed
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0

    def parse(self, tx: bytes) -> ParsedTx:
        """Return `parse(tx)`, or raise what it raised."""
        entry = self._entries.get(tx)
        return self._parse_new(tx) if entry is None else entry

    def _parse_new(self, tx: bytes) -> ParsedTx:
        entry = parse(tx)
        self._entries[tx] = entry
        self._order.append(tx)
        self._bytes += len(tx)
        while len(self._order) > self._limit or self._bytes > self._max_bytes:
            oldest = self._order.popleft()
            del self._entries[oldest]
            self._bytes -= len(oldest)
        return entry
