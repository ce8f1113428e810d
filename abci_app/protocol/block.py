"""The whole block as one readable function: what every validator computes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from abci_app.protocol import errors
from abci_app.protocol.context import BlockContext, TxContext
from abci_app.protocol.envelope import check_envelope, consume_envelope
from abci_app.protocol.events import Event
from abci_app.protocol.invariants import check_totals
from abci_app.protocol.messages import HANDLERS
from abci_app.protocol.state import BlockState, StateDelta
from abci_app.protocol.transaction import TxCache


@dataclass(frozen=True, slots=True)
class Misbehavior:
    """A proved offence of a validator: `kind` is ABCI's MisbehaviorType."""

    kind: int
    consensus_address: bytes
    height: int


@dataclass(frozen=True, slots=True)
class Block:
    """What CometBFT decided. `missed` are the consensus addresses that did not sign the last commit."""

    height: int
    time_ms: int
    block_hash: bytes
    proposer_address: bytes
    txs: Sequence[bytes]
    misbehavior: Sequence[Misbehavior] = ()
    signed: Sequence[bytes] = ()
    missed: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class TxResult:
    """The result of one transaction; `code` 0 is success, else a number of `errors.REASONS`."""

    code: int
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class BlockResult:
    """The results of a block, in order; `validator_updates` are (consensus key, power)."""

    tx_results: list[TxResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    validator_updates: list[tuple[bytes, int]] = field(default_factory=list)


def process_transaction(state: BlockState, context: BlockContext, cache: TxCache, tx: bytes, index: int) -> TxResult:
    """Run one transaction on its own delta; a failure drops its writes and events together."""
    try:
        parsed = cache.parse(tx)
        tx_context = TxContext(context, parsed.account, index, parsed.public_key)
        check_envelope(state, tx_context, parsed)
        consume_envelope(state, tx_context, parsed)
        handler = HANDLERS[parsed.kind]
        handler.check_stateless(parsed.message)
        delta = StateDelta(state)
        handler.check_stateful(delta, tx_context, parsed.message)
        handler.execute(delta, tx_context, parsed.message)
    except errors.TxError as error:
        return TxResult(error.code)
    return TxResult(0, tuple(delta.apply()))
