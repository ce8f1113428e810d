"""The part of an ABCI application that does not depend on what the chain is for."""

from abc import ABC, abstractmethod

from abci_app.pb.tendermint.abci import types_pb2 as abci


class BaseApplication(ABC):
    """An application object behind every transport: requests in, responses out, all calls from one thread.

    Here are the methods whose answer is fixed: no snapshots are offered, votes carry no extensions.
    """

    def echo(self, request: abci.RequestEcho) -> abci.ResponseEcho:
        """Return the message."""
        return abci.ResponseEcho(message=request.message)

    def flush(self, request: abci.RequestFlush) -> abci.ResponseFlush:
        """Do nothing: every answer is written at once."""
        return abci.ResponseFlush()

    @abstractmethod
    def info(self, request: abci.RequestInfo) -> abci.ResponseInfo:
        """Return height and app hash of the last Commit."""

    @abstractmethod
    def init_chain(self, request: abci.RequestInitChain) -> abci.ResponseInitChain:
        """Compute the state of the genesis."""

    @abstractmethod
    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        """Answer a question about the committed state."""

    @abstractmethod
    def check_tx(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx:
        """Tell whether a transaction may enter, or stay in, the mempool. The response is not changed afterwards."""

    @abstractmethod
    def prepare_proposal(self, request: abci.RequestPrepareProposal) -> abci.ResponsePrepareProposal:
        """Choose the transactions of a block."""

    @abstractmethod
    def process_proposal(self, request: abci.RequestProcessProposal) -> abci.ResponseProcessProposal:
        """Accept or refuse somebody's block."""

    @abstractmethod
    def finalize_block(self, request: abci.RequestFinalizeBlock) -> abci.ResponseFinalizeBlock:
        """Compute a decided block, without writing anything."""

    @abstractmethod
    def commit(self, request: abci.RequestCommit) -> abci.ResponseCommit:
        """Write the last computed block."""

    def extend_vote(self, request: abci.RequestExtendVote) -> abci.ResponseExtendVote:
        """Add nothing to the vote."""
        return abci.ResponseExtendVote()

    def verify_vote_extension(self, request: abci.RequestVerifyVoteExtension) -> abci.ResponseVerifyVoteExtension:
        """Accept every extension: they are not used, so they must not cost anybody a vote."""
        return abci.ResponseVerifyVoteExtension(status=abci.ResponseVerifyVoteExtension.ACCEPT)

    def list_snapshots(self, request: abci.RequestListSnapshots) -> abci.ResponseListSnapshots:
        """Offer none."""
        return abci.ResponseListSnapshots()

    def offer_snapshot(self, request: abci.RequestOfferSnapshot) -> abci.ResponseOfferSnapshot:
        """Refuse every format: the node syncs by replaying blocks."""
        return abci.ResponseOfferSnapshot(result=abci.ResponseOfferSnapshot.REJECT_FORMAT)

    def load_snapshot_chunk(self, request: abci.RequestLoadSnapshotChunk) -> abci.ResponseLoadSnapshotChunk:
        """Return an empty chunk: there is no snapshot it could belong to."""
        return abci.ResponseLoadSnapshotChunk()

    def apply_snapshot_chunk(self, request: abci.RequestApplySnapshotChunk) -> abci.ResponseApplySnapshotChunk:
        """Abort: no snapshot was accepted."""
        return abci.ResponseApplySnapshotChunk(result=abci.ResponseApplySnapshotChunk.ABORT)
