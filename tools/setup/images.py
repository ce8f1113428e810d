"""The base image of the examples and the demo's job image, built once and kept in the local registry."""

import hashlib
import http.client
import io
import tarfile
import time
from pathlib import Path

from tools.setup import registry
from tools.setup.engine_api import Engine
from tools.setup.packages import find_program, is_root_in_reach
from tools.setup.processes import as_root
from tools.setup.pythons import ASK_NETWORK, get_pip
from tools.setup.settings import CACHE, ROOT, STATE, TEMPORARY, VENV_PYTHON, SetupError
from tools.setup.steps import Work

BASE = "learningchain/base"
DIGITS = "learningchain/digits"
BASE_FOLDER = ROOT / "docker" / "base"
DIGITS_FOLDER = ROOT / "docker" / "examples" / "digits"
SLIM = ("python", "3.11-slim")
HUB = "registry-1.docker.io"
HUB_SECONDS = 3.0
FIXED_MTIME = 0
EXECUTABLE = {"run", "cometbft"}
DIGITS_DATA = "digits.csv.gz"


def compute_key(folder: Path, *more: str) -> str:
    """Return a tag that changes when a file of `folder` or one of the texts changes."""
    digest = hashlib.sha256()
    for path in list_files(folder):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    for text in more:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def list_files(folder: Path) -> list[Path]:
    """Return the files of a build folder, sorted, without caches and downloads."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if "__pycache__" not in path.parts and path.name != DIGITS_DATA)


def pack(folder: Path, extra: dict[str, bytes]) -> bytes:
    """Return a tar of a build folder and further files, the same bytes for the same content."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in list_files(folder)} | extra
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o755 if name in EXECUTABLE else 0o644, FIXED_MTIME
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def is_base_stored() -> bool:
    """Tell, without a running registry, whether the base image was built before."""
    return registry.is_stored(BASE, compute_key(BASE_FOLDER))


def ensure_base(work: Work, host: str, address: str) -> str:
    """Return the base image's reference by digest; the engine has it as `learningchain/base:latest` too."""
    engine, key = Engine(host), compute_key(BASE_FOLDER)
    if registry.get_digest(address, BASE, key):
        fetch(work, engine, f"{address}/{BASE}", key)
    else:
        build_base(work, engine, f"{address}/{BASE}", key)
        push(work, engine, f"{address}/{BASE}", key)
    engine.tag(f"{address}/{BASE}:{key}", BASE, "latest")
    return get_reference(address, BASE, key)


def fetch(work: Work, engine: Engine, repository: str, key: str) -> None:
    """Make sure that the engine has an image that the registry has."""
    if not engine.has_image(f"{repository}:{key}"):
        work.say("pulling it from the local registry")
        engine.pull(repository, key)


def push(work: Work, engine: Engine, repository: str, key: str) -> None:
    """Push an image to the local registry."""
    work.say("pushing it to the local registry")
    try:
        engine.push(repository, key)
    except SetupError as error:
        raise SetupError(
            f"{error}; an engine on another machine cannot reach a registry on this machine's loopback address",
            "unset DOCKER_HOST, so that an engine of this machine is used",
        ) from error


def get_reference(address: str, name: str, key: str) -> str:
    """Return `address/name@sha256:…` of an image in the registry."""
    digest = registry.get_digest(address, name, key)
    if digest is None:
        raise SetupError(f"{name}:{key} was pushed but the registry does not show it as one manifest", f"rm -r {STATE}")
    return f"{address}/{name}@{digest}"


def build_base(work: Work, engine: Engine, repository: str, key: str) -> None:
    """Build the base image on python:3-slim where Docker Hub is in reach, else from Debian packages."""
    if is_hub_in_reach() and pull_slim(work, engine):
        build_on_slim(work, engine, f"{repository}:{key}")
        return
    tar = TEMPORARY / "base.tar"
    try:
        make_root_file_system(work, tar)
        work.say("importing it into the engine")
        engine.import_tar(tar, repository, key)
    finally:
        tar.unlink(missing_ok=True)


def is_hub_in_reach() -> bool:
    """Tell whether Docker Hub answers at all within a few seconds."""
    connection = http.client.HTTPSConnection(HUB, timeout=HUB_SECONDS)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in {http.client.OK, http.client.UNAUTHORIZED}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def pull_slim(work: Work, engine: Engine) -> bool:
    """Pull python:3-slim; False when that fails (a rate limit, say) and Debian packages are another way."""
    work.say(f"pulling {':'.join(SLIM)}")
    try:
        engine.pull(*SLIM)
    except SetupError as error:
        if find_program("mmdebstrap") is None:
            raise
        work.say(str(error))
        return False
    return True


def build_on_slim(work: Work, engine: Engine, tag: str) -> None:
    """Build docker/base/Dockerfile: python:3-slim and numpy's wheel, downloaded here as the build has no network."""
    wheel = download(work, BASE_FOLDER / "requirements.txt", "numpy")
    for line in engine.build(pack(BASE_FOLDER, {wheel.name: wheel.read_bytes()}), tag, {"FROM": ":".join(SLIM)}):
        work.say(line)


def make_root_file_system(work: Work, tar: Path) -> None:
    """Write a tar with Debian's essential packages, python3 and numpy; docker/base/debian.txt has the options."""
    options = [line for line in (BASE_FOLDER / "debian.txt").read_text().splitlines() if line and line[0] != "#"]
    work.say("building it from Debian packages")
    argv = ["env", f"TMPDIR={TEMPORARY}", "SOURCE_DATE_EPOCH=0", "mmdebstrap", *options, "bookworm", str(tar)]
    work.run(
        as_root(argv) if is_root_in_reach() else argv,
        remedy="check that deb.debian.org (or its mirror in /etc/apt) is in reach",
    )


def download(work: Work, requirements: Path, name: str) -> Path:
    """Download the one wheel that a requirements file pins by hash, for the image's Python; return its path."""
    folder = CACHE / "wheels" / compute_key(requirements.parent)
    argv = ["download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(folder)]
    target = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64"]
    if not list(folder.glob("*.whl")):
        work.say(f"downloading {name}")
        work.run([*get_pip(), *argv, *target, "-r", str(requirements)], remedy=ASK_NETWORK)
    return next(folder.glob("*.whl"))


def ensure_digits(work: Work, host: str, address: str, base: str) -> str:
    """Return the job image's reference by digest, building and pushing it if its sources or its base changed."""
    engine = Engine(host)
    key = compute_key(DIGITS_FOLDER, base.partition("@")[2])
    if registry.get_digest(address, DIGITS, key) is None:
        tag = f"{address}/{DIGITS}:{key}"
        context = pack(DIGITS_FOLDER, {DIGITS_DATA: fetch_digits(work)})
        started = time.monotonic()
        for line in engine.build(context, tag, {"BASE": f"{BASE}:latest"}):
            work.say(line or f"building, {time.monotonic() - started:.0f} s")
        push(work, engine, f"{address}/{DIGITS}", key)
        for name in (tag, get_reference(address, DIGITS, key)):
            engine.remove(name)  # whoever wants it gets it from the registry, by digest, as on any other machine
        engine.prune()
    return get_reference(address, DIGITS, key)


def fetch_digits(work: Work) -> bytes:
    """Return the scans as scikit-learn ships them, fetched with the example's own script."""
    path = CACHE / DIGITS_DATA
    if not path.exists():
        work.say("downloading the handwritten digits")
        work.run([str(VENV_PYTHON), str(DIGITS_FOLDER / "fetch_data.py"), str(path)], remedy=ASK_NETWORK)
    return path.read_bytes()
