"""Between ABCI's messages and the core's values."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.pb.tendermint.crypto import keys_pb2
from abci_app.pb.tendermint.types import validator_pb2
from abci_app.protocol import errors
from abci_app.protocol.block import Block, BlockResult, Misbehavior, TxResult
from abci_app.protocol.events import INDEXED, Event
from abci_app.protocol.genesis import ConsensusLimits

CODESPACE: Final = "learningchain"


def to_milliseconds(time: Timestamp) -> int:
    """Return block time in whole ms, rounded down."""
    return time.seconds * 1_000 + time.nanos // 1_000_000


def to_block(request: abci.RequestFinalizeBlock, previous_time_ms: int) -> Block:
    """Return the decided block; `previous_time_ms` is the time of the block before, 0 for the first."""
    votes = request.decided_last_commit.votes
    absent = validator_pb2.BLOCK_ID_FLAG_ABSENT
    return Block(
        height=request.height,
        time_ms=to_milliseconds(request.time),
        block_hash=request.hash,
        proposer_address=request.proposer_address,
        txs=request.txs,
        previous_time_ms=previous_time_ms,
        misbehavior=[Misbehavior(proof.type, proof.validator.address, proof.height) for proof in request.misbehavior],
        signed=[vote.validator.address for vote in votes if vote.block_id_flag != absent],
        missed=[vote.validator.address for vote in votes if vote.block_id_flag == absent],
    )


def to_response(result: BlockResult, app_hash: bytes) -> abci.ResponseFinalizeBlock:
    """Return the answer to FinalizeBlock: one result for each transaction."""
    response = abci.ResponseFinalizeBlock(
        validator_updates=[
            abci.ValidatorUpdate(pub_key=keys_pb2.PublicKey(ed25519=key), power=power)
            for key, power in result.validator_updates
        ],
        app_hash=app_hash,
    )
    _add_events(response.events, result.events)
    for tx_result in result.tx_results:
        _add_tx_result(response.tx_results, tx_result)
    return response


# Added in place: a message that is made first and then put into another one is copied, which takes twice as long.


def _add_tx_result(target: Any, result: TxResult) -> None:
    """Add the result of one transaction. `data` and gas stay empty: they would be hashed into the header."""
    if result.code:
        target.add(code=result.code, codespace=CODESPACE, log=describe(result.code))
    else:
        _add_events(target.add().events, result.events)


def _add_events(target: Any, found: Iterable[Event]) -> None:
    """Add events with the attributes that may be indexed marked."""
    for event in found:
        attributes = target.add(type=event.type).attributes
        for key, value in event.attributes:
            attributes.add(key=key, value=value, index=key in INDEXED)


@lru_cache
def describe(code: int) -> str:
    """Return the name and hint of an error number."""
    reason = errors.REASONS[code]
    return f"{reason.name}: {reason.hint}"


def to_consensus_limits(request: abci.RequestInitChain) -> ConsensusLimits:
    """Return what the genesis file says about blocks and evidence."""
    evidence = request.consensus_params.evidence
    age = evidence.max_age_duration
    return ConsensusLimits(
        block_max_bytes=request.consensus_params.block.max_bytes,
        evidence_max_bytes=evidence.max_bytes,
        evidence_max_age_blocks=evidence.max_age_num_blocks,
        evidence_max_age_ms=age.seconds * 1_000 + -(-age.nanos // 1_000_000),
        key_types=tuple(request.consensus_params.validator.pub_key_types),
    )


def to_validator_powers(updates: Iterable[abci.ValidatorUpdate]) -> dict[bytes, int]:
    """Return consensus key to power; a key that is not Ed25519 is the empty key, which no genesis has."""
    return {update.pub_key.ed25519: update.power for update in updates}
