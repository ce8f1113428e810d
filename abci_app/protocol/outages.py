"""The end of the last outage: a gap of more than `outage_ms` between two consecutive block times."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.state import BlockState, StateDelta, StateRead


def get_outage_end(state: StateRead) -> int:
    """Return the block time in ms at which the last outage ended, 0 if there was none."""
    outage = state.get(keys.OUTAGE, pb.Outage)
    return 0 if outage is None else outage.end_ms


def process_gap(state: BlockState, context: BlockContext, previous_ms: int) -> None:
    """Remember an outage that this block ends; `previous_ms` is the block time before, 0 before the first block."""
    if previous_ms == 0 or context.time_ms - previous_ms <= context.params.outage_ms:
        return
    delta = StateDelta(state)
    delta.edit(keys.OUTAGE, pb.Outage).end_ms = context.time_ms
    delta.apply()
