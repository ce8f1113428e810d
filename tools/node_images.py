"""`make images`: build the images of node and worker, without network during the build.

The wheels of requirements.txt are downloaded here and checked against its hashes, once more inside the build; CometBFT
is the one that the set-up found. The base is python:3.11-slim where the engine can pull it, else the base image that
the set-up made from Debian packages.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.setup.engine_api import Engine
from tools.setup.images import BASE, SLIM, is_hub_in_reach, pack
from tools.setup.settings import ROOT, SetupError

IMAGES = ("node", "worker")
SOURCES = ("abci_app", "learningchain", "worker", "pyproject.toml", "README.md", "LICENSE")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
"""With the old name of the second one: pip does not know that it is the same, and takes a wheel in pure Python instead
where there is one, as of protobuf."""
TARGET = ["--python-version", "3.11", *(option for name in PLATFORMS for option in ("--platform", name))]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet"]


def collect_wheels() -> dict[str, bytes]:
    """Return the wheels of the lock, of pip and of this project, by their path in the build."""
    with tempfile.TemporaryDirectory(prefix="lc-images-") as folder:
        wheels, sources = Path(folder, "wheels"), Path(folder, "sources")
        download = [*PIP, "download", "--only-binary=:all:", "--no-deps", "--require-hashes", *TARGET]
        for requirements in ("requirements.txt", "docker/pip.txt"):
            subprocess.run([*download, "--dest", str(wheels), "-r", str(ROOT / requirements)], check=True)
        copy_sources(sources)
        own = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(sources)]
        subprocess.run(own, check=True)
        return {f"wheels/{path.name}": path.read_bytes() for path in sorted(wheels.glob("*.whl"))}


def copy_sources(folder: Path) -> None:
    """Copy what the wheel is made of: built in the checkout it would also hold modules that are deleted by now."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)


def choose_base(engine: Engine) -> str:
    """Return the image to build on, which the engine has afterwards."""
    if is_hub_in_reach():
        engine.pull(*SLIM)
        return ":".join(SLIM)
    if not engine.has_image(f"{BASE}:latest"):
        raise SetupError("neither Docker Hub nor the project's base image is in reach", "make images")
    return f"{BASE}:latest"


def main() -> int:
    """Build both images; print their names."""
    engine = Engine(os.environ["DOCKER_HOST"])
    files = collect_wheels() | {"requirements.txt": (ROOT / "requirements.txt").read_bytes()}
    base = choose_base(engine)
    for name in IMAGES:
        extra = files | ({"cometbft": Path(os.environ["LC_COMETBFT"]).read_bytes()} if name == "node" else {})
        for line in engine.build(pack(ROOT / "docker" / name, extra), f"learningchain/{name}:latest", {"BASE": base}):
            if line:
                print(line, file=sys.stderr, flush=True)
        print(f"learningchain/{name}:latest", flush=True)
    engine.prune()
    return 0


if __name__ == "__main__":
    sys.exit(main())
