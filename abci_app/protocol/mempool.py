"""What a node lets into its mempool: the envelope over what waits already, the message over the last committed state.

Nothing here is consensus: a transaction that a node refuses may still come in a block, and fails there with a code.
"""

from typing import Final

from abci_app.protocol import errors
from abci_app.protocol.accounts import get_account, is_poor
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.envelope import Admission, check_envelope, check_stateless, check_unsigned, consume_envelope
from abci_app.protocol.messages import HANDLERS
from abci_app.protocol.state import BlockState, CommittedState, StateRead
from abci_app.protocol.transaction import ParsedTx, TxCache

URGENT_KINDS: Final = ("reveal", "commit_vote", "reveal_vote")
"""Messages that a deadline waits for. Few of them can pass their own checks, so they need no other limit."""

POOR_SHARE: Final = 4
"""Accounts below 1 credit fill at most one of so many parts of a mempool."""

MAX_READ_RECORDS: Final = 10_000
"""Of what a CheckState has only read, so many records are remembered. While no block comes, junk can name any number
of accounts, which are looked up before a signature is."""


class CheckState:
    """Nonces, quota and places of what waits in the mempool. Begin a new one at each Commit; recheck fills it again.

    `context` is that of the next block, with the time of the last one; `mempool_size` is in transactions.
    """

    __slots__ = ("context", "overlay", "poor", "poor_places")

    def __init__(self, committed: CommittedState, context: BlockContext, mempool_size: int) -> None:
        """Begin with an empty mempool."""
        self.overlay = BlockState(committed)
        self.context = context
        self.poor = 0
        self.poor_places = mempool_size // POOR_SHARE


def check_tx(check: CheckState, cache: TxCache, tx: bytes) -> None:
    """Take a new transaction into the mempool, or raise the TxError that refuses it, which changes nothing."""
    check.overlay.forget_unchanged(MAX_READ_RECORDS)
    parsed = cache.parse(tx)
    context = TxContext(check.context, parsed.account, 0, parsed.public_key)
    admission = check_envelope(check.overlay, context, parsed)
    check_message(check.overlay, context, parsed)
    _take_poor_place(check, parsed, admission)
    consume_envelope(check.overlay, context, parsed, admission)


def recheck_tx(check: CheckState, cache: TxCache, tx: bytes) -> None:
    """Keep a transaction that waits already, or raise the EnvelopeError that throws it out.

    Its signature was found valid when it came in, and what its message would do is left to the block.
    """
    parsed = cache.parse(tx)
    context = TxContext(check.context, parsed.account, 0, parsed.public_key)
    admission = check_unsigned(check.overlay, context, parsed)
    _take_poor_place(check, parsed, admission)
    consume_envelope(check.overlay, context, parsed, admission)


def check_message(state: StateRead, context: TxContext, tx: ParsedTx) -> None:
    """Raise the MessageError with which the message would fail on this state, if any."""
    check_stateless(tx)
    HANDLERS[tx.kind].check_stateful(state, context, tx.message)


def is_urgent(state: StateRead, context: TxContext, tx: ParsedTx) -> bool:
    """Tell whether a transaction is a Reveal or a vote that would succeed now."""
    if tx.kind not in URGENT_KINDS:
        return False
    try:
        check_message(state, context, tx)
    except errors.MessageError:
        return False
    return True


def is_poor_sender(state: StateRead, tx: ParsedTx) -> bool:
    """Tell whether the sender holds less than 1 credit; who is about to register holds nothing."""
    account = get_account(state, tx.account)
    return account is None or is_poor(account)


def _take_poor_place(check: CheckState, tx: ParsedTx, admission: Admission | None) -> None:
    """Count a sender with less than 1 credit; who is about to register, without an admission, holds nothing."""
    if tx.kind in URGENT_KINDS or (admission is not None and not is_poor(admission.account)):
        return
    if check.poor >= check.poor_places:
        raise errors.PoorPlacesTaken
    check.poor += 1
