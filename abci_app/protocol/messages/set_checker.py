"""SetChecker{enabled, highest_class}: opt in to (or out of) being drawn for committees. Owner key.

It counts from the next checker table on; seats that were drawn stay.
"""

from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors, events
from abci_app.protocol.accounts import edit_account, edit_standing
from abci_app.protocol.context import TxContext
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.SetChecker) -> None:
    """Raise BadChecker for opting out with a class."""
    if not message.enabled and message.highest_class:
        raise errors.BadChecker


def check_stateful(state: StateRead, context: TxContext, message: pb.SetChecker) -> None:
    """Raise BadChecker for a class that the chain does not have."""
    if message.enabled and message.highest_class >= len(context.block.params.classes):
        raise errors.BadChecker


def execute(state: StateWrite, context: TxContext, message: pb.SetChecker) -> None:
    """Remember the choice; the account counts as silent from now on."""
    checker = message.highest_class + 1 if message.enabled else 0
    edit_account(state, context.account).checker = checker
    edit_standing(state, context.account).silent_since_ms = context.block.time_ms
    state.record(events.account_checker_set(context.account, checker))
