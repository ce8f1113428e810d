"""Bond{amount}: credits from the balance to the bond, which gives weight as checker and validator. Owner key."""

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, errors, events
from abci_app.protocol.accounts import require_account
from abci_app.protocol.context import TxContext
from abci_app.protocol.limits import MIN_BOND_MOVE
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.Bond) -> None:
    """Raise BadAmount."""
    credits.check_amount(message.amount)


def check_stateful(state: StateRead, context: TxContext, message: pb.Bond) -> None:
    """Raise InsufficientBalance, or BadBondAmount for less than 1 credit that is not the whole balance."""
    credits.check_balance(state, context.account, message.amount)
    if message.amount < MIN_BOND_MOVE and message.amount != require_account(state, context.account).balance:
        raise errors.BadBondAmount


def execute(state: StateWrite, context: TxContext, message: pb.Bond) -> None:
    """Move the credits; the weight counts from the next validator update and checker table."""
    credits.bond(state, context.account, message.amount)
    state.record(events.credits_bonded(context.account, message.amount))
