"""Very long or odd inputs: the option is named, nothing is sent, and the reason stays on the screen."""

import pytest

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.cli.output import MAX_MESSAGE
from learningchain.demo.stage import _read_error
from tests.cli.terminal import IMAGE, Terminal

SUBMIT = ("job", "submit", f"{IMAGE}:1", "--bounty", "5", "--for", "30s", "--yes-public")


@pytest.mark.parametrize(
    ("words", "most"),
    [
        ((*SUBMIT, "--title"), 128),
        ((*SUBMIT, "--about"), 512),
        ((*SUBMIT, "--metric"), 32),
        ((*SUBMIT, "--accelerator"), 32),
        (("tx", "transfer", "TO", "1", "--memo"), 128),
        (("tx", "set-profile", "--name"), 64),
        (("tx", "set-profile", "--endpoint"), 256),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
@pytest.mark.parametrize("kind", ["long", "line break"])
def test_text_that_no_transaction_carries_is_refused_by_the_name_of_its_option(
    carl: Terminal, words: tuple[str, ...], most: int, kind: str
) -> None:
    text = "http://h/" + "\u00e4" * (most // 2 + 1) if kind == "long" else "http://a\nb"
    to = encode_address(carl.market.address("worker0"))
    done = carl.json(*(to if word == "TO" else word for word in words), text)
    assert (done.code, done.out) == (exit_codes.USAGE, "")
    assert done.error["message"] == f"{words[-1]} cannot be taken: it has {len(text.encode())} bytes"
    assert f"at most {most} bytes" in done.error["hint"]
    assert carl.transport.broadcasts == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_about_a_very_long_word_stays_readable(carl: Terminal, form: str) -> None:
    done = carl.run("query", "view", "/" + "a" * 90_000, "-o", form)
    assert done.code == exit_codes.FAILED
    assert len(done.err) < 2 * MAX_MESSAGE
    assert "most 512 bytes" in done.err


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_is_no_transaction(carl: Terminal, text: str) -> None:
    done = carl.json("tx", "send", "-", text=text)
    assert (done.code, "nothing in it" in done.error["message"]) == (exit_codes.USAGE, True)
    assert carl.transport.broadcasts == []


def test_the_demo_tells_the_error_of_a_command_in_words() -> None:
    line = '{"error": {"message": "no such image", "hint": "push it", "exit_code": 1}}'
    assert _read_error(f"resolving\n{line}\n") == "no such image; push it"
    assert _read_error("Killed\n") == "Killed"
    assert _read_error("") == ""
