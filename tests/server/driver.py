"""Drives a ChainApplication with ABCI requests, as CometBFT would, without CometBFT."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.pb.tendermint.crypto.keys_pb2 import PublicKey
from abci_app.protocol.genesis_json import render_genesis
from abci_app.server.application import ChainApplication
from abci_app.store.interface import Store
from abci_app.store.memory import MemoryStore
from tests.support.chain import BLOCK_MS, CHAIN_ID, GENESIS_MS, Chain, consensus_address
from tests.support.wallets import Wallet

MEMPOOL_SIZE = 100


class Driver:
    """An application over a store, and a chain in memory that signs for it and follows the same blocks."""

    def __init__(
        self, chain: Chain | None = None, store: Store | None = None, mempool_size: int = MEMPOOL_SIZE
    ) -> None:
        self.chain = chain or Chain()
        self.store = store or MemoryStore()
        self.app = ChainApplication(self.store, mempool_size)

    @property
    def height(self) -> int:
        return self.store.meta.height

    def make_init_chain(self, **changes: Any) -> abci.RequestInitChain:
        """Return the InitChain of the chain's genesis, with fields replaced."""
        request = abci.RequestInitChain(
            time=to_timestamp(GENESIS_MS),
            chain_id=CHAIN_ID,
            app_state_bytes=render_genesis(self.chain.genesis).encode(),
            initial_height=1,
        )
        request.consensus_params.block.max_bytes = 1_048_576
        request.consensus_params.evidence.max_bytes = 65_536
        request.consensus_params.evidence.max_age_num_blocks = 10
        request.consensus_params.evidence.max_age_duration.FromSeconds(30)
        request.consensus_params.validator.pub_key_types.append("ed25519")
        for validator in self.chain.genesis.validators:
            request.validators.add(pub_key=PublicKey(ed25519=validator.consensus_key), power=validator.power)
        for name, value in changes.items():
            setattr(request, name, value)
        return request

    def init_chain(self) -> bytes:
        """Begin the chain; return the genesis app hash."""
        return self.app.init_chain(self.make_init_chain()).app_hash

    def begin(self) -> "Driver":
        """Begin the chain and make the first block."""
        self.init_chain()
        self.block()
        return self

    def make_finalize(self, txs: Sequence[bytes] = (), height: int | None = None) -> abci.RequestFinalizeBlock:
        """Return the FinalizeBlock of a block after the last one."""
        height = self.height + 1 if height is None else height
        return abci.RequestFinalizeBlock(
            height=height,
            time=to_timestamp(GENESIS_MS + height * BLOCK_MS),
            hash=hashlib.sha256(b"block %d" % height).digest(),
            proposer_address=consensus_address("val0"),
            txs=txs,
        )

    def block(self, txs: Sequence[bytes] = ()) -> abci.ResponseFinalizeBlock:
        """Make and commit a block, in the chain in memory as well."""
        response = self.app.finalize_block(self.make_finalize(txs))
        self.app.commit(abci.RequestCommit())
        self.chain.block(txs)
        assert [result.code for result in response.tx_results] == [r.code for r in self.chain.last.tx_results]
        return response

    def sign(self, wallet: Wallet | str, message: Message, **envelope: Any) -> bytes:
        """Return a signed transaction with the next nonce."""
        return self.chain.sign(wallet, message, **envelope)

    def check(self, tx: bytes, recheck: bool = False) -> int:
        """Return CheckTx's code."""
        return self.app.check_tx(abci.RequestCheckTx(tx=tx, type=abci.RECHECK if recheck else abci.NEW)).code

    def query(self, path: str, data: bytes = b"", height: int = 0, prove: bool = False) -> abci.ResponseQuery:
        """Return the response to a query."""
        return self.app.query(abci.RequestQuery(path=path, data=data, height=height, prove=prove))

    def view(self, path: str, data: bytes = b"") -> dict[str, Any]:
        """Return the object of a view, which must not fail."""
        response = self.query(path, data)
        assert response.code == 0, response.log
        view: dict[str, Any] = json.loads(response.value)
        return view


def to_timestamp(time_ms: int) -> Timestamp:
    """Return block time in ABCI's form."""
    return Timestamp(seconds=time_ms // 1_000, nanos=time_ms % 1_000 * 1_000_000)
