"""Unbond{amount}: credits leave the bond and wait, without weight but seizable, until they are released. Owner key."""

from abci_app.pb.learningchain.v1 import state_pb2
from abci_app.pb.learningchain.v1 import tx_pb2 as pb
from abci_app.protocol import credits, errors, events, keys
from abci_app.protocol.accounts import require_account
from abci_app.protocol.context import TxContext
from abci_app.protocol.limits import MAX_UNBONDINGS, MIN_BOND_MOVE
from abci_app.protocol.state import StateRead, StateWrite

WORK_SCOPE = False


def check_stateless(message: pb.Unbond) -> None:
    """Raise BadAmount."""
    credits.check_amount(message.amount)


def check_stateful(state: StateRead, context: TxContext, message: pb.Unbond) -> None:
    """Raise InsufficientBond, TooManyUnbondings, or BadBondAmount for less than 1 credit that is not the whole bond."""
    account = require_account(state, context.account)
    if account.bond < message.amount:
        raise errors.InsufficientBond
    if message.amount < MIN_BOND_MOVE and message.amount != account.bond:
        raise errors.BadBondAmount
    if len(account.unbonding) >= MAX_UNBONDINGS:
        raise errors.TooManyUnbondings


def execute(state: StateWrite, context: TxContext, message: pb.Unbond) -> None:
    """Open an unbonding entry, to be released when both its time and its height have come."""
    block = context.block
    counters = state.edit(keys.COUNTERS, state_pb2.Counters)
    entry = state_pb2.Unbonding(
        amount=message.amount,
        release_ms=block.time_ms + block.params.unbonding_ms,
        release_height=block.height + block.params.unbonding_blocks,
        number=counters.next_unbonding,
    )
    counters.next_unbonding += 1
    credits.start_unbonding(state, context.account, entry)
    state.record(events.credits_unbonding(context.account, entry.amount, entry.release_ms))
