"""A command that a hint tells can be pasted as it stands: it has the home and the node of the one that failed."""

import shlex
from pathlib import Path

import pytest

from learningchain.cli import exit_codes
from learningchain.cli.hints import complete_commands
from tests.cli.terminal import Terminal, run_lc

HOME = Path("/my keys")
NODE = "http://[::1]:26657"


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("see lc job list; it is there", f"see lc job list --home '/my keys' --node '{NODE}'; it is there"),
        ("(lc query checkers)", f"(lc query checkers --home '/my keys' --node '{NODE}')"),
        ("choose: lc config set key NAME", "choose: lc config set --home '/my keys' key NAME"),
        ("look at lc node status before", f"look at lc node status --home '/my keys' --node '{NODE}' before"),
        ("'lc node start' does", "'lc node start --home '/my keys'' does"),
        ("add it with lc tx set-key", f"add it with lc tx set-key --home '/my keys' --node '{NODE}'"),
        ("lc devnet up", "lc devnet up"),
        ("lc job show --node x 7", "lc job show --node x 7"),
        ("see lc job show --help", f"see lc job show --home '/my keys' --node '{NODE}' --help"),
        ("run the command again", "run the command again"),
    ],
)
def test_commands_get_what_they_use(text: str, completed: str) -> None:
    assert complete_commands(text, HOME, NODE) == completed
    assert complete_commands(completed, HOME, NODE) == completed
    assert complete_commands(text, None, None) == text


def test_of_the_home_of_a_worker_only_keys_and_settings_are_used_by_other_commands() -> None:
    text = "see lc keys list, lc config set, lc node status or lc tx set-key"
    completed = "see lc keys list --home '/my keys', lc config set --home '/my keys', lc node status or lc tx set-key"
    assert complete_commands(text, HOME, NODE, has_own_place=True) == completed


def test_a_devnet_is_started_where_it_is(tmp_path: Path) -> None:
    assert complete_commands("lc devnet up", tmp_path, NODE) == "lc devnet up"
    (tmp_path / "devnet.json").touch()
    assert complete_commands("lc devnet up", tmp_path, NODE) == f"lc devnet up --home {tmp_path}"


def test_hints_of_errors_name_home_and_node(carl: Terminal) -> None:
    options = f"--home {carl.home} --node {NODE}"
    done = carl.json("job", "show", "9", "--node", NODE)
    assert done.error["hint"].startswith(f"see lc job list {options.replace(NODE, shlex.quote(NODE))}; ")
    missing = carl.json("tx", "bond", "1", "--from", "nobody").error["hint"]
    assert missing == f"see lc keys list --home {carl.home}, or make it: lc keys add --home {carl.home} nobody"


def test_hints_about_settings_that_cannot_be_read_name_the_home(carl: Terminal) -> None:
    (carl.home / "client.toml").write_text("key = \n")
    done = run_lc("config", "show", "--home", str(carl.home))
    assert done.returncode == exit_codes.FAILED
    assert f"write it anew: lc config set --home {carl.home}" in done.stderr


def test_hints_about_the_keys_of_a_worker_name_its_folder(tmp_path: Path) -> None:
    folder, env = tmp_path / ".learningchain" / "worker", {"HOME": str(tmp_path)}
    assert run_lc("worker", "init", "--unencrypted", env=env).returncode == 0
    (folder / "keys" / "worker.json").unlink()
    done = run_lc("worker", "start", env=env)
    assert done.returncode == exit_codes.NOT_FOUND
    assert f"or make it: lc keys add --home {folder} worker" in done.stderr


@pytest.mark.parametrize("words", [("devnet", "status"), ("worker", "status"), ("worker", "start")])
def test_a_folder_with_a_space_in_its_name_is_quoted(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run_lc(*words, "--home", str(tmp_path / "my net"))
    assert f" --home '{tmp_path}/my net'" in done.stderr
