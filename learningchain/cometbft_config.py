"""CometBFT's settings for each parameter set, with the reason for everything that differs from its default.

`chain-config/` shows the same to people; a test compares. Settings of one node (ports, peers, addresses) are in
`node_home.py`. What must stay as it is for the chain's sake is listed even where it equals the default.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import EVIDENCE_DELAY_BLOCKS, MAX_BLOCK_BYTES, MAX_EVIDENCE_BYTES
from abci_app.protocol.limits import MAX_TX_BYTES
from abci_app.protocol.params import SETS

Value = str | int | bool | None


class Setting(NamedTuple):
    """A setting of config.toml: its values in devnet, public, minimal and bench (None: CometBFT's default), and why."""

    path: str
    values: tuple[Value, Value, Value, Value]
    reason: str


def _all(value: Value) -> tuple[Value, Value, Value, Value]:
    return (value, value, value, value)


def _local(value: Value, public: Value = None) -> tuple[Value, Value, Value, Value]:
    """A value for networks on one machine, and another one for a public network."""
    return (value, public, value, value)


SETTINGS: Final = (
    Setting(
        "log_level",
        _local("error", "info"),
        "locally a line per block hides those that matter; a public node keeps the default",
    ),
    Setting("p2p.addr_book_strict", _local(False), "loopback addresses are not routable"),
    Setting("p2p.allow_duplicate_ip", _local(True), "all nodes share one address"),
    Setting("p2p.pex", _local(False), "every peer is listed by name"),
    Setting("p2p.flush_throttle_timeout", _all("10ms"), "most packets wait for this timer, votes among them"),
    Setting("p2p.send_rate", _all(20_480_000), "a block of 1 MiB should not take a fifth of a second"),
    Setting("p2p.recv_rate", _all(20_480_000), "as send_rate"),
    Setting("mempool.size", _all(20_000), "a few seconds of full load"),
    Setting("mempool.cache_size", _all(100_000), "five times the size, so that gossip is not checked again"),
    Setting("mempool.max_tx_bytes", _all(MAX_TX_BYTES), "the chain refuses larger transactions anyway"),
    Setting("mempool.max_txs_bytes", _all(64 * 1024 * 1024), "bounds the memory of a flood of large transactions"),
    Setting("mempool.recheck", _all(True), "the application rebuilds its check state from it: never turn it off"),
    Setting("consensus.create_empty_blocks", _all(True), "deadlines fire in blocks only: never turn it off"),
    Setting("consensus.create_empty_blocks_interval", _all("0s"), "as create_empty_blocks"),
    Setting(
        "consensus.timeout_commit",
        ("500ms", "1s", "200ms", "200ms"),
        "short blocks make a short demo, but each one takes time of the processor that training shares; "
        "in the world votes take longer, as by default",
    ),
    Setting("consensus.peer_gossip_sleep_duration", _local("10ms"), "on one machine polling is cheap"),
    Setting(
        "tx_index.indexer",
        ("kv", "null", "null", "null"),
        "an index slows a node down as it grows; where it is kept, curl can look up a hash",
    ),
)
_SECOND_NS: Final = 10**9
_MAX_AGE_NS: Final = {
    "devnet": 30 * _SECOND_NS,
    "public": 20 * 24 * 3_600 * _SECOND_NS,
    "minimal": 30 * _SECOND_NS,
    "bench": 30 * _SECOND_NS,
}


def get_settings(set_name: str) -> dict[str, str | int | bool]:
    """Return the settings of a set by dotted path. Raises KeyError for an unknown set."""
    if set_name not in SETS:
        raise KeyError(set_name)
    column = SETS.index(set_name)
    chosen = {setting.path: setting.values[column] for setting in SETTINGS}
    return {path: value for path, value in chosen.items() if value is not None}


def apply_settings(document: Any, settings: Mapping[str, str | int | bool]) -> None:
    """Set values by dotted path in a TOML document. Raises KeyError for a setting that it does not have."""
    for path, value in settings.items():
        *tables, name = path.split(".")
        table = document
        for part in tables:
            table = table[part]
        if name not in table:
            raise KeyError(path)
        table[name] = value


def build_consensus_params(set_name: str, params: pb.Params) -> dict[str, Any]:
    """Return `consensus_params` of a genesis file: evidence expires before unbonding credits are released."""
    return {
        "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
        "evidence": {
            "max_age_num_blocks": str(params.unbonding_blocks - EVIDENCE_DELAY_BLOCKS),
            "max_age_duration": str(_MAX_AGE_NS[set_name]),
            "max_bytes": str(MAX_EVIDENCE_BYTES),
        },
        "validator": {"pub_key_types": ["ed25519"]},
        "version": {"app": "0"},
        "abci": {"vote_extensions_enable_height": "0"},
    }
