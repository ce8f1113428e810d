"""chain-config/ and the settings of nodes."""

import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import ConsensusLimits, check_consensus_limits
from abci_app.protocol.params import SETS, get_params
from learningchain.cometbft_config import SETTINGS, apply_settings, build_consensus_params, get_settings
from learningchain.genesis_file import build_genesis_file
from learningchain.node_home import NodeHome, NodeSettings, create_home
from tests.support.chain import CHAIN_ID, Chain
from tools.gen_chain_config import FOLDER, render_all


def test_the_folder_is_what_the_code_gives() -> None:
    files = render_all()
    assert {path: (FOLDER / path).read_text() for path in files} == files
    assert {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()} == set(files)


@pytest.mark.parametrize("set_name", SETS)
def test_the_files_hold_the_settings_of_the_set(set_name: str) -> None:
    shown = tomllib.loads((FOLDER / set_name / "config.toml").read_text())
    assert flatten(shown) == get_settings(set_name)


@pytest.mark.parametrize("set_name", SETS)
def test_every_set_lets_evidence_expire_before_credits_are_released(set_name: str) -> None:
    params = get_params(set_name)
    given = build_consensus_params(set_name, params)
    evidence = given["evidence"]
    check_consensus_limits(
        params,
        ConsensusLimits(
            int(given["block"]["max_bytes"]),
            int(evidence["max_bytes"]),
            int(evidence["max_age_num_blocks"]),
            int(evidence["max_age_duration"]) // 1_000_000,
            tuple(given["validator"]["pub_key_types"]),
        ),
    )


OF_ONE_NODE = {"moniker", "proxy_app", "p2p.laddr", "p2p.persistent_peers"}
"""Settings that `lc node init` writes for each node; `abci` and `rpc.laddr` equal the default unless asked for."""
KEPT = {
    "log_level",
    "mempool.recheck",
    "consensus.create_empty_blocks",
    "consensus.create_empty_blocks_interval",
    "consensus.timeout_commit",
    "tx_index.indexer",
}
"""Settings that are listed although some set leaves them at CometBFT's default."""


@pytest.mark.e2e
@pytest.mark.parametrize("set_name", SETS)
def test_nothing_differs_from_cometbfts_own_settings_without_being_listed(
    set_name: str, tmp_path: Path, cometbft: str
) -> None:
    subprocess.run([cometbft, "init", "--home", tmp_path / "default"], check=True, capture_output=True)
    default = flatten(tomllib.loads((tmp_path / "default" / "config" / "config.toml").read_text()))
    home = NodeHome(tmp_path / "ours")
    create_home(home, NodeSettings(set_name, persistent_peers=("id@127.0.0.1:1",)), Path(cometbft))
    ours = flatten(tomllib.loads(home.config_toml.read_text()))
    assert set(ours) == set(default)
    differing = {path for path, value in ours.items() if value != default[path]}
    listed = set(get_settings(set_name))
    assert differing - listed <= OF_ONE_NODE
    assert listed - differing <= KEPT


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings of a TOML document by dotted path."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def test_settings_say_why_and_keep_the_chain_alive() -> None:
    assert all(setting.reason for setting in SETTINGS)
    for set_name in SETS:
        settings = get_settings(set_name)
        assert settings["mempool.recheck"] is True
        assert settings["consensus.create_empty_blocks"] is True
        assert settings["consensus.create_empty_blocks_interval"] == "0s"


def test_unknown_sets_and_settings_are_refused() -> None:
    with pytest.raises(KeyError):
        get_settings("mainnet")
    with pytest.raises(KeyError, match=r"mempool\.colour"):
        apply_settings(tomlkit.parse("[mempool]\nsize = 1\n"), {"mempool.colour": "red"})


def test_applied_settings_keep_comments() -> None:
    document = tomlkit.parse("# why\n[mempool]\nsize = 1 # how many\n")
    apply_settings(document, {"mempool.size": 2})
    assert tomlkit.dumps(document) == "# why\n[mempool]\nsize = 2 # how many\n"


def test_a_genesis_file_is_the_same_bytes_on_every_node() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
    genesis = Chain().genesis
    document = build_genesis_file(CHAIN_ID, genesis, "minimal", time)
    assert document == build_genesis_file(CHAIN_ID, genesis, "minimal", time)
    assert b'"genesis_time": "2026-01-02T03:04:05.000600Z"' in document


def test_a_genesis_that_cannot_run_gives_no_file() -> None:
    with pytest.raises(ValueError, match="validators: there must be"):
        build_genesis_file(CHAIN_ID, pb.Genesis(params=get_params("minimal")), "minimal", datetime.now(UTC))


@pytest.mark.parametrize("chain_id", ["", "a" * 51, "\u00e4" * 26])
def test_a_chain_id_has_1_to_50_bytes(chain_id: str) -> None:
    with pytest.raises(ValueError, match="1 to 50 bytes"):
        build_genesis_file(chain_id, Chain().genesis, "minimal", datetime.now(UTC))


def test_the_folder_is_in_the_repository() -> None:
    assert (Path(__file__).parents[2] / "chain-config") == FOLDER
