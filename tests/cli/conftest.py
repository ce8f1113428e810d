"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest

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
