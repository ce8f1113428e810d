"""The protocol computes the same on every machine: no floats, no order of sets, nothing from outside."""

from pathlib import Path

import pytest

from tests.repo.purity import find_impurities, find_sets

PROTOCOL = Path(__file__).resolve().parents[2] / "abci_app" / "protocol"
EXCEPTIONS = {
    ("committee.py", "call of id()"),  # a memo keyed by the identity of a record that it holds
    ("errors.py", "call of .capitalize()"),  # class names, of the ASCII names in that file
    ("genesis_json.py", "import of json"),  # refuses numbers, so that none becomes a float
    ("jsonform.py", "call of .isdecimal()"),  # after isascii()
    ("params.py", "call of .isprintable()"),  # after isascii()
    ("genesis.py", "text of an exception"),  # words for who starts a node, in no result
    ("genesis_json.py", "text of an exception"),
    ("jsonform.py", "text of an exception"),
}
FILES = sorted(PROTOCOL.rglob("*.py"))
SETS = set().union(*(find_sets(path.read_text()) for path in FILES))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PROTOCOL)) for path in FILES])
def test_a_file_of_the_protocol_is_pure(path: Path) -> None:
    found = find_impurities(path.read_text(), SETS)
    findings = [f"{path.name}:{line}: {text}" for line, text in found if (path.name, text) not in EXCEPTIONS]
    assert findings == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 0.5",
        "x = 1e9",
        "x = a / b",
        "x /= 2",
        "x = hash(name)",
        "x = round(y)",
        "x = float('1')",
        "for x in {1, 2}: pass",
        "for x in set(names): pass",
        "x = [y for y in {z for z in w}]",
        "seen = set()\nfor x in seen: pass",
        "seen: set[int] = make()\nx = list(seen)",
        "def f(names: frozenset[str]) -> str:\n    return ','.join(names)",
        "class C:\n    names: set[str]\n    def f(self): return tuple(self.names)",
        "x = [*{1, 2}]",
        "for x in set(a) - b: pass",
        "for x in {y for y in z}: pass",
        "x = {y: 1 for y in {z for z in w}}",
        "for x in a.keys() & b.keys(): pass",
        "x = list(a.items() - b.items())",
        "x = sorted(a.keys() - b.keys(), key=len)",
        "x = min({1, 2}, key=f)",
        "for x in a.union(b): pass",
        "for x in (s := {1, 2}): pass",
        "if s := {1}: pass\nx = [*s]",
        "x = {1, 2}.pop()",
        "x = f'{set(a)}'",
        "x = str({1, 2})",
        "x = dict.fromkeys({1, 2})",
        "x.extend({1, 2})",
        "def f() -> set[int]: ...\nfor x in f(): pass",
        "NAMES: Final = frozenset({1})\nfor x in NAMES: pass",
        "x = [*({1} if a else b)]",
        "x: dict[str, set[int]] = {}",
        "x = 2 ** y",
        "x = operator.truediv(1, 2)",
        "import json",
        "from math import log2",
        "import fractions",
        "x = name.lower()",
        "x = name.isalpha()",
        "x = name.strip()",
        "x = re.compile(r'\\d+')",
        "try: f()\nexcept ValueError as error: x = str(error)",
        "try: f()\nexcept ValueError as error: raise Bad(f'{error}') from None",
        "import time",
        "import os.path",
        "from random import choice",
        "from datetime import datetime",
        "from abci_app.store import lmdb_store",
        "from abci_app import server",
        "import learningchain.client",
    ],
)
def test_an_impurity_is_found(source: str) -> None:
    assert list(find_impurities(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "x = a // b",
        "x //= 2",
        "for x in sorted({1, 2}): pass",
        "seen = set()\nx = len(seen)\ny = 3 in seen",
        "for x in {'a': 1}: pass",
        "for x in a.keys(): pass\nx = sorted(a.keys() - b.keys())",
        "x = 2 ** 64",
        "x = re.compile(rb'[0-9]+')",
        "try: f()\nexcept ValueError as error: raise Bad from error",
        "import hashlib\nfrom abci_app.protocol import keys\nfrom abci_app.pb.learningchain.v1 import tx_pb2",
    ],
)
def test_pure_code_is_let_through(source: str) -> None:
    assert list(find_impurities(source)) == []


def test_there_are_files_to_read() -> None:
    assert len(FILES) >= 10
