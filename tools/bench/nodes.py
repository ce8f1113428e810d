"""One node of each kind with the same settings: ours over two transports, the least in Python, CometBFT's kvstore."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.genesis_file import build_genesis_file
from learningchain.node_home import NodeHome, NodeSettings, create_home, find_cometbft, write_genesis, write_settings
from learningchain.processes import start_process, stop_process
from tools.bench.load import LoadError, Rpc
from tools.bench.transactions import SET_NAME

KINDS: Final = ("socket", "signature", "grpc", "kvstore")
CHAIN_ID: Final = "bench"
READY_SECONDS: Final = 60.0
# Batches are how one client process can offer more than a node commits.
OVERRIDES: Final = (("rpc.max_request_batch_size", 0),)
GENESIS_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Node:
    """A running node; `app` is None for the kvstore, which lives inside CometBFT."""

    rpc_port: int
    cometbft: subprocess.Popen[bytes]
    app: subprocess.Popen[bytes] | None
    counter: Path

    def get_cpu_seconds(self) -> float:
        """Return the CPU time of the application's process so far."""
        if self.app is None:
            return 0.0
        fields = Path(f"/proc/{self.app.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare_home(root: Path) -> NodeHome:
    """Make the keys and settings of a node once; every round starts from a copy."""
    home = NodeHome(root)
    create_home(home, _get_settings())
    return home


def _get_settings() -> NodeSettings:
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [int(entry.getsockname()[1]) for entry in bound]
    for entry in bound:
        entry.close()
    return NodeSettings(SET_NAME, rpc_port=ports[0], p2p_port=ports[1], overrides=OVERRIDES)


def write_chain(home: NodeHome, genesis: pb.Genesis) -> None:
    """Write the genesis file, the same for all kinds and rounds."""
    write_genesis(home, build_genesis_file(CHAIN_ID, genesis, SET_NAME, GENESIS_TIME))


@contextmanager
def running_node(kind: str, template: NodeHome, folder: Path) -> Iterator[Node]:
    """Run a fresh node of a kind while the block runs."""
    shutil.copytree(template.root, folder)
    home = NodeHome(folder)
    settings = _get_settings()
    write_settings(home, settings)
    counter = folder / "counts.json"
    app = None if kind == "kvstore" else _start_app(kind, home, counter)
    address = "kvstore" if kind == "kvstore" else home.abci_address
    command = [str(find_cometbft()), "start", "--home", str(home.cometbft), "--proxy_app", address]
    node = start_process([*command, "--abci", "grpc" if kind == "grpc" else "socket"], home.logs / "cometbft.log")
    try:
        _wait(node, home, settings.rpc_port)
        yield Node(settings.rpc_port, node, app, counter)
    finally:
        stop_process(node)
        if app is not None:
            stop_process(app)


def _start_app(kind: str, home: NodeHome, counter: Path) -> subprocess.Popen[bytes]:
    if kind == "signature":
        arguments = ["tools.bench.signature_app", str(counter), home.abci_address]
    else:
        options = ["--home", str(home.app), "--cometbft-home", str(home.cometbft)]
        address = ["--transport", kind, "--address", home.abci_address]
        arguments = ["tools.bench.counting_app", str(counter), *options, *address]
    app = start_process([sys.executable, "-m", *arguments], home.logs / "abci_app.log")
    end = time.monotonic() + READY_SECONDS
    while not (home.app / "abci.sock").exists():  # CometBFT would wait three seconds before it tries again
        if app.poll() is not None or time.monotonic() > end:
            raise LoadError(f"the application did not start: see {home.logs}")
        time.sleep(0.05)
    return app


def _wait(node: subprocess.Popen[bytes], home: NodeHome, rpc_port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            rpc = Rpc(rpc_port)
            if int(rpc.call("status")["sync_info"]["latest_block_height"]) >= 2:
                rpc.close()
                return
        except OSError:
            time.sleep(0.1)
        if node.poll() is not None or time.monotonic() > end:
            raise LoadError(f"the node did not start: see {home.logs}")
        time.sleep(0.1)
