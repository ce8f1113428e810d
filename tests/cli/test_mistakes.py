"""A mistake of a user for every command: the documented exit code, nothing on stdout, what to do next on stderr."""

import pytest

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.cli.main import GROUPS, _load
from tests.cli.terminal import IMAGE, Terminal

NOBODY = encode_address(bytes(20))
MISTAKES: dict[str, tuple[str, int]] = {
    "keys add": ("carl --unencrypted", exit_codes.FAILED),
    "keys list": ("--no-such-option", exit_codes.USAGE),
    "keys show": ("nobody", exit_codes.NOT_FOUND),
    "keys password": ("nobody", exit_codes.NOT_FOUND),
    "job submit": (f"{IMAGE}:2 --bounty 5 --for 30s --yes-public", exit_codes.FAILED),
    "job list": ("--state nonsense", exit_codes.USAGE),
    "job show": ("9", exit_codes.NOT_FOUND),
    "job watch": ("9", exit_codes.NOT_FOUND),
    "job cancel": ("9 --yes", exit_codes.REFUSED),
    "job raise": ("9 five", exit_codes.USAGE),
    "job model": ("9", exit_codes.NOT_FOUND),
    "job announce": ("9 --model /no/such/file", exit_codes.NOT_FOUND),
    "job reveal": ("9", exit_codes.NOT_FOUND),
    "tx register": ("--from nobody", exit_codes.NOT_FOUND),
    "tx transfer": (f"{NOBODY} 1", exit_codes.REFUSED),
    "tx bond": ("1000000", exit_codes.REFUSED),
    "tx unbond": ("1", exit_codes.REFUSED),
    "tx set-checker": ("9", exit_codes.USAGE),
    "tx set-profile": (f"--name {'n' * 65}", exit_codes.REFUSED),
    "tx set-key": ("nobody", exit_codes.NOT_FOUND),
    "tx prove-key": ("lc1nonsense", exit_codes.USAGE),
    "tx unjail": ("", exit_codes.REFUSED),
    "tx send": ("/no/such/file", exit_codes.NOT_FOUND),
    "query account": (NOBODY, exit_codes.NOT_FOUND),
    "query params": ("--no-such-option", exit_codes.USAGE),
    "query supply": ("--no-such-option", exit_codes.USAGE),
    "query committee": ("9", exit_codes.NOT_FOUND),
    "query checkers": ("--no-such-option", exit_codes.USAGE),
    "query relays": ("--no-such-option", exit_codes.USAGE),
    "query validators": ("--no-such-option", exit_codes.USAGE),
    "query tx": ("zz", exit_codes.USAGE),
    "query view": ("/nonsense", exit_codes.FAILED),
    "query errors": ("100", exit_codes.USAGE),
    "node init": ("", exit_codes.USAGE),
    "node start": ("", exit_codes.FAILED),
    "node status": ("--node http://127.0.0.1:1", exit_codes.UNREACHABLE),
    "config show": ("node", exit_codes.USAGE),
    "config set": ("nonsense 1", exit_codes.FAILED),
    "worker init": ("", exit_codes.FAILED),
    "worker start": ("", exit_codes.FAILED),
    "worker status": ("", exit_codes.NOT_FOUND),
    "devnet up": ("--validators 0", exit_codes.FAILED),
    "devnet status": ("", exit_codes.NOT_FOUND),
    "devnet down": ("now", exit_codes.USAGE),
}


def test_there_is_a_mistake_for_every_command() -> None:
    commands = {f"{group} {name}" for group in GROUPS for name in getattr(_load(group), "commands", {})}
    assert commands == set(MISTAKES)


@pytest.mark.parametrize("command", sorted(MISTAKES))
def test_a_mistake_has_its_exit_code_and_says_what_to_do(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("learningchain.node.find_cometbft", lambda: "cometbft")
    monkeypatch.setattr("learningchain.devnet.supervisor.find_cometbft", lambda: "cometbft")
    words, code = MISTAKES[command]
    done = carl.json(*command.split(), *words.split())
    assert (done.code, done.out) == (code, "")
    assert done.error["exit_code"] == code
    assert done.error["message"]
    assert done.error["hint"]
