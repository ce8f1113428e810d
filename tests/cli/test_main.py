"""The command line as a whole: light to start, documented, installed under two names."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer

from learningchain.cli import exit_codes
from learningchain.cli.main import GROUPS, _load
from tests.cli.terminal import Terminal

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
OWN = {"keys", "job", "tx", "query", "node", "config"}
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
    assert scripts["lc"] == scripts["learningchain"] == "learningchain.cli.main:main"


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


def test_core_files_are_off_while_it_runs() -> None:
    code = (
        "import resource, sys\n"
        "from learningchain.cli import main\n"
        "main.app = lambda: print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
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
    assert terminal.run("keys", "list").code == exit_codes.INTERRUPTED


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
