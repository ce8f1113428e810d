"""The setting chain_tag: a node of another chain is refused by every command that asks one."""

from pathlib import Path

import pytest

from learningchain.cli import exit_codes, session
from learningchain.client import Client
from tests.cli.terminal import Terminal

OTHER = "00" * 8


@pytest.fixture
def tagged(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A contractor whose connections know the chain tag of the settings."""
    monkeypatch.setattr(session, "connect", lambda _, tag: Client(carl.transport, tag))
    return carl


@pytest.mark.parametrize(
    "words",
    [
        "query params",
        "query account",
        "query supply",
        "query view /supply",
        "query tx " + "00" * 32,
        "job list",
        "job show 1 --prove",
        "job watch 1",
        "job model 1",
        "job announce 1 --model MODEL",
        "node status",
        "tx send MODEL",
        "tx bond 1",
    ],
)
def test_a_node_of_another_chain_is_refused(
    tagged: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str
) -> None:
    tagged.market.submit()
    file = tmp_path / "file"
    file.write_text("00")
    monkeypatch.setenv("LC_CHAIN_TAG", OTHER)
    done = tagged.json(*words.replace("MODEL", str(file)).split())
    assert (done.code, done.out) == (exit_codes.FAILED, "")
    assert tagged.market.tag.hex() in done.error["message"]
    assert "chain tag" in done.error["hint"]
    assert tagged.transport.broadcasts == []


def test_the_chain_that_the_settings_name_is_used(tagged: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_CHAIN_TAG", tagged.market.tag.hex())
    assert tagged.json("query", "supply").code == 0
    assert tagged.json("tx", "bond", "1").code == 0
