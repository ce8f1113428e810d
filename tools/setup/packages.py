"""Debian packages: which are missing, the one question about them, and their installation."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.setup.processes import as_root
from tools.setup.settings import VENV_PYTHON, SetupError
from tools.setup.steps import Work

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
WITH_SUDO = "run the same command as root or with sudo before it"
APT_LOCK_SECONDS = 300
"""Patience with another package manager at work, such as the upgrades that a new machine makes by itself."""
PROCESSOR = "x86_64"
"""As `uname -m` says it; job images and the sandbox's list of system calls are for it."""
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
WHAT_FOR = {
    "apparmor": "this kernel enforces it, and the container engine starts nothing without its tools",
    "ca-certificates": "to download over TLS",
    "curl": "broadcasts a transaction in a test, as users do",
    "docker.io": "the container engine; no running one was found",
    "e2fsprogs": "size-capped file systems for the sandbox",
    "debian-archive-keyring": "to check what the base image is made of",
    "mmdebstrap": "builds the base image of the examples",
    "mount": "size-capped file systems for the sandbox",
    "python3-venv": "the Python environment of the project",
}


def find_program(name: str) -> str | None:
    """Return the path of a program, looked up on PATH and in the folders of system programs."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def check_processor() -> None:
    """Raise SetupError on a machine that cannot run job images, before anything is installed."""
    found = platform.machine()
    if found != PROCESSOR:
        raise SetupError(
            f"job images are for x86-64 processors (linux/amd64), and this machine's is {found}",
            "use an x86-64 machine; what needs no containers works here: "
            "python3 -m tools.setup run --no-containers -- lc --help",
        )


def is_debian() -> bool:
    """Tell whether this system installs Debian packages (Debian, Ubuntu and their kin)."""
    return find_program("apt-get") is not None and find_program("dpkg") is not None


def has_venv() -> bool:
    """Tell whether a Python environment is there or can be made without another package."""
    return VENV_PYTHON.exists() or importlib.util.find_spec("ensurepip") is not None


def has_apparmor() -> bool:
    """Tell whether this kernel has AppArmor switched on, as Debian's and Ubuntu's do."""
    return APPARMOR.exists() and APPARMOR.read_text().startswith("Y")


def list_missing(*, engine_runs: bool, base_is_there: bool, tests: bool = False) -> list[str]:
    """Return the Debian packages that this machine still needs, sorted; with `tests` also those of the tests alone."""
    missing = {
        "apparmor": not engine_runs and has_apparmor() and find_program("apparmor_parser") is None,
        "curl": tests and find_program("curl") is None,
        "docker.io": not engine_runs and find_program("dockerd") is None,
        "mmdebstrap": not base_is_there and find_program("mmdebstrap") is None,
        "debian-archive-keyring": not base_is_there
        and not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
        "e2fsprogs": find_program("mkfs.ext4") is None,
        "mount": find_program("mount") is None,
    }
    return sorted([*list_missing_for_python(), *(name for name, is_missing in missing.items() if is_missing)])


def list_missing_for_python() -> list[str]:
    """Return the Debian packages without which neither Python packages nor CometBFT can be had, sorted."""
    missing = {"ca-certificates": is_debian() and not CERTIFICATES.exists(), "python3-venv": not has_venv()}
    return sorted(name for name, is_missing in missing.items() if is_missing)


def explain(names: Sequence[str]) -> str:
    """Return one line for each package: what it is for."""
    return "\n".join(f"  {name:24} {WHAT_FOR[name]}" for name in names)


def check_possible(names: Sequence[str]) -> None:
    """Raise SetupError when packages are missing and this system or user cannot install them."""
    if not names:
        return
    if not is_debian():
        raise SetupError(
            f"these are missing, and only Debian and Ubuntu are set up automatically:\n{explain(names)}",
            "install them with your system's own tools (these are Debian's names), start Docker, and try again",
        )
    if not is_root_in_reach():
        raise SetupError(
            f"root is needed to install these:\n{explain(names)}", f"{WITH_SUDO}; or {get_install_line(names)}"
        )


def get_install_line(names: Sequence[str]) -> str:
    """Return the command that installs the packages by hand."""
    return "as root: apt-get update && apt-get install --no-install-recommends " + " ".join(names)


def ask(names: Sequence[str]) -> None:
    """List the packages and ask once, on a terminal; go on without one or with YES=1. Raise SetupError on no."""
    print(f"These Debian packages will be installed:\n{explain(names)}", file=sys.stderr)
    if os.environ.get("YES") == "1" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print("Continue? [Y/n] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().lower() not in {"\n", "y\n", "yes\n"}:  # the end of the input (Ctrl-D) is no answer
        raise SetupError("nothing was installed", get_install_line(names))


def is_root_in_reach() -> bool:
    """Tell whether commands can be run as root without a password being asked in the middle of a step."""
    if os.geteuid() == 0:
        return True
    sudo = find_program("sudo")
    if sudo is None:
        return False
    return subprocess.run([sudo, "-n", "true"], capture_output=True, start_new_session=True).returncode == 0


def install(work: Work, names: Sequence[str], *, refresh: bool) -> str:
    """Install Debian packages and return what to show; with `refresh` read the package lists anyway."""
    if not names and not refresh:
        return "nothing missing"
    wait = f"DPkg::Lock::Timeout={APT_LOCK_SECONDS}"
    apt = as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", wait])
    work.run([*apt, "update"], remedy="check the network and /etc/apt, or wait for another apt-get, then try again")
    if not names:
        return "nothing missing; package lists read"
    get = [*apt, "install", "--no-install-recommends", *names]
    work.run([*get, "--download-only"], remedy=get_install_line(names))
    work.run(get, remedy=get_install_line(names), killable=False)
    return f"installed {' '.join(names)}"
