"""The application object: ABCI's methods over the store and the core."""

from functools import lru_cache
from typing import Final

import structlog

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol import errors
from abci_app.protocol.block import get_params
from abci_app.protocol.context import BlockContext
from abci_app.protocol.mempool import CheckState, check_tx, recheck_tx
from abci_app.protocol.proposal import find_fault, prepare_proposal
from abci_app.protocol.state import BlockState
from abci_app.protocol.transaction import TxCache
from abci_app.server.base import BaseApplication
from abci_app.server.consensus import Consensus
from abci_app.server.conversions import CODESPACE, describe, to_milliseconds
from abci_app.server.dispatch import NodeFailure
from abci_app.server.dry_run import show_check
from abci_app.server.query import QueryRouter
from abci_app.server.views import APP_VERSION, Views
from abci_app.store.interface import Store

LOG = structlog.get_logger("abci.application")

SOFTWARE_VERSION: Final = "learningchain/0.1.0"
_ACCEPTED: Final = abci.ResponseCheckTx()


class ChainApplication(BaseApplication):
    """LearningChain behind ABCI. All methods are called from one thread."""

    def __init__(self, store: Store, mempool_size: int) -> None:
        """Continue where the store stands; `mempool_size` is CometBFT's, in transactions."""
        self._store = store
        self._mempool_size = mempool_size
        self._cache = TxCache()
        self._consensus = Consensus(store, self._cache)
        self._check: CheckState | None = None
        views = Views(store).table
        views["check"] = lambda question: show_check(store, self._next_context(), question)
        self._router = QueryRouter(store, views)

    def info(self, request: abci.RequestInfo) -> abci.ResponseInfo:
        """Return what the store holds: CometBFT replays the blocks after it."""
        meta = self._store.meta
        return abci.ResponseInfo(
            data="learningchain",
            version=SOFTWARE_VERSION,
            app_version=APP_VERSION,
            last_block_height=meta.height,
            last_block_app_hash=meta.app_hash,
        )

    def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Check the genesis and compute its app hash; it is written by the first Commit."""
        self._check = None
        return self._consensus.start(request)

    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        """Answer from the committed state."""
        return self._router.answer(request)

    def check_tx(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx:
        """Admit a transaction over what waits already, or keep one that waits after a block."""
        if self._check is None:
            self._check = CheckState(self._consensus.state, self._next_context(), self._mempool_size)
        try:
            if request.type == abci.RECHECK:
                recheck_tx(self._check, self._cache, request.tx)
            else:
                check_tx(self._check, self._cache, request.tx)
        except errors.TxError as error:
            return _refuse(error.code)
        return _ACCEPTED

    def prepare_proposal(self, request: abci.RequestPrepareProposal) -> abci.ResponsePrepareProposal:
        """Choose transactions that succeed as far as one can know before the block has a hash."""
        context = self._get_context(request.height, to_milliseconds(request.time))
        state = BlockState(self._consensus.state)
        txs = prepare_proposal(state, context, self._cache, request.txs, request.max_tx_bytes)
        return abci.ResponsePrepareProposal(txs=txs)

    def process_proposal(self, request: abci.RequestProcessProposal) -> abci.ResponseProcessProposal:
        """Refuse only what no honest proposer can have built."""
        context = self._get_context(request.height, to_milliseconds(request.time))
        fault = find_fault(context, self._cache, request.txs)
        if fault is None:
            return abci.ResponseProcessProposal(status=abci.ResponseProcessProposal.ACCEPT)
        LOG.warning("refused a proposal", height=request.height, reason=fault.name)
        return abci.ResponseProcessProposal(status=abci.ResponseProcessProposal.REJECT)

    def finalize_block(self, request: abci.RequestFinalizeBlock) -> abci.ResponseFinalizeBlock:
        """Compute a decided block in memory."""
        response = self._consensus.finalize(request)
        if len(response.tx_results) != len(request.txs):
            raise NodeFailure(f"{len(request.txs)} transactions gave {len(response.tx_results)} results")
        return response

    def commit(self, request: abci.RequestCommit) -> abci.ResponseCommit:
        """Write the computed block durably and begin a new check state, which recheck fills."""
        self._consensus.commit()
        self._check = None
        return abci.ResponseCommit()

    def _next_context(self) -> BlockContext:
        """Return the context of the next block, with the time of the last one."""
        return self._get_context(self._consensus.height + 1, self._consensus.time_ms)

    def _get_context(self, height: int, time_ms: int) -> BlockContext:
        params = get_params(BlockState(self._consensus.state))
        return BlockContext(self._consensus.chain_tag, params, height, time_ms)


@lru_cache
def _refuse(code: int) -> abci.ResponseCheckTx:
    return abci.ResponseCheckTx(code=code, codespace=CODESPACE, log=describe(code))
