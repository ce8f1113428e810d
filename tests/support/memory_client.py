"""The client's transport without a network: the tests' chain behind the same questions that a node answers.

Queries go through the node's own router and views over a store in memory, and broadcasts through its mempool checks,
so what works here says the same on a real node, apart from CometBFT itself. Blocks are made by `advance`, by calling
the chain directly, or with `auto_ms` by themselves whenever somebody waits for one (virtual time).
"""

import asyncio
from typing import Any, Final

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import errors
from abci_app.protocol.block import BlockResult
from abci_app.protocol.context import BlockContext
from abci_app.protocol.hashing import compute_tx_hash
from abci_app.protocol.mempool import CheckState, check_tx, recheck_tx
from abci_app.protocol.state import BlockState
from abci_app.server.dry_run import show_check
from abci_app.server.query import QueryRouter
from abci_app.server.views import Views
from abci_app.store.interface import stage
from abci_app.store.memory import MemoryStore
from learningchain.client import Client, SyncClient
from learningchain.client.errors import BadAnswer, NodeUnreachable
from learningchain.client.transport import BlockData, ProofOp, QueryAnswer
from tests.support.chain import CHAIN_ID, Chain, DictState

MEMPOOL: Final = 1_000
BLOCK_MS: Final = 1_000
POLL_S: Final = 0.002


class MirroredState(DictState):
    """The chain's dictionaries, with everything also committed to a real store, from which queries are answered."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain
        self.store = MemoryStore()
        self._records: dict[bytes, bytes | None] = dict(chain.committed.records)
        self._index: dict[bytes, bytes | None] = dict(chain.committed.index)
        self.records, self.index = chain.committed.records, chain.committed.index
        self._ordered = sorted(self.index)

    def commit(self, state: BlockState) -> None:
        super().commit(state)
        # The store's first block carries the genesis state with it, as a node's does.
        self._records.update(state.get_changed_records())
        self._index.update(state.get_changed_index())
        chain = self._chain
        names: Any = {"chain_id": CHAIN_ID, "chain_tag": chain.tag}
        staged = stage(self.store, self._records, self._index, height=chain.height, time_ms=chain.time_ms, **names)
        self.store.commit(staged)
        self._records, self._index = {}, {}


class MemoryTransport:
    """A node in memory over `chain`, which tests may also drive directly."""

    def __init__(self, chain: Chain, auto_ms: int | None = None) -> None:
        self.chain = chain
        self.auto_ms = auto_ms
        self.blocks: dict[int, BlockData] = {}
        self.app_hashes: dict[int, bytes] = {}
        self.mempool: list[bytes] = []
        self.broadcasts: list[bytes] = []
        self.failing = False
        self.failing_broadcasts = False
        self._known: set[bytes] = set()
        self._state = MirroredState(chain)
        chain.committed = self._state
        self._make_block = chain.block
        chain.block = self._block  # type: ignore[method-assign, assignment]
        self._check = self._begin_check()
        views = Views(self._state.store).table
        views["check"] = lambda question: show_check(self._state, self._get_context(), question)
        self._router = QueryRouter(self._state.store, views)

    # --- the node's side ------------------------------------------------------------------------------------------

    async def advance(self, ms: int = BLOCK_MS) -> None:
        """Make blocks until `ms` of block time have passed; the first takes the mempool."""
        while ms > 0:
            self.make_block(min(ms, 4 * BLOCK_MS))
            ms -= 4 * BLOCK_MS
            await asyncio.sleep(0)

    def make_block(self, ms: int = BLOCK_MS) -> None:
        """Make one block of what waits in the mempool."""
        txs, self.mempool = self.mempool, []
        self._block(txs, dt_ms=ms)

    def evict(self) -> None:
        """Lose everything that waits, as a full or restarted node does."""
        for tx in self.mempool:
            self._known.discard(compute_tx_hash(tx))
        self.mempool = []
        self._check = self._begin_check()

    def _block(self, txs: Any = (), **options: Any) -> BlockResult:
        encoded = [tx if isinstance(tx, bytes) else self.chain.sign(*tx) for tx in txs]
        result = self._make_block(encoded, **options)
        height = self.chain.height
        self.blocks[height] = BlockData(
            self.chain.time_ms,
            encoded,
            [entry.code for entry in result.tx_results],
            [entry.events for entry in result.tx_results],
            result.events,
        )
        self.app_hashes[height + 1] = self._state.store.meta.app_hash
        self._recheck()
        return result

    def _recheck(self) -> None:
        self._check = self._begin_check()
        kept = []
        for tx in self.mempool:
            try:
                recheck_tx(self._check, self.chain.cache, tx)
                kept.append(tx)
            except errors.EnvelopeError:
                self._known.discard(compute_tx_hash(tx))
        self.mempool = kept

    def _get_context(self) -> BlockContext:
        return BlockContext(self.chain.tag, self.chain.params, self.chain.height + 1, self.chain.time_ms)

    def _begin_check(self) -> CheckState:
        return CheckState(self._state, self._get_context(), MEMPOOL)

    # --- the client's side ----------------------------------------------------------------------------------------

    async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
        self._require_up()
        answer = self._router.answer(abci.RequestQuery(path=path, data=data, prove=prove))
        proof = tuple(ProofOp(op.type, op.key, op.data) for op in answer.proof_ops.ops)
        return QueryAnswer(answer.code, answer.log, answer.value, answer.height, proof)

    async def broadcast(self, tx: bytes) -> int:
        self._require_up()
        if self.failing_broadcasts:
            raise NodeUnreachable("the node went down before it got the transaction (as the test wants)")
        self.broadcasts.append(tx)
        tx_hash = compute_tx_hash(tx)
        if tx_hash in self._known:
            return 0
        try:
            check_tx(self._check, self.chain.cache, tx)
        except errors.TxError as error:
            return error.code
        self._known.add(tx_hash)
        self.mempool.append(tx)
        return 0

    async def is_catching_up(self) -> bool:
        self._require_up()
        return False

    async def get_block(self, height: int) -> BlockData:
        self._require_up()
        if height not in self.blocks:
            raise BadAnswer(f"there is no block {height}")
        return self.blocks[height]

    async def count_txs(self, from_height: int, to_height: int) -> dict[int, int]:
        self._require_up()
        # Blocks from before this object was made count as empty.
        heights = range(max(1, from_height, to_height - 19), min(to_height, self.chain.height) + 1)
        return {height: len(self.blocks[height].txs) if height in self.blocks else 0 for height in heights}

    async def get_app_hash(self, height: int) -> bytes:
        self._require_up()
        if height > self.chain.height:
            raise BadAnswer(f"there is no header {height}")
        return self.app_hashes[height]

    async def wait_for_news(self, timeout_s: float) -> None:
        self._require_up()
        height = self.chain.height
        if self.auto_ms is not None:
            await asyncio.sleep(0)
            self.make_block(self.auto_ms)
            return
        waited = 0.0
        while self.chain.height == height and waited < timeout_s:
            await asyncio.sleep(POLL_S)
            waited += POLL_S

    async def aclose(self) -> None:
        return

    def _require_up(self) -> None:
        if self.failing:
            raise NodeUnreachable("the node is down (as the test wants)")


def make_client(chain: Chain, auto_ms: int | None = BLOCK_MS) -> Client:
    """Return a client of the chain; with `auto_ms` waiting makes blocks."""
    return Client(MemoryTransport(chain, auto_ms))


def make_sync_client(chain: Chain) -> SyncClient:
    """Return the same for plain code; close it at the end."""
    return SyncClient(make_client(chain))
