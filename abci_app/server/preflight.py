"""Checks before the node starts: better no start than a start that harms the node or the chain."""

import json
import tomllib
from pathlib import Path
from typing import Any, Final

from google.protobuf.internal import api_implementation

from abci_app.protocol.genesis import compute_genesis_tag
from abci_app.protocol.genesis_json import BadGenesis, parse_genesis
from abci_app.store.interface import Meta

DEFAULT_MEMPOOL_SIZE: Final = 5_000
"""CometBFT's default number of transactions in the mempool."""


class StartRefused(Exception):
    """The node must not start like this; the text says what to change."""


def check_protobuf() -> None:
    """Raise StartRefused if protobuf is not the implementation with which all nodes decode alike.

    That in pure Python, which an environment variable chooses, is slower by far, and differs in what it says of bytes
    that cannot be decoded, with texts that are no UTF-8 among them.
    """
    kind = api_implementation.Type()
    if kind != "upb":
        raise StartRefused(
            f"protobuf runs as its implementation {kind!r}, which does not decode exactly as the other nodes do: unset "
            "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or install the pinned protobuf anew"
        )


def read_mempool_size(cometbft_home: Path | None) -> int:
    """Check CometBFT's settings, if its home is known, and return how many transactions its mempool holds.

    Raises StartRefused for settings the chain cannot work with.
    """
    if cometbft_home is None:
        return DEFAULT_MEMPOOL_SIZE
    path = _get_config_path(cometbft_home)
    config = _read_config(path)
    mempool, consensus = config.get("mempool", {}), config.get("consensus", {})
    _require(path, mempool, "mempool.recheck", True, "else nonces that wait in the mempool are forgotten")
    _require(path, mempool, "mempool.type", "flood", "transactions reach the application through the mempool only")
    _require(path, consensus, "consensus.create_empty_blocks", True, "deadlines of jobs fire in blocks only")
    _require(path, consensus, "consensus.create_empty_blocks_interval", "0s", "deadlines of jobs fire in blocks only")
    _require(path, config.get("statesync", {}), "statesync.enable", False, "no node offers snapshots to wait for")
    _require(path, config, "filter_peers", False, "the application tells no peers apart: all would be refused")
    return int(mempool.get("size", DEFAULT_MEMPOOL_SIZE))


def check_chain(cometbft_home: Path | None, meta: Meta) -> None:
    """Check, if CometBFT's home is known, that it and the application's state are of one chain.

    CometBFT itself reads the genesis file at its first start only, so a changed one would silently change nothing.
    Raises StartRefused.
    """
    if cometbft_home is None or not meta.height:
        return
    config = _read_config(_get_config_path(cometbft_home))
    genesis = cometbft_home / str(config.get("genesis_file", "config/genesis.json"))
    chain_id, chain_tag = _read_genesis(genesis)
    if chain_tag != meta.chain_tag:
        raise StartRefused(
            f"the application's state, at height {meta.height}, is that of the chain {meta.chain_id!r} with the tag "
            f"{meta.chain_tag.hex()}, but {genesis} describes {chain_id!r} with the tag {chain_tag.hex()}. Put back "
            "the genesis file this node began with; for another chain take another folder"
        )
    blocks = cometbft_home / str(config.get("db_dir", "data")) / "blockstore.db"
    if not blocks.exists():
        raise StartRefused(
            f"the application stands at height {meta.height}, but CometBFT has lost its blocks: there is no {blocks}. "
            "Restore both folders from one backup, or remove the application's state as well to sync the chain anew"
        )


def _read_genesis(path: Path) -> tuple[str, bytes]:
    """Return the chain id and the chain tag of a genesis file. Raises StartRefused."""
    try:
        document = json.loads(path.read_bytes())
        chain_id, app_state = str(document["chain_id"]), json.dumps(document["app_state"]).encode()
        return chain_id, compute_genesis_tag(chain_id, parse_genesis(app_state))
    except (OSError, ValueError, KeyError, TypeError, BadGenesis) as error:
        raise StartRefused(
            f"{path} is no genesis file of this software: {error}. Put back the one this node began with"
        ) from error


def _get_config_path(cometbft_home: Path) -> Path:
    return cometbft_home / "config" / "config.toml"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartRefused(
            f"{path} cannot be read: {error}. Give --cometbft-home the folder 'cometbft init' made"
        ) from error


def _require(path: Path, table: dict[str, Any], name: str, wanted: str | bool, reason: str) -> None:
    value = table.get(name.rpartition(".")[2], wanted)
    if value != wanted:
        raise StartRefused(f"{path}: set {name} = {str(wanted).lower()}: {reason}")
