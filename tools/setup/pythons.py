"""The project's Python environment, filled from the hash-locked requirements."""

import hashlib
import os
import sys
from pathlib import Path

from tools.setup.settings import ROOT, VENV, VENV_PYTHON
from tools.setup.steps import Work

REQUIREMENTS = ROOT / "requirements-dev.txt"
MARK = VENV / "learningchain-lock"
UNFINISHED = VENV / "learningchain-unfinished"
"""Present while pip works: packages of a broken-off installation can be torn."""
ASK_NETWORK = "check that pip can download (pip download six), then run the command again"


def compute_mark() -> str:
    """Return what the environment should hold: digest of the lock and of the packaging file, and the Python version."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{digest} {sys.version_info.major}.{sys.version_info.minor}\n"


def is_ready() -> bool:
    """Tell whether the environment is there and holds what the lock says."""
    return VENV_PYTHON.exists() and MARK.exists() and MARK.read_text() == compute_mark()


def make_environment(work: Work) -> str:
    """Make .venv with pip in it, unless it is there."""
    if UNFINISHED.exists():
        work.say("an installation was broken off: making the environment anew")
        work.run([sys.executable, "-m", "venv", "--clear", str(VENV)], remedy=f"rm -r {VENV}")
        return "made anew, as an installation was broken off"
    if VENV_PYTHON.exists() and has_pip():
        return "already there"
    work.say(f"making {VENV}")
    argv = ["-m", "ensurepip"] if VENV_PYTHON.exists() else ["-m", "venv", str(VENV)]
    python = VENV_PYTHON if VENV_PYTHON.exists() else Path(sys.executable)
    work.run([str(python), *argv], remedy="apt-get install python3-venv")
    return f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"


def has_pip() -> bool:
    """Tell whether the environment has pip (one made by uv has not)."""
    return any(VENV.glob("lib/python3*/site-packages/pip/__init__.py"))


def install_packages(work: Work) -> str:
    """Install the locked packages, every file checked against its hash, then the project itself in place."""
    if is_ready():
        return "already there"
    pip = get_pip()
    UNFINISHED.touch()
    work.run([*pip, "install", "--require-hashes", "-r", str(REQUIREMENTS)], remedy=ASK_NETWORK)
    work.run([*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    MARK.write_text(compute_mark())
    UNFINISHED.unlink()
    return f"{count_locked()} packages, hashes checked"


def get_pip() -> list[str]:
    """Return the start of a pip command that asks nothing and leaves nothing in the home folder."""
    return [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet"]


def count_locked() -> int:
    """Return how many packages the lock names."""
    return sum(1 for line in REQUIREMENTS.read_text().splitlines() if "==" in line and not line.startswith((" ", "#")))


def get_environ() -> dict[str, str]:
    """Return the variables that put the environment first on PATH."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": f"{VENV / 'bin'}{os.pathsep}{path}", "VIRTUAL_ENV": str(VENV)}
