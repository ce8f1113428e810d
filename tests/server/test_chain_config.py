"""chain-config/ and the settings of nodes."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tomlkit

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.genesis import ConsensusLimits, check_consensus_limits
from abci_app.protocol.params import SETS, get_params
from learningchain.cometbft_config import SETTINGS, apply_settings, build_consensus_params, get_settings
from learningchain.genesis_file import build_genesis_file
from tests.support.chain import CHAIN_ID, Chain
from tools.gen_chain_config import FOLDER, render_all


def test_the_folder_is_what_the_code_gives() -> None:
    files = render_all()
    assert {path: (FOLDER / path).read_text() for path in files} == files
    assert {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()} == set(files)


@pytest.mark.parametrize("set_name", SETS)
def test_the_files_hold_the_settings_of_the_set(set_name: str) -> None:
    shown = tomllib.loads((FOLDER / set_name / "config.toml").read_text())
    flat = {
        f"{section}.{name}": value
        for section, table in shown.items()
        if isinstance(table, dict)
        for name, value in table.items()
    }
    flat |= {name: value for name, value in shown.items() if not isinstance(value, dict)}
    assert flat == get_settings(set_name)


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
        ),
    )


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


def test_the_folder_is_in_the_repository() -> None:
    assert (Path(__file__).parents[2] / "chain-config") == FOLDER
