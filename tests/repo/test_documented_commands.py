"""Every command that a page shows can be typed: its name, its options and the number of its arguments are right."""

import importlib.util
import re
from typing import Any, Final

import pytest

from abci_app.__main__ import _parse
from learningchain.cli.command import _SENDING_OPTIONS
from learningchain.cli.main import GROUPS, _load
from learningchain.demo.report import NEXT
from tests.repo.pages import PAGES, ROOT, list_block_commands, list_inline_code, read, read_flat, split_commands

OPTION: Final = re.compile(r"--[a-z][a-z-]*")
SHOWN: Final = [(page, words) for page in PAGES for words in list_block_commands(page)]
SHOWN_BY_DEMO: Final = [words for line in NEXT for words in split_commands(line)]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return a command of `lc` and the words that are left for it."""
    assert words[0] in GROUPS, words
    found = _load(words[0])
    if not hasattr(found, "commands"):
        return found, words[1:]
    assert len(words) > 1, words
    assert words[1] in found.commands, words
    return found.commands[words[1]], words[2:]


def get_options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def list_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def check(words: list[str]) -> None:
    """Have the program itself read a command line, without carrying it out."""
    program, *rest = words
    if program == "lc":
        command, left = find_command(rest)
        command.make_context(" ".join(words[:3]), left)
    elif program == "make":
        assert rest[0] in list_targets(), words
    elif words[:3] == ["python", "-m", "abci_app"]:
        _parse([word.replace("$PWD", "/work") for word in rest[2:]])
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(rest[1]) is not None, words
    elif program == "pytest":
        assert all((ROOT / path).exists() for path in rest), words
    elif program == ".":
        assert rest == [".state/env"]


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[f"{page}: {' '.join(words)}" for page, words in SHOWN])
def test_a_command_in_a_block_is_taken(page: str, words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize("words", SHOWN_BY_DEMO, ids=" ".join)
def test_a_command_that_the_demo_suggests_is_taken(words: list[str]) -> None:
    check(words)


def test_the_pages_show_commands_of_each_program() -> None:
    assert {words[0] for _, words in SHOWN} == {"lc", "make", "python", "pytest", "cometbft", "."}
    assert len([words for page, words in SHOWN if page == "README.md" and words[0] == "lc"]) > 15


@pytest.mark.parametrize("page", PAGES)
def test_a_command_in_running_text_exists_with_its_options(page: str) -> None:
    for code in list_inline_code(page):
        words = code.split()
        if words[0] == "make" and len(words) == 2:
            assert words[1] in list_targets(), code
        elif words[0] == "lc" and words[1:] and words[1] != "GROUP" and not (len(words) == 2 and words[1] in GROUPS):
            command, left = find_command(words[1:])
            assert {word.partition("=")[0] for word in left if word.startswith("--")} <= get_options(command), code


def test_the_readme_leaves_out_no_argument_where_it_gives_options() -> None:
    """Without any option a command only stands for itself."""
    given = [code for code in list_inline_code("README.md") if code.startswith("lc ") and " --" in code]
    assert given != []
    for code in given:
        check(code.split())


def test_the_options_in_the_table_of_commands_are_those_of_the_commands() -> None:
    rows = [line for line in read("docs/cli.md").splitlines() if line.startswith("| `lc ")]
    assert len(rows) > 20
    for row in rows:
        commands = [find_command(words.replace(r"\|", "|").split())[0] for words in re.findall(r"`lc ([^`]+)`", row)]
        known = {option for command in commands for option in get_options(command)}
        assert set(OPTION.findall(row)) - {"--generate-only"} <= known, row  # it makes what `lc tx send` takes


def test_the_options_of_commands_that_send_are_all_listed() -> None:
    text = read_flat("docs/cli.md")
    listed = text[text.index("Commands that send a transaction also take") : text.index("## Key files")]
    options = get_options(find_command(["tx", "unjail"])[0]) - get_options(find_command(["query", "errors"])[0])
    assert len(options) == len(_SENDING_OPTIONS) + 1  # --wait, which is what holds anyway
    assert set(OPTION.findall(listed)) == options - {"--wait"}
