"""A sender's surroundings: a chain in memory, and its list of what was sent on a disk."""

from pathlib import Path

import pytest

from learningchain.client import FileJournal
from tests.support.sending import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def journal(bench: Bench, tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "journal", bench.chain.tag, bench.key.public_key)
