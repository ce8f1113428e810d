"""Unjail{}: lift every jail of the sender that is at least `unjail_ms` old. Owner key."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import errors, events
from abci_app.protocol.accounts import edit_account, edit_standing, require_account
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.state import StateRead, StateWrite
from abci_app.protocol.validators import clear_misses

WORK_SCOPE = False


def check_stateless(message: pb.Unjail) -> None:
    """Nothing is left to check."""


def check_stateful(state: StateRead, context: TxContext, message: pb.Unjail) -> None:
    """Raise NotJailed, or StillJailed while no jail is old enough."""
    account = require_account(state, context.account)
    if not account.checker_jailed_ms and not account.validator_jailed_ms:
        raise errors.NotJailed
    if not any(_get_jails_served(account, context.block)):
        raise errors.StillJailed


def execute(state: StateWrite, context: TxContext, message: pb.Unjail) -> None:
    """Lift the jails and clear the counts of misses that led to them."""
    account = edit_account(state, context.account)
    checker, validator = _get_jails_served(account, context.block)
    if checker:
        account.checker_jailed_ms = 0
        standing = edit_standing(state, context.account)
        standing.missed_in_a_row = 0
        standing.silent_since_ms = context.block.time_ms
    if validator:
        account.validator_jailed_ms = 0
        clear_misses(state, context.account)
    state.record(events.account_unjailed(context.account))


def _get_jails_served(account: state_pb2.Account, block: BlockContext) -> tuple[bool, bool]:
    """Tell whether the jails as checker and as validator are old enough to be lifted."""
    latest = block.time_ms - block.params.unjail_ms
    return 0 < account.checker_jailed_ms <= latest, 0 < account.validator_jailed_ms <= latest
