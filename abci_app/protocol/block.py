"""The whole block as one readable function: what every validator computes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors, keys
from abci_app.protocol.bans import ban_account
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.credits import get_supply
from abci_app.protocol.deadlines import process_due_jobs
from abci_app.protocol.envelope import check_envelope, check_stateless, consume_envelope
from abci_app.protocol.epochs import drop_left_tables, process_epoch
from abci_app.protocol.events import Event
from abci_app.protocol.invariants import check_totals
from abci_app.protocol.messages import HANDLERS
from abci_app.protocol.outages import process_gap
from abci_app.protocol.pruning import prune_settled
from abci_app.protocol.state import BlockState, StateDelta, StateRead
from abci_app.protocol.transaction import TxCache
from abci_app.protocol.unbonding import process_due_unbondings
from abci_app.protocol.validators import get_operator, process_missed_blocks, process_validators

OFFENCES: Final = (1, 2)
"""ABCI's MisbehaviorType of a double vote and of a light-client attack."""


@dataclass(frozen=True, slots=True)
class Misbehavior:
    """A proved offence of a validator: `kind` is ABCI's MisbehaviorType."""

    kind: int
    consensus_address: bytes
    height: int


@dataclass(frozen=True, slots=True)
class Block:
    """What CometBFT decided. `signed` and `missed`: consensus addresses that signed the last commit, or did not.

    `previous_time_ms` is the time of the block before, 0 for the first: the store keeps it beside the state.
    """

    height: int
    time_ms: int
    block_hash: bytes
    proposer_address: bytes
    txs: Sequence[bytes]
    previous_time_ms: int = 0
    misbehavior: Sequence[Misbehavior] = ()
    signed: Sequence[bytes] = ()
    missed: Sequence[bytes] = ()


class TxResult(NamedTuple):
    """The result of one transaction; `code` 0 is success, else a number of `errors.REASONS`."""

    code: int
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class BlockResult:
    """The results of a block, in order; `validator_updates` are (consensus key, power)."""

    tx_results: list[TxResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    validator_updates: list[tuple[bytes, int]] = field(default_factory=list)


def process_block(state: BlockState, chain_tag: bytes, block: Block, cache: TxCache) -> BlockResult:
    """Run a block on a fresh overlay over the state of the block before. Raises BrokenInvariant: the node must stop."""
    supply_before = get_supply(state)
    context = get_block_context(state, chain_tag, block)
    result = BlockResult()
    result.events += process_evidence(state, context, block.misbehavior)
    result.events += process_missed_blocks(state, context, block.missed)
    process_gap(state, context, block.previous_time_ms)
    process_epoch(state, context, block.previous_time_ms)
    result.events += process_due_jobs(state, context)
    result.events += process_due_unbondings(state, context)
    result.events += prune_settled(state, context)
    result.tx_results = [process_transaction(state, context, cache, tx, i) for i, tx in enumerate(block.txs)]
    result.validator_updates, changes = process_validators(state, context, block.signed)
    result.events += changes
    drop_left_tables(state)
    check_totals(state, supply_before)
    return result


def process_evidence(state: BlockState, context: BlockContext, misbehavior: Sequence[Misbehavior]) -> list[Event]:
    """Ban the operators behind proved offences; a second proof, or a key the chain never knew, changes nothing."""
    events: list[Event] = []
    for offence in misbehavior:
        operator = get_operator(state, offence.consensus_address)
        if operator is not None and offence.kind in OFFENCES:
            delta = StateDelta(state)
            ban_account(delta, context, operator)
            events += delta.apply()
    return events


def get_block_context(state: StateRead, chain_tag: bytes, block: Block) -> BlockContext:
    """Return what the rules may know of a block besides the state."""
    proposer = get_operator(state, block.proposer_address)
    return BlockContext(chain_tag, get_params(state), block.height, block.time_ms, block.block_hash, proposer)


def get_params(state: StateRead) -> pb.Params:
    """Return the parameters of the chain, not to be changed. Raises LookupError before the genesis."""
    params = state.get(keys.PARAMS, pb.Params)
    if params is None:
        raise LookupError("the state has no parameters")
    return params


def process_transaction(state: BlockState, context: BlockContext, cache: TxCache, tx: bytes, index: int) -> TxResult:
    """Run one transaction on its own delta; a failure drops its writes and events together."""
    try:
        parsed = cache.parse(tx)
        tx_context = TxContext(context, parsed.account, index, parsed.public_key)
        admission = check_envelope(state, tx_context, parsed)
        consume_envelope(state, tx_context, parsed, admission)
        check_stateless(parsed)
        handler = HANDLERS[parsed.kind]
        delta = StateDelta(state)
        handler.check_stateful(delta, tx_context, parsed.message)
        handler.execute(delta, tx_context, parsed.message)
    except errors.TxError as error:
        return TxResult(error.code)
    return TxResult(0, tuple(delta.apply()))
