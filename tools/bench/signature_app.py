"""The least that an application in Python can do: one signature check for each transaction, over our socket server.

What it reaches beside the store in Go is what the machine allows any application in one thread of Python.
"""

import gc
import hashlib
import json
import signal
import sys
from pathlib import Path
from typing import Final

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol.crypto import is_valid_signature
from abci_app.server.address import parse_address
from abci_app.server.base import BaseApplication
from abci_app.server.dispatch import Dispatcher
from abci_app.server.socket_server import SocketServer
from learningchain.wallet import SecretKey

SIGNED_BYTES: Final = 198
"""As many as a transfer of the load signs."""
EMPTY_HASH: Final = hashlib.sha256(b"").digest()
ACCEPTED: Final = abci.ResponseCheckTx()


class SignatureApplication(BaseApplication):
    """Accepts every transaction after one check, of a signature of its own over as many bytes as a transfer signs."""

    def __init__(self) -> None:
        key = SecretKey(hashlib.sha256(b"bench signer").digest())
        message = bytes(SIGNED_BYTES)
        self._signed = (key.public_key, message, key.sign(message))
        self.counts = {"checks": 0, "succeeded": 0, "failed": 0}

    def info(self, request: abci.RequestInfo) -> abci.ResponseInfo:
        """Say that nothing was committed yet; the node is started once."""
        return abci.ResponseInfo(app_version=1)

    def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Keep the validators of the genesis."""
        return abci.ResponseInitChain(app_hash=EMPTY_HASH)

    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        """Know nothing."""
        return abci.ResponseQuery()

    def check_tx(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx:
        """Check the one signature of a new transaction, none at a recheck."""
        if request.type == abci.RECHECK:
            return ACCEPTED
        self.counts["checks"] += 1
        return ACCEPTED if is_valid_signature(*self._signed) else abci.ResponseCheckTx(code=1)

    def prepare_proposal(self, request: abci.RequestPrepareProposal) -> abci.ResponsePrepareProposal:
        """Take all."""
        return abci.ResponsePrepareProposal(txs=request.txs)

    def process_proposal(self, request: abci.RequestProcessProposal) -> abci.ResponseProcessProposal:
        """Accept."""
        return abci.ResponseProcessProposal(status=abci.ResponseProcessProposal.ACCEPT)

    def finalize_block(self, request: abci.RequestFinalizeBlock) -> abci.ResponseFinalizeBlock:
        """Carry out nothing."""
        self.counts["succeeded"] += len(request.txs)
        return abci.ResponseFinalizeBlock(tx_results=[abci.ExecTxResult() for _ in request.txs], app_hash=EMPTY_HASH)

    def commit(self, request: abci.RequestCommit) -> abci.ResponseCommit:
        """Write nothing."""
        return abci.ResponseCommit()


def main() -> int:
    """Serve at the second argument until a signal comes, then write the counts to the file named by the first."""
    application = SignatureApplication()
    server = SocketServer(Dispatcher(application), parse_address(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: server.stop())
    gc.disable()  # nothing here makes cycles
    server.serve()
    Path(sys.argv[1]).write_text(json.dumps(application.counts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
