"""CometBFT's settings for each parameter set, with the reason for everything that differs from its default.

`chain-config/` shows the same to people; a test compares. Settings of one node (ports, peers, addresses) are in
`node.py`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import EVIDENCE_DELAY_BLOCKS, MAX_BLOCK_BYTES, MAX_EVIDENCE_BYTES
from abci_app.protocol.limits import MAX_TX_BYTES

Value = str | int | bool | None


class Setting(NamedTuple):
    """One setting of config.toml: its value in each set (None: CometBFT's default) and why."""

    path: str
    devnet: Value
    public: Value
    minimal: Value
    bench: Value
    reason: str


SETTINGS: Final = (
    Setting("log_level", "error", "info", "error", "error", "a line per block hides the lines that matter"),
    Setting("rpc.laddr", *["tcp://127.0.0.1:26657"] * 4, "the RPC has no password: open it with a proxy if needed"),
    Setting("p2p.laddr", "tcp://127.0.0.1:26656", None, *["tcp://127.0.0.1:26656"] * 2, "a network of one machine"),
    Setting("p2p.addr_book_strict", False, None, False, False, "loopback addresses are not routable"),
    Setting("p2p.allow_duplicate_ip", True, None, True, True, "all nodes share one address"),
    Setting("p2p.pex", False, None, False, False, "every peer is listed by name"),
    Setting("p2p.flush_throttle_timeout", *["10ms"] * 4, "most packets wait for this timer, votes among them"),
    Setting("p2p.send_rate", *[20_480_000] * 4, "a block of 1 MiB should not take a fifth of a second"),
    Setting("p2p.recv_rate", *[20_480_000] * 4, "as send_rate"),
    Setting("mempool.size", *[20_000] * 4, "a few seconds of full load"),
    Setting("mempool.cache_size", *[100_000] * 4, "five times the size, so that gossip is not checked again"),
    Setting("mempool.max_tx_bytes", *[MAX_TX_BYTES] * 4, "the chain refuses larger transactions anyway"),
    Setting("mempool.max_txs_bytes", *[64 * 1024 * 1024] * 4, "bounds the memory of a flood of large transactions"),
    Setting("mempool.recheck", *[True] * 4, "the application rebuilds its check state from it: never turn it off"),
    Setting("consensus.create_empty_blocks", *[True] * 4, "deadlines fire in blocks only: never turn it off"),
    Setting("consensus.create_empty_blocks_interval", *["0s"] * 4, "as create_empty_blocks"),
    Setting("consensus.timeout_commit", "200ms", "1s", "200ms", "200ms", "a demo wants short blocks, the world calm"),
    Setting("consensus.peer_gossip_sleep_duration", "10ms", None, "10ms", "10ms", "on one machine polling is cheap"),
    Setting("tx_index.indexer", "kv", "null", "null", "null", "an index slows down with its size; one RPC node has it"),
)

_MAX_AGE_NS: Final = {
    "devnet": 30 * 10**9,
    "public": 20 * 24 * 3_600 * 10**9,
    "minimal": 30 * 10**9,
    "bench": 30 * 10**9,
}


def get_settings(set_name: str) -> dict[str, str | int | bool]:
    """Return the settings of a set by dotted path. Raises KeyError for an unknown set."""
    if set_name not in _MAX_AGE_NS:
        raise KeyError(set_name)
    chosen = {setting.path: getattr(setting, set_name) for setting in SETTINGS}
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
