"""A genesis file with which no chain can begin is told apart in words, as CometBFT and the application would."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from abci_app.protocol.genesis_json import BadGenesis
from learningchain.genesis_check import read_chain_id, read_time
from learningchain.node_home import find_cometbft
from tests.support.genesis_files import GOOD, REFUSED_BY_COMETBFT, REFUSED_LATER

BAD: Mapping[str, tuple[bytes, str]] = {**REFUSED_BY_COMETBFT, **REFUSED_LATER}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said(name: str) -> None:
    content, words = BAD[name]
    with pytest.raises(BadGenesis) as refused:
        read_chain_id(content)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", GOOD)
def test_what_a_chain_can_begin_with_is_taken(name: str) -> None:
    assert read_chain_id(GOOD[name]) == "theirs"


def test_the_beginning_is_read_in_whole_milliseconds() -> None:
    assert read_time(GOOD["exact time"]).isoformat(timespec="microseconds") == "2026-01-31T12:00:00.123000+00:00"


@pytest.mark.e2e
def test_cometbft_says_the_same(tmp_path: Path) -> None:
    """It reads the file before it serves; at an address that nobody can listen at it then ends by itself."""
    program, home = str(find_cometbft()), tmp_path / "home"
    subprocess.run([program, "init", "--home", str(home)], check=True, capture_output=True)
    settings = home / "config" / "config.toml"
    settings.write_text(settings.read_text().replace('laddr = "tcp://127.0.0.1:26657"', 'laddr = "none://"'))
    taken = {}
    files = {name: content for name, (content, _) in BAD.items()} | dict(GOOD)
    for name, content in files.items():
        (home / "config" / "genesis.json").write_bytes(content)
        done = subprocess.run([program, "inspect", "--home", str(home)], capture_output=True, text=True, timeout=30)
        assert done.returncode != 0
        taken[name] = "failed to listen" in done.stderr
    assert {name for name, is_taken in taken.items() if not is_taken} == set(REFUSED_BY_COMETBFT)
