"""What a rule may know besides the state: the chain, the block and, in a transaction, its sender."""

from dataclasses import dataclass

from abci_app.pb.learningchain.v1 import state_pb2 as pb


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block that is being computed. `time_ms` is block time in whole ms, rounded down.

    `block_hash` is empty and `proposer` is None where no block exists yet (CheckTx, PrepareProposal).
    `proposer` is the operator account of the proposer, if it has one.
    """

    chain_tag: bytes
    params: pb.Params
    height: int
    time_ms: int
    block_hash: bytes = b""
    proposer: bytes | None = None


@dataclass(slots=True)
class TxContext:
    """The transaction that is being computed: its sender and its index in the block.

    Not frozen, which would make its creation for each transaction three times as slow; nobody changes it.
    """

    block: BlockContext
    account: bytes
    index: int
    public_key: bytes
