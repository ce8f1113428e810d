"""Checks before the node starts: better no start than a start that harms the node or the chain."""

import tomllib
from pathlib import Path
from typing import Any, Final

DEFAULT_MEMPOOL_SIZE: Final = 5_000
"""CometBFT's default number of transactions in the mempool."""


class StartRefused(Exception):
    """The node must not start like this; the text says what to change."""


def read_mempool_size(cometbft_home: Path | None) -> int:
    """Check CometBFT's settings, if its home is known, and return how many transactions its mempool holds.

    Raises StartRefused for settings the chain cannot work with.
    """
    if cometbft_home is None:
        return DEFAULT_MEMPOOL_SIZE
    path = cometbft_home / "config" / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartRefused(
            f"{path} cannot be read: {error}. Give --cometbft-home the folder 'cometbft init' made"
        ) from error
    mempool, consensus = config.get("mempool", {}), config.get("consensus", {})
    _require(path, mempool, "mempool.recheck", True, "else nonces that wait in the mempool are forgotten")
    _require(path, mempool, "mempool.type", "flood", "transactions reach the application through the mempool only")
    _require(path, consensus, "consensus.create_empty_blocks", True, "deadlines of jobs fire in blocks only")
    _require(path, consensus, "consensus.create_empty_blocks_interval", "0s", "deadlines of jobs fire in blocks only")
    return int(mempool.get("size", DEFAULT_MEMPOOL_SIZE))


def _require(path: Path, table: dict[str, Any], name: str, wanted: str | bool, reason: str) -> None:
    value = table.get(name.rpartition(".")[2], wanted)
    if value != wanted:
        raise StartRefused(f"{path}: set {name} = {str(wanted).lower()}: {reason}")
