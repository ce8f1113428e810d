"""Each error number has a test of its own, in the file of each message that the protocol document gives it to."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from abci_app.protocol.errors import REASONS
from abci_app.protocol.messages import HANDLERS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "protocol"


@cache
def read_tests(path: Path) -> dict[str, str]:
    """Return the tests called test_invalid_<reason> of a file: name without that prefix, and source."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    tests = [node for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_invalid_")]
    return {node.name.removeprefix("test_invalid_"): ast.unparse(node) for node in tests}


def has_test(path: Path, code: int) -> bool:
    """Tell whether a file has a test_invalid_<reason> that also asks for this reason, by class or by name."""
    reason = REASONS[code]
    spelled = re.compile(rf"\berrors\.{reason.__name__}\b|['\"]{reason.name}['\"]")
    return any(
        (name == reason.name or name.startswith(f"{reason.name}_")) and spelled.search(source)
        for name, source in read_tests(path).items()
    )


def get_documented() -> Iterator[tuple[str, int]]:
    """Yield (message, number) for each number in brackets in the section of a message in the protocol document."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    for section in re.split(r"\n##+ ", text):
        title, _, body = section.partition("\n")
        for name in title.split(", "):
            message = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            numbers = {int(n) for group in re.findall(r"\((\d{3}(?:,\s+\d{3})*)\)", body) for n in group.split(",")}
            if message in HANDLERS:
                yield from ((message, number) for number in sorted(numbers))


DOCUMENTED = list(get_documented())


def test_every_message_but_register_has_its_section() -> None:
    """What Register can fail with stands with the envelope: a failed one changes nothing."""
    assert {message for message, _ in DOCUMENTED} == set(HANDLERS) - {"register"}


@pytest.mark.parametrize(("message", "code"), DOCUMENTED)
def test_a_reason_against_a_message_is_tested_in_the_file_of_the_message(message: str, code: int) -> None:
    assert has_test(TESTS / "messages" / f"test_{message}.py", code), f"test_invalid_{REASONS[code].name}"


@pytest.mark.parametrize("code", [code for code in REASONS if code < 100])
def test_a_reason_against_an_envelope_is_tested(code: int) -> None:
    files = [TESTS / f"test_{name}.py" for name in ("envelope", "mempool", "proposal")]
    assert any(has_test(path, code) for path in [*files, TESTS / "messages" / "test_register.py"])


def test_no_number_is_left_out() -> None:
    assert {code for code in REASONS if code >= 100} == {code for _, code in DOCUMENTED}
