"""What a client needs from a node, below the meaning of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from abci_app.protocol.events import Event


@dataclass(frozen=True, slots=True)
class ProofOp:
    """One operation of a Merkle proof, as ABCI carries it."""

    type: str
    key: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The answer to an ABCI query; `code` 0 is success, else `log` says why."""

    code: int
    log: str
    value: bytes
    height: int
    proof: Sequence[ProofOp] = ()


@dataclass(frozen=True, slots=True)
class BlockData:
    """A block with its results: per transaction its bytes, code and events."""

    time_ms: int
    txs: Sequence[bytes] = ()
    codes: Sequence[int] = ()
    tx_events: Sequence[Sequence[Event]] = ()
    events: Sequence[Event] = field(default=())


class Transport(Protocol):
    """One node. Every method may raise NodeUnreachable or BadAnswer."""

    async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
        """Ask the application."""

    async def broadcast(self, tx: bytes) -> int:
        """Offer a transaction to the mempool and return CheckTx's code; one that is there already is accepted."""

    async def is_catching_up(self) -> bool:
        """Tell whether the node says that it does not have all blocks yet."""

    async def get_block(self, height: int) -> BlockData:
        """Return a committed block with its results."""

    async def count_txs(self, from_height: int, to_height: int) -> dict[int, int]:
        """Return the number of transactions of each block of the range, at most 20 blocks from its end."""

    async def get_app_hash(self, height: int) -> bytes:
        """Return the app hash in the header of `height`: that of the state after the block before it."""

    async def wait_for_news(self, timeout_s: float) -> None:
        """Return when a block may have been committed since the last call, or when the time is over."""

    async def aclose(self) -> None:
        """Close all connections."""
