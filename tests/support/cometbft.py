"""Real CometBFT nodes for tests: homes, genesis, processes one can kill, and the RPC."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.genesis import compute_genesis_tag
from abci_app.protocol.hashing import compute_tx_hash, get_tx_sign_bytes
from abci_app.protocol.jsonform import message_from_json
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from learningchain.genesis_file import build_genesis_file
from learningchain.node import RunningNode, start_node
from learningchain.node_home import NodeHome, NodeIdentity, NodeSettings, create_home, write_genesis, write_settings
from learningchain.processes import stop_process
from tests.support.ports import reserved_ports
from tests.support.wallets import Wallet

T = TypeVar("T")

CHAIN_ID: Final = "e2e-test"
RPC_SECONDS: Final = 10.0
KINDS: Final = {field.message_type.name: field.name for field in tx_pb2.TxBody.DESCRIPTOR.fields if field.message_type}
FAST: Final = (("consensus.timeout_commit", "100ms"),)
"""Settings that make tests short."""


class RpcError(Exception):
    """CometBFT answered with an error."""


class TestNode:
    """One node: its home, its RPC and, while it runs, its processes."""

    __test__ = False

    def __init__(self, home: NodeHome, settings: NodeSettings, identity: NodeIdentity, cometbft: Path) -> None:
        self.home, self.settings, self.identity, self.program = home, settings, identity, cometbft
        self.rpc_url = f"http://127.0.0.1:{settings.rpc_port}"
        self.running: RunningNode | None = None
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> RunningNode:
        """Start application and CometBFT with their lives tied."""
        self.running = start_node(self.home, self.program)
        return self.running

    def start_app(self) -> subprocess.Popen[bytes]:
        """Start the application by hand."""
        options = ["--transport", self.settings.transport, "--address", self.home.abci_address]
        return self._spawn("abci_app", [sys.executable, "-m", "abci_app", "--home", str(self.home.app), *options])

    def wait_for_app(self) -> None:
        """Wait until the application listens: CometBFT tries again after 3 s only."""
        path = self.home.abci_address.removeprefix("unix://")

        def listens() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(path) == 0

        wait_for(listens, 30, "application that listens")

    def start_cometbft(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start CometBFT by hand."""
        command = [str(self.program), "start", "--home", str(self.home.cometbft)]
        return self._spawn("cometbft", command, environment)

    def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.home.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        self.started[name] = process
        return process

    def kill(self, name: str) -> None:
        """Kill a process started by hand: `abci_app` or `cometbft`."""
        process = self.started.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop everything of this node that runs."""
        if self.running is not None:
            self.running.stop()
            self.running = None
        for process in reversed(self.started.values()):
            stop_process(process)
        self.started.clear()

    def log(self, name: str) -> str:
        """Return the log of `abci_app` or `cometbft`."""
        return (self.home.logs / f"{name}.log").read_text(errors="replace")

    def rpc(self, method: str, **params: object) -> Any:
        """Return the result of an RPC call. Raises RpcError, OSError."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.rpc_url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=RPC_SECONDS) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def rpc_batch(self, method: str, params: Sequence[Mapping[str, object]]) -> list[Any]:
        """Return the results of many calls in one request, answered in their order. Raises RpcError, OSError."""
        calls = [{"jsonrpc": "2.0", "id": i, "method": method, "params": entry} for i, entry in enumerate(params)]
        request = urllib.request.Request(self.rpc_url, json.dumps(calls).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=RPC_SECONDS) as response:
            answers = json.load(response)
        failed = [answer["error"] for answer in answers if "error" in answer]
        if failed:
            raise RpcError(failed[0])
        return [answer["result"] for answer in answers]

    def height(self) -> int:
        """Return the height of the last block, 0 if the node does not answer."""
        try:
            return int(self.rpc("status")["sync_info"]["latest_block_height"])
        except (OSError, ValueError, RpcError):
            return 0

    def wait_for_height(self, height: int, seconds: float = 60.0) -> int:
        """Wait until the chain has this height."""
        return wait_for(lambda: (now := self.height()) >= height and now, seconds, f"height {height}")

    def query(self, path: str, data: bytes = b"", height: int = 0, prove: bool = False) -> Any:
        """Return the response of an application query."""
        params = {"path": path, "data": data.hex(), "height": str(height), "prove": prove}
        return self.rpc("abci_query", **params)["response"]

    def view(self, path: str) -> dict[str, Any]:
        """Return the JSON object of a view, which must not fail."""
        response = self.query(path)
        assert not response.get("code"), response
        view: dict[str, Any] = json.loads(base64.b64decode(response["value"]))
        return view

    def broadcast(self, tx: bytes) -> int:
        """Offer a transaction to the mempool; return CheckTx's code."""
        return int(self.rpc("broadcast_tx_sync", tx=base64.b64encode(tx).decode())["code"])

    def wait_for_tx(self, tx: bytes) -> Any:
        """Wait until the transaction is in a block; return its result."""
        digest = base64.b64encode(compute_tx_hash(tx)).decode()

        def find() -> Any:
            try:
                return self.rpc("tx", hash=digest)["tx_result"] | {"found": True}
            except RpcError:
                return None

        return wait_for(find, 60, "the transaction in a block")

    def app_hashes(self, up_to: int) -> dict[int, str]:
        """Return the app hash after each height, as the headers of the heights after them say."""
        return {
            height - 1: self.rpc("commit", height=str(height))["signed_header"]["header"]["app_hash"]
            for height in range(2, up_to + 1)
        }

    def account(self, wallet: Wallet) -> pb.Account:
        """Return an account by its view."""
        view = self.view(f"/account/{encode_address(wallet.address)}")
        return message_from_json(view["account"], pb.Account)


class TestNetwork:
    """Nodes of one chain in one folder."""

    __test__ = False

    def __init__(self, nodes: Sequence[TestNode], genesis: pb.Genesis) -> None:
        self.nodes, self.genesis = nodes, genesis
        self.tag = compute_genesis_tag(CHAIN_ID, genesis)

    def sign(self, wallet: Wallet, message: Message, nonce: int, expires: int = 90) -> bytes:
        """Return a signed transaction."""
        fields: dict[str, Any] = {KINDS[message.DESCRIPTOR.name]: message}
        body = tx_pb2.TxBody(
            chain_tag=self.tag, account=wallet.address, nonce=nonce, expires_at_height=expires, **fields
        ).SerializeToString(deterministic=True)
        signature = wallet.sign(get_tx_sign_bytes(self.tag, body))
        signed = tx_pb2.SignedTx(body_bytes=body, public_key=wallet.public_key, signature=signature)
        return signed.SerializeToString(deterministic=True)


@contextmanager
def make_network(
    cometbft: str | Path,
    validators: int = 1,
    wallets: Sequence[Wallet] = (),
    transport: str = "socket",
    set_name: str = "bench",
    overrides: Mapping[str, str | int | bool] | None = None,
    observers: int = 0,
) -> Iterator[TestNetwork]:
    """Yield a network whose nodes are not started; everything is stopped and removed at the end.

    Each wallet holds 1 000 credits. Validators have equal bonds; observers follow without validating.
    """
    program = Path(cometbft)
    root = Path(tempfile.mkdtemp(prefix="lc-"))  # a short path: Unix sockets allow 107 bytes
    nodes: list[TestNode] = []
    held = ExitStack()
    try:
        extra = (*FAST, *(overrides or {}).items())
        for number in range(validators + observers):
            rpc_port, p2p_port = held.enter_context(reserved_ports(2))
            settings = NodeSettings(set_name, f"node{number}", transport, rpc_port, p2p_port, overrides=extra)
            home = NodeHome(root / f"n{number}")
            nodes.append(TestNode(home, settings, create_home(home, settings, program), program))
        genesis = build_genesis([node.identity for node in nodes[:validators]], wallets, set_name)
        document = build_genesis_file(CHAIN_ID, genesis, set_name, datetime.now(UTC))
        for node in nodes:
            write_genesis(node.home, document)
            _connect(node, nodes)
        yield TestNetwork(nodes, genesis)
    finally:
        for node in nodes:
            node.stop()
        held.close()
        shutil.rmtree(root)


def build_genesis(identities: Sequence[NodeIdentity], wallets: Sequence[Wallet], set_name: str) -> pb.Genesis:
    """Return a genesis with one bonded operator for each identity, and the wallets."""
    genesis = pb.Genesis(params=get_params(set_name))
    for number, identity in enumerate(identities):
        operator = Wallet(f"operator {number}")
        genesis.accounts.add(public_key=operator.public_key, balance=100 * UCREDIT, bond=1_000 * UCREDIT, checker=1)
        genesis.validators.add(consensus_key=identity.consensus_key, operator=operator.address, power=1_000)
    for wallet in wallets:
        genesis.accounts.add(public_key=wallet.public_key, balance=1_000 * UCREDIT)
    return genesis


def wait_for(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Return what `condition` returns once it is true. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds} s")
        time.sleep(0.05)


def _connect(node: TestNode, nodes: Sequence[TestNode]) -> None:
    peers = tuple(
        f"{other.identity.node_id}@127.0.0.1:{other.settings.p2p_port}" for other in nodes if other is not node
    )
    write_settings(node.home, replace(node.settings, persistent_peers=peers))
