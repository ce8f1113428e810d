"""The local container registry: Debian's docker-registry on a free loopback port, with its data in the state folder."""

import http.client
import json
import shutil
import socket
import time

from tools.setup.packages import find_program, is_debian
from tools.setup.processes import read_note, read_record, start_daemon, stop_recorded
from tools.setup.settings import CACHE, LOGS, STATE, SetupError
from tools.setup.steps import Work

FOLDER = STATE / "registry"
RECORD = STATE / "registry.json"
PORT = FOLDER / "port"
CONFIG = FOLDER / "config.json"
LOG = LOGS / "registry.log"
UNPACKED = CACHE / "docker-registry"
START_SECONDS = 15
QUICK_SECONDS = 3.0
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def find_binary() -> str | None:
    """Return the registry's program: on PATH, or unpacked into the cache."""
    unpacked = UNPACKED / "usr" / "bin" / "docker-registry"
    return find_program("docker-registry") or (str(unpacked) if unpacked.exists() else None)


def fetch_binary(work: Work) -> str:
    """Unpack Debian's package into the cache (installing it would start one more service) and return the program."""
    if not is_debian():
        raise SetupError(
            "the program docker-registry is missing", "install 'distribution' (docker-registry) and put it on PATH"
        )
    part = UNPACKED.with_name(f"{UNPACKED.name}.part")  # what is at the final place is whole
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    work.say("fetching Debian's docker-registry")
    work.run(["apt-get", "-q", "download", "docker-registry"], cwd=part, remedy="apt-get update")
    package = next(part.glob("*.deb"))
    work.run(["dpkg-deb", "-x", str(package), str(part)])
    package.unlink()
    shutil.rmtree(UNPACKED, ignore_errors=True)
    part.rename(UNPACKED)
    return str(UNPACKED / "usr" / "bin" / "docker-registry")


def ensure(work: Work) -> str:
    """Return `address:port` of the registry, starting it if it does not run."""
    if read_record(RECORD):
        address = f"127.0.0.1:{read_note(PORT)}"
        if answers(address):
            return address
    stop()
    program = find_binary() or fetch_binary(work)
    port = choose_port()
    write_config(port)
    LOG.unlink(missing_ok=True)
    start_daemon([program, "serve", str(CONFIG)], RECORD, LOG)
    return wait_until_ready(work, f"127.0.0.1:{port}")


def choose_port() -> int:
    """Return the port of the last run if it is free, so that image names stay the same; else any free one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = read_note(PORT) or 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    PORT.write_text(str(port))
    return port


def write_config(port: int) -> None:
    """Write the registry's settings (JSON is YAML, which the registry reads)."""
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(FOLDER / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    CONFIG.write_text(json.dumps(settings, indent=2))


def wait_until_ready(work: Work, address: str) -> str:
    """Wait for the first answer and return the address."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(address):
        if read_record(RECORD) is None or time.monotonic() > deadline:
            text = "\n    ".join(LOG.read_text(errors="replace").splitlines()[-6:])
            stop()
            raise SetupError(f"the registry did not start at {address}:\n    {text}", f"see {LOG}")
        work.say("starting the registry")
        time.sleep(0.05)
    return address


def answers(address: str) -> bool:
    """Tell whether a registry answers at `address`."""
    return request(address, "GET", "/v2/")[0] == http.client.OK


def request(address: str, method: str, path: str) -> tuple[int, str]:
    """Return (status, Docker-Content-Digest) of a request; status 0 when nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=QUICK_SECONDS)
    try:
        connection.request(method, path, headers={"Accept": MANIFEST})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Docker-Content-Digest", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def get_digest(address: str, name: str, tag: str) -> str | None:
    """Return the digest of a single manifest in the registry, or None when it is not there."""
    status, digest = request(address, "HEAD", f"/v2/{name}/manifests/{tag}")
    return digest if status == http.client.OK and digest.startswith("sha256:") else None


def is_stored(name: str, tag: str) -> bool:
    """Tell, without a running registry, whether its folder holds an image."""
    return (FOLDER / "data/docker/registry/v2/repositories" / name / "_manifests/tags" / tag / "current/link").exists()


def stop() -> bool:
    """Stop the registry; True if it ran."""
    return stop_recorded(RECORD)
