"""A running node: the application and CometBFT, their lives tied together.

Neither is of use without the other: over gRPC CometBFT would go on with a restarted application without the handshake
that replays what it missed, so the end of one always ends the other.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import httpx2
import tomlkit

from learningchain.client.rpc import split_address
from learningchain.node_home import NodeError, NodeHome, NodeSilent, find_cometbft

READY_SECONDS: Final = 60.0
"""How long the application may take to open its store and listen."""
STOP_SECONDS: Final = 15.0
"""How long a process may take to stop before it is killed."""
POLL_SECONDS: Final = 0.1
STATUS_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LOG_TAIL_BYTES: Final = 2_000


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node says about itself."""

    chain_id: str
    height: int
    app_hash: str
    """Hex, after the block before the last one."""
    catching_up: bool
    peers: int
    moniker: str
    node_id: str
    """Hex address by which peers name the node."""


class RunningNode:
    """The two processes of a node. Use it from the thread that started it: they end when that thread ends."""

    def __init__(self, home: NodeHome, app: subprocess.Popen[bytes], cometbft: subprocess.Popen[bytes]) -> None:
        """Take over two processes that run."""
        self.home = home
        self.app = app
        self.cometbft = cometbft

    def find_ended(self) -> str | None:
        """Return which process ended and its last words, or None while both run."""
        for name, process in (("abci_app", self.app), ("cometbft", self.cometbft)):
            if process.poll() is not None:
                return f"{name} ended with code {process.returncode}{_read_tail(self.home.logs / f'{name}.log')}"
        return None

    def wait(self, is_stopping: Callable[[], bool]) -> str | None:
        """Return None when `is_stopping` says so, else which process ended; the other one is then stopped as well."""
        while not is_stopping():
            ended = self.find_ended()
            if ended is not None:
                self.stop()
                return ended
            time.sleep(POLL_SECONDS)
        return None

    def stop(self) -> None:
        """Stop CometBFT, then the application; whatever does not stop in time is killed."""
        stop_process(self.cometbft)
        stop_process(self.app)


def start_node(home: NodeHome, cometbft: Path | None = None) -> RunningNode:
    """Start application and CometBFT. Raises NodeError with the reason if one of them does not come up."""
    program = cometbft or find_cometbft()
    if not home.config_toml.exists() or not home.genesis.exists():
        raise NodeError(f"{home.root} holds no node: make one with 'lc node init'")
    document = tomlkit.parse(home.config_toml.read_text())
    address, transport = str(document["proxy_app"]), str(document["abci"])
    app_options = ["--transport", transport, "--address", address, "--cometbft-home", str(home.cometbft)]
    app = start_process(
        [sys.executable, "-m", "abci_app", "--home", str(home.app), *app_options], home.logs / "abci_app.log"
    )
    try:
        _wait_until_listening(app, address, home)
        node = start_process([str(program), "start", "--home", str(home.cometbft)], home.logs / "cometbft.log")
    except BaseException:
        stop_process(app)
        raise
    return RunningNode(home, app, node)


def run_node(home: NodeHome, cometbft: Path | None = None) -> int:
    """Run a node in the foreground until SIGINT or SIGTERM. Returns 0, or 1 with a reason on stderr."""
    stopping: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, _frame: stopping.append(received))
    try:
        node = start_node(home, cometbft)
        try:
            ended = node.wait(lambda: bool(stopping))
        finally:
            node.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended is not None:
        sys.stderr.write(f"the node stopped: {ended}\n")
        return 1
    return 0


def get_status(node: str) -> NodeStatus:
    """Ask a node (`http://HOST:PORT` or `unix:///PATH`) how it is. Raises NodeSilent or NodeError."""
    try:
        base, uds = split_address(node)
    except ValueError as error:
        raise NodeError(str(error)) from None
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=uds), timeout=STATUS_SECONDS) as http:
            status = http.get(f"{base}/status").json()["result"]
            net_info = http.get(f"{base}/net_info").json()["result"]
        return _read_status(status, net_info)
    except httpx2.HTTPError as error:
        raise NodeSilent(f"no node answers at {node}: start it with 'lc node start', or name another one") from error
    except (ValueError, LookupError, TypeError) as error:
        raise NodeError(f"what answers at {node} is no node: name the address of CometBFT's RPC") from error


def _read_status(status: Mapping[str, Any], net_info: Mapping[str, Any]) -> NodeStatus:
    sync = status["sync_info"]
    return NodeStatus(
        chain_id=status["node_info"]["network"],
        height=int(sync["latest_block_height"]),
        app_hash=sync["latest_app_hash"].lower(),
        catching_up=bool(sync["catching_up"]),
        peers=int(net_info["n_peers"]),
        moniker=status["node_info"]["moniker"],
        node_id=status["node_info"]["id"],
    )


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that this one started: SIGTERM, and SIGKILL when that takes too long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def start_process(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; its output goes to the end of `log`. Raises NodeError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return _spawn(command, output)


def _spawn(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    try:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the two in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        raise NodeError(f"cannot start {command[0]}: {error}") from error


def _wait_until_listening(app: subprocess.Popen[bytes], address: str, home: NodeHome) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _is_listening(address):
        if app.poll() is not None:
            raise NodeError(f"the application did not start{_read_tail(home.logs / 'abci_app.log')}")
        if time.monotonic() > deadline:
            raise NodeError(f"the application does not listen at {address} after {READY_SECONDS:.0f} s: see its log")
        time.sleep(POLL_SECONDS / 4)


def _is_listening(address: str) -> bool:
    scheme, _, rest = address.partition("://")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(rest if scheme == "unix" else (rest.rpartition(":")[0], int(rest.rpartition(":")[2])))
        except OSError:
            return False
    return True


def _read_tail(log: Path) -> str:
    """Return the end of a log for an error message."""
    try:
        data = log.read_bytes()[-_LOG_TAIL_BYTES:]
    except OSError:
        return ""
    text = data.decode("utf-8", "replace").strip()
    return f"; the end of {log}:\n{text}" if text else ""
