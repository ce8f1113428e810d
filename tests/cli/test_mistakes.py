"""A mistake of a user for every command: the documented exit code, nothing on stdout, what to do next on stderr."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.cli.main import GROUPS, _load, app
from learningchain.registry import resolve_image
from tests.cli.terminal import IMAGE, Terminal, run_lc

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
    "job try": (f"{IMAGE}:2", exit_codes.FAILED),
    "job announce": ("9 --model /no/such/file", exit_codes.NOT_FOUND),
    "job reveal": ("9", exit_codes.NOT_FOUND),
    "tx register": ("--from nobody", exit_codes.NOT_FOUND),
    "tx transfer": (f"{NOBODY} 1", exit_codes.REFUSED),
    "tx bond": ("1000000", exit_codes.REFUSED),
    "tx unbond": ("1", exit_codes.REFUSED),
    "tx set-checker": ("9", exit_codes.USAGE),
    "tx set-profile": (f"--name {'n' * 65}", exit_codes.USAGE),
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
    "config set": ("nonsense 1", exit_codes.USAGE),
    "worker init": ("", exit_codes.FAILED),
    "worker start": ("", exit_codes.FAILED),
    "worker status": ("", exit_codes.NOT_FOUND),
    "devnet up": ("--validators 0", exit_codes.USAGE),
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


TOO_LONG = str(2**64)
HUGE = "9" * 25
NO_TEXT = "\udcff"
"""The byte 0xff as Python takes it from a command line."""
SUBMIT = f"job submit {IMAGE}:1 --bounty 5 --for 30s --yes-public"


@pytest.mark.parametrize(
    "line",
    [
        *(f"{question} {TOO_LONG}" for question in ("job cancel --yes", "job show", "job list --before")),
        f"job raise {TOO_LONG} 1",
        f"query committee {TOO_LONG}",
        *(f"{SUBMIT} --cpus {number}" for number in ("inf", "nan", "1e30")),
        *(f"{SUBMIT} --{name} {HUGE}" for name in ("gpus", "gpu-memory", "free-places", "runner-ups", "class")),
        *(f"{SUBMIT} --{name} -1" for name in ("tolerance", "ban-margin", "min-improvement")),
        f"{SUBMIT} --tolerance 9e9",
        f"{SUBMIT} --title {NO_TEXT}",
        f"tx transfer {NOBODY} 1 --memo {NO_TEXT}",
        f"tx bond 1 --from {NO_TEXT}",
        f"job reveal 1 --location {NO_TEXT}",
        f"query view /job/{NO_TEXT}",
        f"tx set-key carl --expires-at-ms {HUGE}",
        "tx bond 1 --timeout inf",
        "tx bond 1 --timeout nan",
    ],
)
def test_what_can_be_typed_but_not_sent_is_a_usage_error(carl: Terminal, line: str) -> None:
    done = carl.json(*line.split())
    assert (done.code, done.out) == (exit_codes.USAGE, "")
    assert done.error["message"]
    assert done.error["hint"]
    assert carl.transport.broadcasts == []


def test_the_largest_margins_are_for_the_chain_to_refuse(carl: Terminal) -> None:
    assert carl.json(*f"{SUBMIT} --tolerance 2e9".split()).code == exit_codes.REFUSED


def test_a_password_that_is_no_text_is_told(carl: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"p\xffssword\n")
    done = carl.json("keys", "password", "carl", "--new-password-file", str(path))
    assert done.code == exit_codes.FAILED
    assert done.error["message"] == f"the new password for carl in {path} is not UTF-8 text"


@pytest.mark.parametrize(
    ("typed", "message"),
    [(b"\x04", "no new password for a was given"), (b"p\xffssword\n", "the new password for a is not UTF-8 text")],
)
def test_what_is_typed_at_a_password_may_be_its_end_or_no_text(tmp_path: Path, typed: bytes, message: str) -> None:
    line = [sys.executable, "-m", "learningchain.cli", "keys", "add", "a", "-o", "json", "--home", str(tmp_path)]
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(line, stdin=keyboard, stderr=subprocess.PIPE, start_new_session=True, bufsize=0)
    try:
        assert process.stderr is not None
        prompt = b""
        while process.poll() is None and not prompt.endswith(b":"):
            prompt += process.stderr.read(1)  # what is typed before the prompt is thrown away
        os.write(screen, typed)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
        os.close(screen)
        os.close(keyboard)
    assert process.returncode == exit_codes.FAILED
    assert json.loads(told.strip().splitlines()[-1])["error"]["message"] == message


def test_a_settings_file_that_cannot_be_read_is_named(carl: Terminal) -> None:
    for content in (b"key = '\xff'\n", b"key = \n"):
        (carl.home / "client.toml").write_bytes(content)
        done = run_lc("config", "show", "-o", "json", "--home", str(carl.home))
        assert done.returncode == exit_codes.FAILED
        error = json.loads(done.stderr)["error"]
        assert error["message"].startswith(f"{carl.home}/client.toml cannot be read: ")
        assert "move it away" in error["hint"]


def test_a_folder_whose_name_is_no_text_can_be_shown(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    done = run_lc("config", "show", "-o", "json", "--home", folder)
    assert (done.returncode, json.loads(done.stdout)["home"]) == (0, folder)
    assert run_lc("config", "show", "--home", folder).returncode == 0


def test_a_folder_whose_name_is_no_text_is_none_for_a_node(carl: Terminal, tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    shutil.copytree(carl.home, folder)
    done = run_lc("node", "init", "--new-chain", "a", "--from", "carl", "-o", "json", "--home", folder)
    assert done.returncode == exit_codes.USAGE
    assert "is not UTF-8 text" in json.loads(done.stderr)["error"]["message"]


def test_a_defect_of_the_program_is_told_as_one(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("learningchain.wallet.Keystore.list_entries", fail)
    words = ["keys", "list", "--home", str(carl.home)]
    text = CliRunner().invoke(app, words)
    assert (text.exit_code, text.stdout) == (exit_codes.FAILED, "")
    assert text.stderr.startswith("Traceback (most recent call last):")
    assert 'RuntimeError("broken")' in text.stderr
    last = text.stderr.splitlines()[-2:]
    assert last[0] == "error: the program has a defect: RuntimeError: broken"
    assert last[1].startswith("next: report it")
    error = json.loads(CliRunner().invoke(app, [*words, "-o", "json"]).stderr)["error"]
    assert (error["exit_code"], "RuntimeError: broken" in error["traceback"]) == (exit_codes.FAILED, True)


@pytest.mark.parametrize(
    "line",
    [
        "keys add A%B --unencrypted",
        "keys show lc1nonsense",
        "tx bond 1 --from A%B",
        "config set output xml",
        "config set chain_tag 1",
        "devnet up --detach --validators 17",
        "devnet up --workers -1",
    ],
)
def test_names_and_values_that_nothing_can_have_are_usage_errors(carl: Terminal, line: str) -> None:
    done = carl.json(*line.split())
    assert (done.code, done.out, done.error["exit_code"]) == (exit_codes.USAGE, "", exit_codes.USAGE)


def test_a_setting_of_the_environment_counts_as_the_command_line(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_OUTPUT", "xml")
    done = carl.run("keys", "list")
    assert (done.code, done.out) == (exit_codes.USAGE, "")
    assert done.err.startswith("error: the setting output is not usable: ")


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    names = ("LC_HOME", "LC_NODE", "LC_KEY", "LC_OUTPUT", "LC_CHAIN_TAG", "LC_PASSWORD_FILE")
    user = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = run_lc("config", "show", "-o", "json", env={**dict.fromkeys(names, ""), **user})
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["home"], shown["password_file"]) == (f"{tmp_path}/data/learningchain", None)
    assert shown["node"].startswith("http://")


@pytest.mark.parametrize("line", ["keys list", "worker status", "devnet status"])
def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LC_HOME", raising=False)
    monkeypatch.setattr("learningchain.settings.user_data_path", fail)
    monkeypatch.setattr(Path, "expanduser", fail)
    done = CliRunner().invoke(app, [*line.split(), "-o", "json"])
    assert (done.exit_code, done.stdout) == (exit_codes.USAGE, "")
    assert json.loads(done.stderr)["error"]["hint"] == "name a folder with --home"


@pytest.mark.parametrize("image", ["", "Registry/Name with blanks:1"])
def test_what_is_no_image_reference_is_a_usage_error(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    monkeypatch.setattr("learningchain.cli.job_submit.resolve_image", resolve_image)
    done = carl.json("job", "submit", image, "--bounty", "5", "--for", "30s", "--yes-public")
    assert (done.code, done.out) == (exit_codes.USAGE, "")
    assert "is not an image reference" in done.error["message"]
