"""Credits that left a bond: no weight, still seizable, back in the balance after time and blocks."""

from abci_app.protocol import credits, events, keys
from abci_app.protocol.context import BlockContext
from abci_app.protocol.events import Event
from abci_app.protocol.state import BlockState, StateDelta


def process_due_unbondings(state: BlockState, context: BlockContext) -> list[Event]:
    """Release the entries whose time and height have come, in (time, height, number) order, up to the block's cap.

    Both are the block's of the Unbond plus a constant, so heights rise along the queue: behind an entry that still
    waits for blocks everything waits.
    """
    due: list[tuple[bytes, int]] = []
    for key, address in state.scan(keys.index_unbonding(0, 0, 0), keys.index_unbonding(context.time_ms + 1, 0, 0)):
        _, height, number = keys.split_unbonding(key)
        if height > context.height or len(due) == context.params.max_released_per_block:
            break
        due.append((address, number))
    released: list[Event] = []
    for address, number in due:
        released += _release(state, context, address, number)
    return released


def _release(state: BlockState, context: BlockContext, address: bytes, number: int) -> list[Event]:
    delta = StateDelta(state)
    amount = credits.release_unbonding(delta, context, address, number)
    delta.record(events.credits_released(address, amount))
    return delta.apply()
