"""From InitChain to the first Commit: the genesis state, held in memory because Commit alone writes."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol.genesis import (
    build_genesis_state,
    check_consensus_limits,
    check_genesis,
    check_validator_list,
    compute_genesis_tag,
)
from abci_app.protocol.genesis_json import BadGenesis, parse_genesis
from abci_app.server.conversions import to_consensus_limits, to_milliseconds, to_validator_powers
from abci_app.store.interface import Writes


@dataclass(frozen=True, slots=True)
class Genesis:
    """The state a chain starts with; reads like the committed state of height 0."""

    chain_id: str
    chain_tag: bytes
    time_ms: int
    records: Writes
    index: Writes
    ordered_index: tuple[bytes, ...]

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""
        return self.records.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index entries with start <= key < end in ascending order."""
        for key in self.ordered_index[bisect_left(self.ordered_index, start) : bisect_left(self.ordered_index, end)]:
            value = self.index[key]
            if value is not None:
                yield key, value


def load_genesis(request: abci.RequestInitChain) -> Genesis:
    """Return the checked genesis of an InitChain. Raises BadGenesis, saying what does not fit."""
    if request.initial_height not in (0, 1):
        raise BadGenesis("initial_height must be 1")
    genesis: pb.Genesis = parse_genesis(request.app_state_bytes)
    check_genesis(genesis)
    check_consensus_limits(genesis.params, to_consensus_limits(request))
    check_validator_list(genesis, to_validator_powers(request.validators))
    chain_tag = compute_genesis_tag(request.chain_id, genesis)
    time_ms = to_milliseconds(request.time)
    state = build_genesis_state(genesis, time_ms)
    index = state.get_changed_index()
    return Genesis(request.chain_id, chain_tag, time_ms, state.get_changed_records(), index, tuple(sorted(index)))
