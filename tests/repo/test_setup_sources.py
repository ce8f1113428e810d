"""Where the set-up gets things: Python's environment, Go and CometBFT, the base image; what it falls back on."""

import threading
from pathlib import Path

import pytest

from tools.setup import cometbft, images, pythons
from tools.setup.board import Board, get_silence
from tools.setup.engine_api import Engine
from tools.setup.settings import CACHE, SetupError
from tools.setup.steps import Work


@pytest.fixture
def work() -> Work:
    board = Board()
    board.open(["test"])
    return Work("test", board, threading.Event())


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the set-up to another Python environment, which holds what the lock says."""
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    monkeypatch.setattr(pythons, "VENV", folder)
    monkeypatch.setattr(pythons, "VENV_PYTHON", folder / "bin" / "python")
    monkeypatch.setattr(pythons, "MARK", folder / "mark")
    monkeypatch.setattr(pythons, "UNFINISHED", tmp_path / ".venv-unfinished")
    pythons.MARK.write_text(pythons.compute_mark())
    return folder


@pytest.mark.usefixtures("environment")
def test_an_environment_that_holds_what_the_lock_says_is_used() -> None:
    assert pythons.is_ready()
    assert pythons.why_anew() == ""


@pytest.mark.usefixtures("environment")
def test_another_lock_is_installed_over_the_old_one() -> None:
    pythons.MARK.write_text(pythons.compute_mark().replace(pythons.compute_mark()[:8], "00000000"))
    assert not pythons.is_ready()
    assert pythons.why_anew() == ""


@pytest.mark.usefixtures("environment")
def test_an_environment_of_another_python_is_made_anew() -> None:
    pythons.MARK.write_text(pythons.compute_mark().replace("Python 3.", "Python 2."))
    assert not pythons.is_ready()
    assert "Python 2." in pythons.why_anew()


def test_a_moved_environment_is_made_anew(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = environment.rename(environment.with_name("moved"))
    monkeypatch.setattr(pythons, "VENV", moved)
    monkeypatch.setattr(pythons, "MARK", moved / "mark")
    assert str(environment) in pythons.why_anew()


@pytest.mark.usefixtures("environment")
def test_an_environment_is_made_anew_after_a_broken_off_installation() -> None:
    pythons.UNFINISHED.touch()
    assert "broken off" in pythons.why_anew()


def test_go_writes_to_the_cache_only_and_obeys_the_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/me/settings")
    monkeypatch.delenv("GOENV", raising=False)
    environ = cometbft.get_go_environ()
    folders = [Path(environ[name]) for name in ("GOPATH", "GOMODCACHE", "GOCACHE", "XDG_CONFIG_HOME")]
    assert all(folder.is_relative_to(CACHE) for folder in folders)
    assert environ["GOENV"] == "/home/me/settings/go/env"


def test_a_program_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    broken = tmp_path / "cometbft"
    assert cometbft.says(broken) == ""
    broken.write_text("no program")
    broken.chmod(0o755)
    assert cometbft.says(broken) == ""
    broken.write_text("#!/bin/sh\necho v0.38.25+0123abc\n")
    assert cometbft.says(broken) == "0.38.25"


class RateLimited(Engine):
    """An engine whose pulls are refused."""

    def pull(self, repository: str, tag: str) -> None:
        raise SetupError("toomanyrequests")


def test_a_refused_pull_falls_back_on_debian_packages(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_program", lambda name: f"/usr/bin/{name}")
    assert not images.pull_slim(work, RateLimited("unix:///none"))


def test_a_refused_pull_is_reported_where_there_is_no_other_way(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_program", lambda name: None)
    with pytest.raises(SetupError, match="toomanyrequests"):
        images.pull_slim(work, RateLimited("unix:///none"))


def test_without_a_terminal_a_step_speaks_less_often_the_longer_it_takes() -> None:
    silences = [get_silence(seconds) for seconds in (0, 5, 40, 100, 1000)]
    assert silences == [5, 5, 10, 25, 30]
