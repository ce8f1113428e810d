"""The images of node and worker are built without network and do what they are for."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
NODE = "learningchain/node:latest"
WORKER = "learningchain/worker:latest"
START_SECONDS = 60
HEIGHT = 3
BEGIN = (
    "lc keys add me --unencrypted 2>/dev/null && lc node init --new-chain in-a-container --from me --yes "
    "&& exec lc node start"
)


@pytest.fixture(scope="module")
def client(docker_host: str, base_image: str, cometbft: str) -> Iterator[Any]:
    """Build both images, then give a client of the engine that has them."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.node_images"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [NODE, WORKER], done.stderr[-3000:]
    found = docker.DockerClient(base_url=docker_host, timeout=60)
    yield found
    found.close()


def run(client: Any, image: str, command: list[str]) -> str:
    """Return what a command in an image prints."""
    return str(client.containers.run(image, entrypoint=command, network_mode="none", remove=True).decode())


def test_the_node_image_holds_the_pinned_cometbft_and_no_root(client: Any) -> None:
    assert run(client, NODE, ["cometbft", "version"]).strip() == "0.38.25"
    assert run(client, NODE, ["id", "-u"]).strip() != "0"


def test_the_images_hold_the_locked_packages_and_no_pip(client: Any) -> None:
    listing = "import importlib.metadata as m; print(sorted(d.metadata['Name'].lower() for d in m.distributions()))"
    for image in (NODE, WORKER):
        names = run(client, image, ["python3", "-c", listing])
        assert "'learningchain'" in names
        assert "'lmdb'" in names
        assert "'pip'" not in names


def test_the_images_decode_as_all_nodes_do(client: Any) -> None:
    look = "from google.protobuf.internal import api_implementation as found; print(found.Type())"
    for image in (NODE, WORKER):
        assert run(client, image, ["python3", "-c", look]).strip() == "upb"


def test_a_node_in_a_container_makes_blocks_and_stops_at_sigterm(client: Any) -> None:
    container = client.containers.run(NODE, entrypoint=["sh", "-c", BEGIN], network_mode="none", detach=True, init=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while (height := read_height(container)) < HEIGHT:
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.5)
        container.kill("SIGTERM")
        assert container.wait(timeout=30)["StatusCode"] == 0
        assert height >= HEIGHT
    finally:
        container.remove(force=True)


def read_height(container: Any) -> int:
    """Return the height that `lc node status` shows; 0 while there is no answer."""
    code, output = container.exec_run(["lc", "node", "status", "--output", "json"], demux=True)
    return int(json.loads(output[0])["height"]) if code == 0 else 0


def test_the_worker_image_starts_the_worker(client: Any) -> None:
    shown = run(client, WORKER, ["lc", "worker", "--help"])
    assert "init" in shown
    assert "start" in shown
