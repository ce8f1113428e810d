"""Transfer{to, amount, memo}: credits to another registered account that is not banned. Needs an owner key."""

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, errors, events
from abci_app.protocol.accounts import get_account
from abci_app.protocol.context import TxContext
from abci_app.protocol.limits import ADDRESS_BYTES, MAX_MEMO_BYTES
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.text import check_text

WORK_SCOPE = False


def check_stateless(message: pb.Transfer) -> None:
    """Raise BadRecipient, BadAmount or BadText."""
    if len(message.to) != ADDRESS_BYTES:
        raise errors.BadRecipient
    credits.check_amount(message.amount)
    check_text(message.memo, MAX_MEMO_BYTES)


def check_stateful(state: StateRead, context: TxContext, message: pb.Transfer) -> None:
    """Raise BadRecipient, RecipientBanned or InsufficientBalance."""
    recipient = get_account(state, message.to)
    if recipient is None or message.to == context.account:
        raise errors.BadRecipient
    if recipient.banned:
        raise errors.RecipientBanned
    credits.check_balance(state, context.account, message.amount)


def execute(state: StateWrite, context: TxContext, message: pb.Transfer) -> None:
    """Move the credits."""
    credits.transfer(state, context.block, context.account, message.to, message.amount)
    state.record(events.credits_transferred(context.account, message.to, message.amount))
