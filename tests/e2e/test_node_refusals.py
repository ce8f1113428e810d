"""What CometBFT would end with is said before anything is started, and its variables lead a node nowhere else."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learningchain.node import start_node
from learningchain.node_home import NodeError, NodeHome, NodeSettings, create_home, write_genesis
from learningchain.processes import get_environ
from tests.support.genesis_files import REFUSED_BY_COMETBFT, make_genesis

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(cometbft: str, tmp_path: Path) -> Iterator[NodeHome]:
    """A node that was never started."""
    made = NodeHome(tmp_path / "n")
    create_home(made, NodeSettings("devnet"), Path(cometbft))
    write_genesis(made, make_genesis())
    yield made
    assert not made.has_blocks
    assert list(made.logs.iterdir()) == []


def refuse(home: NodeHome, cometbft: str) -> str:
    with pytest.raises(NodeError) as refused:
        start_node(home, Path(cometbft))
    assert refused.value.hint
    return str(refused.value)


@pytest.mark.parametrize("name", ["no chain id", "time without zone", "no power", "huge block", "not closed"])
def test_a_genesis_file_that_begins_no_chain(home: NodeHome, cometbft: str, name: str) -> None:
    content, words = REFUSED_BY_COMETBFT[name]
    home.genesis.write_bytes(content)
    said = refuse(home, cometbft)
    assert words in said
    assert str(home.genesis) in said


def replace(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace("max_open_connections = 900", "max_open_connections = -5"), "max_open_connections can't be negative"),
        (replace("max_open_connections = 900", "max_open_connections = many"), "config.toml"),
        (replace('timeout_propose = "3s"', 'timeout_propose = "soon"'), "timeout_propose"),
        (replace('version = "v0"', 'version = "v2"'), "blocksync version v2"),
        (replace('log_format = "plain"', 'log_format = "loud"'), "unknown log_format"),
        (replace('log_level = "error"', 'log_level = "loud"'), "log level"),
        (replace("proxy_app =", "proxy_ap ="), "proxy_app"),
        (replace('abci = "socket"', "abci = socket"), "config.toml"),
    ],
)
def test_settings_that_cometbft_refuses(
    home: NodeHome, cometbft: str, change: Callable[[str], str], words: str
) -> None:
    home.config_toml.write_text(change(home.config_toml.read_text()))
    assert words in refuse(home, cometbft)


def test_variables_of_cometbft_do_not_lead_to_another_folder(
    cometbft: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CMTHOME", "CMT_HOME", "TMHOME"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CMT_MEMPOOL_RECHECK", "false")
    home = NodeHome(tmp_path / "n")
    create_home(home, NodeSettings("devnet"), Path(cometbft))
    assert home.config_toml.exists()
    assert not (tmp_path / "elsewhere").exists()
    assert not [name for name in get_environ() if name.startswith(("CMT", "TMHOME"))]
    assert os.environ["CMTHOME"]
