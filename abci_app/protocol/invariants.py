"""What must hold after every block. A broken invariant halts the node: it never continues with wrong credits."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.credits import get_supply
from abci_app.protocol.state import BlockState


class BrokenInvariant(RuntimeError):
    """The rules or the stored state are wrong; the node must stop."""


def check_totals(state: BlockState, before: pb.Supply) -> None:
    """Raise BrokenInvariant unless the parts sum to the genesis supply and moved as the records did since `before`."""
    now = get_supply(state)
    parts = now.balances + now.bonds + now.unbonding + now.escrow + now.deposits + now.burned
    if parts != now.genesis or now.genesis != before.genesis:
        raise BrokenInvariant("the parts of the supply do not sum to the genesis supply")
    if now.burned < before.burned:
        raise BrokenInvariant("burned credits came back")
    moved = [
        now.balances - before.balances,
        now.bonds - before.bonds,
        now.unbonding - before.unbonding,
        now.escrow - before.escrow,
        now.deposits - before.deposits,
    ]
    if moved != state.drift:
        raise BrokenInvariant("the running totals differ from what the records show")
