"""The consensus half of the application: from InitChain over FinalizeBlock to Commit.

FinalizeBlock is a pure function of the committed state and the request and may be asked for the same height again and
again: after a crash, in a replay. Only Commit writes.
"""

import gc

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol.block import process_block
from abci_app.protocol.genesis_json import BadGenesis
from abci_app.protocol.state import BlockState, CommittedState
from abci_app.protocol.transaction import TxCache
from abci_app.server.conversions import to_block, to_response
from abci_app.server.dispatch import NodeFailure
from abci_app.server.genesis import Genesis, load_genesis
from abci_app.store.interface import StagedBlock, Store, stage
from abci_app.store.recent import RecentRecords

_RESTORE = "stop the node and restore the folders of the application and of CometBFT from one and the same backup"


class Consensus:
    """The chain as far as it is decided: the store, the genesis before the first Commit, at most one staged block."""

    def __init__(self, store: Store, cache: TxCache) -> None:
        """Continue where the store stands."""
        self._store = store
        self._recent = RecentRecords(store)
        self._cache = cache
        self._genesis: Genesis | None = None
        self._staged: StagedBlock | None = None

    @property
    def state(self) -> CommittedState:
        """The state after the last Commit, or that of the genesis. Raises LookupError before InitChain."""
        if self._store.meta.height:
            return self._recent
        if self._genesis is None:
            raise LookupError("the chain has not begun: no InitChain was received")
        return self._genesis

    @property
    def has_begun(self) -> bool:
        """Whether there is a state."""
        return bool(self._store.meta.height) or self._genesis is not None

    @property
    def chain_tag(self) -> bytes:
        """The tag that transactions of this chain carry."""
        return self._genesis.chain_tag if self._genesis is not None else self._store.meta.chain_tag

    @property
    def chain_id(self) -> str:
        """CometBFT's name of the chain."""
        return self._genesis.chain_id if self._genesis is not None else self._store.meta.chain_id

    @property
    def height(self) -> int:
        """Height of the last Commit, 0 before the first."""
        return self._store.meta.height

    @property
    def time_ms(self) -> int:
        """Block time of the last Commit; before the first, the time of the genesis."""
        return self._genesis.time_ms if self._genesis is not None else self._store.meta.time_ms

    def start(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Compute the genesis state. Raises NodeFailure for a genesis that does not fit, or a chain that has begun."""
        if self.height:
            raise NodeFailure(
                f"CometBFT begins a chain, but the application stands at height {self.height}: {_RESTORE}, or remove "
                "the application's folder to build its state anew"
            )
        try:
            self._genesis = genesis = load_genesis(request)
        except BadGenesis as error:
            raise NodeFailure(f"the genesis file is not usable: {error}") from error
        self._staged = None
        return abci.ResponseInitChain(app_hash=self._stage(genesis, {}, {}, 0, genesis.time_ms).meta.app_hash)

    def finalize(self, request: abci.RequestFinalizeBlock) -> abci.ResponseFinalizeBlock:
        """Compute a decided block in memory. Raises NodeFailure for a height other than the next."""
        if request.height != self.height + 1 or not self.has_begun:
            raise NodeFailure(
                f"CometBFT decided block {request.height}, but the application stands at height {self.height}. If it "
                f"was restarted alone, start both again: 'lc node start' does. Otherwise {_RESTORE}"
            )
        block = to_block(request, self._store.meta.time_ms)
        state = BlockState(self.state)
        result = process_block(state, self.chain_tag, block, self._cache)
        records, index = state.get_changed_records(), state.get_changed_index()
        self._staged = self._stage(self._genesis, records, index, block.height, block.time_ms)
        return to_response(result, self._staged.meta.app_hash)

    def commit(self) -> None:
        """Write the computed block durably. Raises NodeFailure without one, StoreError if the disk refuses."""
        if self._staged is None:
            raise NodeFailure("Commit without FinalizeBlock: the application was restarted alone, start both again")
        self._store.commit(self._staged)
        self._recent.follow(self._staged.records)
        had_genesis = self._genesis is not None
        self._staged = self._genesis = None
        if had_genesis:
            gc.collect()  # gives the memory of a large genesis back to the system (measured: 100 000 accounts, 95 MiB)

    def _stage(
        self,
        genesis: Genesis | None,
        records: dict[bytes, bytes | None],
        index: dict[bytes, bytes | None],
        height: int,
        time_ms: int,
    ) -> StagedBlock:
        """Stage changes together with those of the genesis, if they are not in the store yet."""
        if genesis is not None:
            records, index = {**genesis.records, **records}, {**genesis.index, **index}
        return stage(
            self._store,
            records,
            index,
            height=height,
            time_ms=time_ms,
            chain_id=self.chain_id,
            chain_tag=self.chain_tag,
        )
