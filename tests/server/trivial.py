"""A tiny key-value application for tests of the transports: `key=value` sets, everything else is refused."""

import hashlib
import threading
import time

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.base import BaseApplication
from abci_app.server.dispatch import NodeFailure

SLOW_SECONDS = 0.01
"""What a query for `/slow` takes at least; no other has its turn after it in the same turn of a connection."""


class TrivialApplication(BaseApplication):
    """State in memory; `calls` names the methods called, `threads` the threads they were called in."""

    def __init__(self) -> None:
        self.committed: dict[bytes, bytes] = {}
        self.pending: dict[bytes, bytes] | None = None
        self.height = 0
        self.checked = 0
        self.slow_queries = threading.Semaphore(0)
        """How many queries for `/slow` may be answered."""

    def info(self, request: abci.RequestInfo) -> abci.ResponseInfo:
        app_hash = compute_hash(self.committed) if self.height else b""
        return abci.ResponseInfo(app_version=1, last_block_height=self.height, last_block_app_hash=app_hash)

    def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        return abci.ResponseInitChain(app_hash=compute_hash({}))

    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        if request.path == "/broken":
            raise ValueError("a defect in a view")
        if request.path == "/slow":
            self.slow_queries.acquire()
            time.sleep(SLOW_SECONDS)
        value = self.committed.get(request.data, b"")
        return abci.ResponseQuery(value=value, height=self.height, log=f"asked for {request.path}")

    def check_tx(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx:
        self.checked += 1
        if request.tx == b"broken":
            raise ValueError("a defect in a check")
        return abci.ResponseCheckTx(code=0 if b"=" in request.tx else 2, log=str(self.checked))

    def prepare_proposal(self, request: abci.RequestPrepareProposal) -> abci.ResponsePrepareProposal:
        return abci.ResponsePrepareProposal(txs=request.txs)

    def process_proposal(self, request: abci.RequestProcessProposal) -> abci.ResponseProcessProposal:
        return abci.ResponseProcessProposal(status=abci.ResponseProcessProposal.ACCEPT)

    def finalize_block(self, request: abci.RequestFinalizeBlock) -> abci.ResponseFinalizeBlock:
        self.pending = dict(self.committed)
        for tx in request.txs:
            key, _, value = tx.partition(b"=")
            self.pending[key] = value
        results = [abci.ExecTxResult() for _ in request.txs]
        return abci.ResponseFinalizeBlock(tx_results=results, app_hash=compute_hash(self.pending))

    def commit(self, request: abci.RequestCommit) -> abci.ResponseCommit:
        if self.pending is None:
            raise NodeFailure("Commit without FinalizeBlock")
        self.committed, self.pending = self.pending, None
        self.height += 1
        return abci.ResponseCommit()


def compute_hash(state: dict[bytes, bytes]) -> bytes:
    return hashlib.sha256(repr(sorted(state.items())).encode()).digest()
