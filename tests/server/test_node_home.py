"""Finding CometBFT, and the folder of a node."""

import tomllib
from pathlib import Path

import pytest

from learningchain.node_home import (
    COMETBFT_VERSION,
    NodeError,
    NodeHome,
    NodeSettings,
    check_settings,
    create_home,
    find_cometbft,
    get_identity,
    write_genesis,
    write_settings,
)


def make_program(folder: Path, version: str) -> Path:
    program = folder / "cometbft"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return program


def test_the_named_program_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program(tmp_path, "anything")
    monkeypatch.setenv("LC_COMETBFT", str(program))
    assert find_cometbft() == program


def test_a_named_program_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_COMETBFT", str(tmp_path / "gone"))
    with pytest.raises(NodeError, match=r"which is no file.* run 'make up', then '\. \.state/env'"):
        find_cometbft()


@pytest.mark.parametrize("shown", [COMETBFT_VERSION, f"v{COMETBFT_VERSION}", f"{COMETBFT_VERSION}+abc"])
def test_the_program_on_the_path_is_used_if_its_version_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    program = make_program(tmp_path, shown)
    monkeypatch.delenv("LC_COMETBFT", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_cometbft() == program


@pytest.mark.parametrize(("version", "reason"), [("0.37.2", "is version 0.37.2, needed is"), (None, "is missing")])
def test_no_fitting_program_is_an_error_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, reason: str
) -> None:
    if version is not None:
        make_program(tmp_path, version)
    monkeypatch.delenv("LC_COMETBFT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path) if version is None else f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(NodeError, match=reason) as raised:
        find_cometbft()
    assert "LC_COMETBFT" in str(raised.value)
    assert version is not None or "make up" in str(raised.value)  # `make demo` tells no shell where it built it


@pytest.mark.e2e
def test_a_home_has_keys_and_the_settings_of_its_set(tmp_path: Path, cometbft: str) -> None:
    home = NodeHome(tmp_path / "node")
    settings = NodeSettings("devnet", "val0", "grpc", 1_111, 2_222, ("id@127.0.0.1:3333",), (("mempool.size", 77),))
    identity = create_home(home, settings, Path(cometbft))
    config = tomllib.loads(home.config_toml.read_text())
    assert (config["moniker"], config["abci"], config["proxy_app"]) == ("val0", "grpc", home.abci_address)
    assert config["rpc"]["laddr"] == "tcp://127.0.0.1:1111"
    assert config["p2p"]["laddr"] == "tcp://127.0.0.1:2222"
    assert config["p2p"]["persistent_peers"] == "id@127.0.0.1:3333"
    assert (config["mempool"]["size"], config["consensus"]["timeout_commit"]) == (77, "500ms")
    assert len(identity.consensus_key) == 32
    assert len(identity.node_id) == 40
    assert home.root.stat().st_mode & 0o77 == 0
    assert create_home(home, settings, Path(cometbft)) == identity == get_identity(home, Path(cometbft))


@pytest.mark.e2e
def test_a_public_node_listens_to_peers_everywhere_and_to_clients_on_loopback(tmp_path: Path, cometbft: str) -> None:
    home = NodeHome(tmp_path)
    create_home(home, NodeSettings("public"), Path(cometbft))
    config = tomllib.loads(home.config_toml.read_text())
    assert config["p2p"]["laddr"] == "tcp://0.0.0.0:26656"
    assert config["rpc"]["laddr"] == "tcp://127.0.0.1:26657"


@pytest.mark.e2e
def test_unknown_sets_and_settings_are_refused(tmp_path: Path, cometbft: str) -> None:
    home = NodeHome(tmp_path)
    create_home(home, NodeSettings("devnet"), Path(cometbft))
    before = home.config_toml.read_text()
    for settings in (NodeSettings("mainnet"), NodeSettings("devnet", overrides=(("rpc.colour", "red"),))):
        with pytest.raises(NodeError, match="neither a parameter set nor a setting"):
            write_settings(home, settings)
    assert home.config_toml.read_text() == before


@pytest.mark.e2e
def test_settings_that_cometbft_refuses_are_written_anew_once_they_are_moved_away(
    tmp_path: Path, cometbft: str
) -> None:
    home, settings, program = NodeHome(tmp_path / "node"), NodeSettings("devnet"), Path(cometbft)
    identity = create_home(home, settings, program)
    for broken in ("[mempool", "[mempool]\nsize = -1\n"):
        home.config_toml.write_text(broken)
        for refused in (lambda: check_settings(home, program), lambda: create_home(home, settings, program)):
            with pytest.raises(NodeError, match=r"CometBFT refuses .*config\.toml: .*, or move it away"):
                refused()
        assert home.config_toml.read_text() == broken
    home.config_toml.rename(tmp_path / "broken.toml")
    assert create_home(home, settings, program) == identity
    check_settings(home, program)


def test_a_folder_too_deep_for_a_unix_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    home = NodeHome(tmp_path / ("d" * 100))
    with pytest.raises(NodeError, match="107 are allowed: choose a shorter folder"):
        create_home(home, NodeSettings("devnet"), Path("/nonexistent"))
    assert not home.root.exists()


def test_the_genesis_of_a_node_that_has_made_blocks_is_not_replaced(tmp_path: Path) -> None:
    home = NodeHome(tmp_path)
    home.genesis.parent.mkdir(parents=True)
    write_genesis(home, b"one")
    write_genesis(home, b"two")
    (home.cometbft / "data" / "state.db").mkdir(parents=True)
    write_genesis(home, b"two")
    with pytest.raises(NodeError, match="belongs to another chain"):
        write_genesis(home, b"three")
    assert home.genesis.read_bytes() == b"two"
