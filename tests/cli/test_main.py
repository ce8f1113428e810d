"""The command line as a whole: light to start, documented, installed under two names."""

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.cli.main import GROUPS, _load
from learningchain.client.errors import BadAnswer, ClientError, NodeUnreachable
from tests.cli.terminal import BUFFERED, Terminal, run_lc

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
OWN = {"keys", "job", "tx", "query", "node", "config", "worker", "devnet"}
WANTED = {
    "keys": {"add", "list", "show"},
    "node": {"init", "start", "status"},
    "devnet": {"up", "status", "down"},
    "job": {"submit", "list", "show", "watch", "cancel", "raise", "model", "announce"},
    "worker": {"init", "start", "status"},
    "tx": {"transfer", "bond", "unbond", "set-checker", "set-profile", "set-key", "unjail", "register"},
    "query": {"account", "params", "supply", "committee"},
}


def list_commands(group: str) -> set[str]:
    found = _load(group)
    return set(getattr(found, "commands", {}))


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("group", sorted(WANTED))
def test_every_group_has_its_commands(group: str) -> None:
    assert WANTED[group] <= list_commands(group)


def test_the_demo_is_one_command() -> None:
    assert list_commands("demo") == set()
    assert "demo" in GROUPS


def test_the_program_has_two_names() -> None:
    scripts = {entry.name: entry.value for entry in entry_points(group="console_scripts")}
    assert scripts["lc"] == scripts["learningchain"] == "learningchain.cli.entry:main"


def test_looking_at_keys_loads_neither_worker_nor_container_engine(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from learningchain.cli.main import app\n"
        f"result = CliRunner().invoke(app, ['keys', 'list', '--home', {str(tmp_path)!r}])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('worker', 'docker', 'fastapi')))\n"
    )
    assert run_python(code).strip() == "[]"


def test_ctrl_c_while_the_command_line_loads_ends_it_without_a_traceback() -> None:
    """A module that the command line imports stands for the key that is pressed at that moment."""
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from learningchain.cli.entry import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (exit_codes.INTERRUPTED, "", "")


def test_core_files_are_off_while_it_runs() -> None:
    code = (
        "import resource, sys\n"
        "from learningchain.cli import main\n"
        "main.app = lambda **_: print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
        "main.main()\n"
    )
    assert run_python(code).strip() == "0"


def test_version_and_help_are_shown(terminal: Terminal) -> None:
    from typer.testing import CliRunner

    from learningchain.cli.main import app

    assert re.match(r"\d+\.\d+", CliRunner().invoke(app, ["--version"]).stdout)
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in shown for name in GROUPS)


@pytest.mark.parametrize("group", sorted(OWN))
def test_every_command_takes_the_common_options(group: str) -> None:
    found = _load(group)
    for name, command in found.commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--home", "--node", "--output", "-o", "--yes", "-y"} <= options, name
        assert command.help, name


def test_every_exit_code_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    codes = {name: value for name, value in vars(exit_codes).items() if name.isupper()}
    for name, value in codes.items():
        assert re.search(rf"^\| {value} \|", text, re.MULTILINE), name
    documented = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert sorted(int(code) for code in documented) == sorted(codes.values())


def test_every_command_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    for group in OWN:
        for name in list_commands(group):
            assert f"`lc {group} {name}" in text, f"lc {group} {name}"


def test_every_setting_is_documented() -> None:
    from learningchain.settings import Settings

    text = DOCUMENT.read_text("utf-8")
    for name in Settings.model_fields:
        assert f"`LC_{name.upper()}`" in text


def test_an_interrupt_has_its_exit_code(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("learningchain.wallet.Keystore.list_entries", interrupt)
    done = terminal.json("keys", "list")
    assert (done.code, done.error["exit_code"]) == (exit_codes.INTERRUPTED, exit_codes.INTERRUPTED)
    assert "run the same command again" in done.error["hint"]


def test_a_missing_package_is_a_missing_group_and_nothing_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GROUPS, "worker", "no_such_package.cli")
    assert _load("worker") is None
    monkeypatch.setitem(GROUPS, "worker", "tests.cli.broken")
    with pytest.raises(ModuleNotFoundError, match="really_missing"):
        _load("worker")


def test_a_command_gets_sessions_and_its_own_options(terminal: Terminal) -> None:
    from typer.testing import CliRunner

    from learningchain.cli.command import Session, command

    app = typer.Typer()
    seen: list[tuple[Path, str]] = []

    @command(app, "greet")
    def greet(session: Session, name: str) -> None:
        """Say hello."""
        seen.append((session.settings.home, name))

    result = CliRunner().invoke(app, ["you", "--home", str(terminal.home)])
    assert (result.exit_code, seen) == (0, [(terminal.home, "you")])


@pytest.mark.parametrize("form", [("--output", "json"), ("-o", "json"), ("--output=json",), ("-ojson",)])
def test_mistakes_on_the_command_line_are_json_where_json_is_asked_for(form: tuple[str, ...]) -> None:
    done = run_lc("job", "show", "abc", *form)
    assert (done.returncode, done.stdout) == (exit_codes.USAGE, "")
    error = json.loads(done.stderr)["error"]
    assert (error["exit_code"], error["hint"]) == (exit_codes.USAGE, "see lc job show --help")


def test_the_last_form_of_output_counts_for_mistakes_too() -> None:
    done = run_lc("job", "show", "abc", "-o", "json", "-o", "text")
    assert done.stderr.startswith("Usage: ")


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_lc("query", "errors", "--home", str(tmp_path), stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (exit_codes.CLOSED, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(tmp_path: Path, closed: str) -> None:
    line = f"{shlex.join([sys.executable, '-m', 'learningchain.cli'])} keys add a --unencrypted --home {tmp_path}/h"
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert b"learningchain" not in (tmp_path / "h" / "keys" / "a.json").read_bytes()
    assert json.loads((tmp_path / "h" / "keys" / "a.json").read_text())["name"] == "a"


def test_a_full_disk_is_told_with_its_reason(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run_lc("query", "errors", "--home", str(tmp_path), stdout=full.fileno())
    assert done.returncode == exit_codes.FAILED
    assert done.stderr.startswith("error: No space left on device\nnext: ")


def test_a_missing_file_is_named(terminal: Terminal) -> None:
    done = terminal.json("tx", "send", "/no/such/file")
    assert done.code == exit_codes.NOT_FOUND
    assert done.error["message"] == "/no/such/file: No such file or directory"


@pytest.mark.parametrize("columns", ["40", "200"])
def test_help_fits_the_terminal(columns: str) -> None:
    for words in ((), ("job", "submit"), ("worker", "init"), ("devnet", "up")):
        done = run_lc(*words, "--help", env={"COLUMNS": columns})
        assert done.returncode == 0
        assert max(len(line) for line in done.stdout.splitlines()) <= max(int(columns), 60), words


def test_an_interrupted_payment_is_made_once(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the broadcast: the same command again finds the transaction and sends no other."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ("tx", "transfer", encode_address(carl.market.address("worker0")), "1")
    before = carl.market.balance("worker0")
    with monkeypatch.context() as patch:
        patch.setattr("learningchain.client.SyncSender.wait", interrupt)
        stopped = carl.json(*words)
    assert (stopped.code, stopped.out) == (exit_codes.INTERRUPTED, "")
    again = carl.json(*words)
    assert (again.code, "by an earlier run" in again.err) == (0, True)
    assert again.data["tx_hash"] in stopped.err
    assert carl.market.balance("worker0") == before + 1_000_000
    assert len(set(carl.transport.broadcasts)) == 1


@pytest.mark.parametrize("end", [OSError(errno.ENOSPC, "No space left on device"), SystemExit(exit_codes.CLOSED)])
def test_a_payment_whose_result_cannot_be_shown_is_made_once(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise end

    words = ("tx", "transfer", encode_address(carl.market.address("worker0")), "1")
    before = carl.market.balance("worker0")
    with monkeypatch.context() as patch:
        patch.setattr("learningchain.cli.output.Output.show", fail)
        unseen = carl.json(*words)
    assert unseen.code == (exit_codes.CLOSED if isinstance(end, SystemExit) else exit_codes.FAILED)
    again = carl.json(*words)
    assert (again.code, "by an earlier run" in again.err) == (0, True)
    assert again.data["tx_hash"] in unseen.err
    assert carl.market.balance("worker0") == before + 1_000_000
    assert len(set(carl.transport.broadcasts)) == 1
    meant = carl.json(*words)
    assert meant.data["tx_hash"] != again.data["tx_hash"]
    assert carl.market.balance("worker0") == before + 2_000_000


def test_what_became_of_an_earlier_payment_is_told_until_it_is_read(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    carl.transport.auto_ms = None
    assert carl.run("tx", "bond", "1", "--timeout", "0.1").code == exit_codes.TIMEOUT
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    with monkeypatch.context() as patch:
        patch.setattr("learningchain.cli.output.Output.say", fail)
        assert carl.run("tx", "bond", "2").code == exit_codes.FAILED
    assert "an earlier Bond was carried out in block" in carl.run("tx", "bond", "2").err


@pytest.mark.parametrize(
    ("error", "code"),
    [(NodeUnreachable("no answer"), exit_codes.UNREACHABLE), (BadAnswer("rubbish"), exit_codes.FAILED)],
)
def test_a_node_that_goes_away_after_the_sending_leaves_the_same_command_to_run(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, error: ClientError, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("learningchain.client.SyncSender.wait", fail)
    done = carl.json("tx", "bond", "1")
    assert done.code == code
    assert "may still land: run the same command again" in done.error["hint"]


def test_the_bare_name_shows_help_as_a_group_does() -> None:
    for words in ((), ("job",)):
        done = run_lc(*words)
        assert (done.returncode, done.stdout) == (exit_codes.USAGE, "")
        assert done.stderr.startswith("Usage: lc")
    told = run_lc(env={"LC_OUTPUT": "json"})
    assert (told.returncode, json.loads(told.stderr)["error"]["hint"]) == (exit_codes.USAGE, "see lc --help")


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("job", "-h"), ("job", "list", "-h", "-o", "json")])
def test_help_and_version_end_as_data_does_where_nobody_reads_them(words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_lc(*words, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (exit_codes.CLOSED, "")
    with open("/dev/full", "w") as full:
        done = run_lc(*words, stdout=full.fileno())
    assert done.returncode == exit_codes.FAILED
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_keeps_its_exit_code_where_it_cannot_be_told(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        for words, code in ((("keys", "show", "a"), exit_codes.NOT_FOUND), (("nonsense",), exit_codes.USAGE)):
            line = [sys.executable, "-m", "learningchain.cli", *words, "--home", str(tmp_path / "h")]
            done = subprocess.run(line, stderr=full, timeout=60, check=False, env=BUFFERED)
            assert done.returncode == code
