"""The project's Python environment, filled from the hash-locked requirements."""

import hashlib
import os
import sys

from tools.setup.settings import ROOT, VENV, VENV_PYTHON
from tools.setup.steps import Work

REQUIREMENTS = ROOT / "requirements-dev.txt"
MARK = VENV / "learningchain-content"
UNFINISHED = VENV.with_name(".venv-unfinished")
"""Present while venv and pip work: packages of a broken-off installation can be torn."""
ASK_NETWORK = "check that pip can download (pip download six), then run the command again"


def compute_mark() -> str:
    """Return what the environment should be: digest of lock and packaging file, version of Python, place."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{digest} Python {sys.version_info.major}.{sys.version_info.minor} in {VENV.resolve()}"


def is_ready() -> bool:
    """Tell whether the environment is there and holds what the lock says."""
    return VENV_PYTHON.exists() and MARK.exists() and MARK.read_text() == compute_mark()


def why_anew() -> str:
    """Return why an environment that is there cannot be used any more; empty if it can."""
    if UNFINISHED.exists():
        return "an installation was broken off"
    made_for = MARK.read_text().partition(" ")[2] if MARK.exists() else ""
    if made_for and made_for != compute_mark().partition(" ")[2]:
        return f"it was made for {made_for}"
    return ""


def make_environment(work: Work) -> str:
    """Make .venv with pip in it, unless it is there; anew if it is torn, or of another Python or place."""
    reason = why_anew()
    if VENV_PYTHON.exists() and not reason:
        if not has_pip():
            work.run([str(VENV_PYTHON), "-m", "ensurepip"], remedy=f"rm -r {VENV}")
        return "already there"
    work.say(f"making {VENV}")
    UNFINISHED.touch()
    work.run([sys.executable, "-m", "venv", "--clear", str(VENV)], remedy="apt-get install python3-venv")
    made = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return f"{made}, made anew: {reason}" if reason else made


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
    """Return the start of a pip command that asks nothing, leaves nothing in the home folder and draws no bars."""
    quiet = ["env", "PIP_PROGRESS_BAR=off", "PIP_ROOT_USER_ACTION=ignore"]
    return [*quiet, str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]


def count_locked() -> int:
    """Return how many packages the lock names."""
    return sum(1 for line in REQUIREMENTS.read_text().splitlines() if "==" in line and not line.startswith((" ", "#")))


def get_environ() -> dict[str, str]:
    """Return the variables that put the environment first on PATH."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": f"{VENV / 'bin'}{os.pathsep}{path}", "VIRTUAL_ENV": str(VENV)}
