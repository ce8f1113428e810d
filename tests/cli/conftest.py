"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest

from learningchain.cli import worker_tools
from tests.cli.sandbox import MODEL, Sandbox
from tests.cli.terminal import QUICK, Terminal


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A user without keys on a chain with a contractor (carl), workers and checkers."""
    monkeypatch.setattr("learningchain.wallet.keystore.KdfCost", lambda: QUICK)
    return Terminal(tmp_path / "home", monkeypatch)


@pytest.fixture
def carl(terminal: Terminal) -> Terminal:
    """The contractor."""
    terminal.add_wallet("carl")
    return terminal


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    stand_in = Sandbox()
    monkeypatch.setattr(worker_tools, "evaluate", stand_in.evaluate)
    monkeypatch.setattr(worker_tools, "upload", stand_in.upload)
    return stand_in


@pytest.fixture
def ada(terminal: Terminal) -> Terminal:
    """A worker with a key."""
    terminal.add_wallet("worker1")
    return terminal


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.bin"
    path.write_bytes(MODEL)
    return str(path)
