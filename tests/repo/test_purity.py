"""The protocol computes the same on every machine: no floats, no order of sets, nothing from outside."""

from pathlib import Path

import pytest

from tests.repo.purity import find_impurities

PROTOCOL = Path(__file__).resolve().parents[2] / "abci_app" / "protocol"
EXCEPTIONS = {("committee.py", "call of id()")}
"""A memo keyed by the identity of a record that it holds; results do not depend on it."""
FILES = sorted(PROTOCOL.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PROTOCOL)) for path in FILES])
def test_a_file_of_the_protocol_is_pure(path: Path) -> None:
    found = find_impurities(path.read_text())
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
        "import hashlib\nfrom abci_app.protocol import keys\nfrom abci_app.pb.learningchain.v1 import tx_pb2",
    ],
)
def test_pure_code_is_let_through(source: str) -> None:
    assert list(find_impurities(source)) == []


def test_there_are_files_to_read() -> None:
    assert len(FILES) >= 10
