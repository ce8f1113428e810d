"""What a proposer puts into a block, and what the others refuse."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final, cast

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.envelope import check_chain_and_expiry, check_envelope, consume_envelope
from abci_app.protocol.mempool import URGENT_KINDS, is_poor_sender, is_urgent
from abci_app.protocol.state import BlockState, StateRead
from abci_app.protocol.transaction import ParsedTx, TxCache

_URGENT, _RICH, _POOR = range(3)
_TAG_BYTES: Final = 1


def prepare_proposal(
    state: BlockState, context: BlockContext, cache: TxCache, txs: Sequence[bytes], max_bytes: int
) -> list[bytes]:
    """Return the transactions whose envelopes hold one after the other, within `max_bytes` as CometBFT counts them.

    First the Reveals and votes that pass their own checks, then accounts with at least 1 credit, then the rest; the
    order of one key's transactions stays. `state` is a fresh overlay, to be thrown away: only nonces, quota and the
    count of registrations change, since there is no block hash yet to run the messages with.
    """
    chosen: list[bytes] = []
    used = 0
    for _, tx, parsed in _rank(state, context, cache, txs):
        size = compute_proto_size(tx)
        if used + size > max_bytes:
            continue
        tx_context = _get_tx_context(context, parsed)
        try:
            admission = check_envelope(state, tx_context, parsed)
        except errors.EnvelopeError:
            continue
        consume_envelope(state, tx_context, parsed, admission)
        chosen.append(tx)
        used += size
    return chosen


def find_fault(context: BlockContext, cache: TxCache, txs: Iterable[bytes]) -> errors.TxError | None:
    """Return why a proposal is to be refused, None if it is not.

    Refused is only what no honest proposer can have built, whatever its state: too large, not canonical, another
    chain's tag, a height outside the expiry, a bad signature, the same bytes twice.
    """
    seen: set[bytes] = set()
    try:
        for tx in txs:
            parsed = cache.parse(tx)
            check_chain_and_expiry(parsed, context)
            if tx in seen:
                raise errors.DuplicateTx
            if not parsed.is_signature_valid():
                raise errors.BadSignature
            seen.add(tx)
    except errors.EnvelopeError as error:
        return error
    return None


def compute_proto_size(tx: bytes) -> int:
    """Return the bytes a transaction takes in a block: CometBFT's types.ComputeProtoSizeForTxs for a single one.

    It is a repeated bytes field: one byte of tag, the length as a varint, the bytes.
    """
    length = len(tx)
    return _TAG_BYTES + max(1, (length.bit_length() + 6) // 7) + length


def _rank(
    state: StateRead, context: BlockContext, cache: TxCache, txs: Sequence[bytes]
) -> list[tuple[int, bytes, ParsedTx]]:
    """Return the well-formed transactions by rank; none stands before an earlier one of its key.

    What is urgent comes first once for each account, job and kind: a second one would fail in the block.
    """
    last: dict[bytes, int] = {}
    urgent: dict[tuple[bytes, str, int], None] = {}
    ranked: list[tuple[int, bytes, ParsedTx]] = []
    for tx in txs:
        try:
            parsed = cache.parse(tx)
        except errors.EnvelopeError:
            continue
        rank = max(_get_rank(state, context, parsed, urgent), last.get(parsed.public_key, _URGENT))
        last[parsed.public_key] = rank
        ranked.append((rank, tx, parsed))
    ranked.sort(key=itemgetter(0))
    return ranked


def _get_rank(state: StateRead, context: BlockContext, tx: ParsedTx, urgent: dict[tuple[bytes, str, int], None]) -> int:
    if tx.kind in URGENT_KINDS:
        message = cast(tx_pb2.Reveal | tx_pb2.CommitVote | tx_pb2.RevealVote, tx.message)
        subject = (tx.account, tx.kind, message.job_id)
        if subject not in urgent and is_urgent(state, _get_tx_context(context, tx), tx):
            urgent[subject] = None
            return _URGENT
    return _POOR if is_poor_sender(state, tx) else _RICH


def _get_tx_context(context: BlockContext, tx: ParsedTx) -> TxContext:
    return TxContext(context, tx.account, 0, tx.public_key)
