"""A running node: the application and CometBFT, their lives tied together.

Neither is of use without the other: over gRPC CometBFT would go on with a restarted application without the handshake
that replays what it missed, so the end of one always ends the other.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import tomlkit

from abci_app.protocol.genesis_json import BadGenesis
from abci_app.protocol.limits import MIB
from learningchain.client.errors import BadAnswer
from learningchain.client.rpc import fetch, split_address
from learningchain.genesis_check import read_chain_id
from learningchain.node_home import (
    REWRITE,
    NodeError,
    NodeHome,
    NodeSilent,
    check_settings,
    check_socket_address,
    find_cometbft,
)
from learningchain.processes import Log, Lookout, describe_end, get_module_command, start_process, stop_process

READY_SECONDS: Final = 600.0
"""How long the application may take to open its store and listen; with millions of records on a slow disk, minutes."""
LAST_WORDS_SECONDS: Final = 2.0
"""How long the application may take to end after CometBFT did: if it is the cause, it ends by itself."""
FREE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.1
LEAST_FREE_MIB: Final = 64
"""Room on the disk without which a node is stopped: CometBFT's consensus ends without a word on a full one."""
STATUS_SECONDS: Final = 5.0
NO_BLOCKS: Final = re.compile(rb"(E\[[^]]*\] |\{\"_msg\":\")CONSENSUS FAILURE!!!")
"""CometBFT's line when it cannot go on making blocks, as on a full disk; all else of it, RPC too, runs on for ever."""
_DAMAGE: Final = (-signal.SIGABRT, -signal.SIGBUS, -signal.SIGSEGV)
"""How the application may end when pages of its store were overwritten: LMDB does not report all that it finds."""


class StartInterrupted(NodeError):
    """A node was told to stop before it ran: opening a large store takes minutes."""


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

    def __init__(self, home: NodeHome, lock: int) -> None:
        """Nothing runs yet; `lock` is an open file that keeps others from starting this node."""
        self.home = home
        self.app: subprocess.Popen[bytes]
        self.cometbft: subprocess.Popen[bytes]
        self._lock = lock
        self._logs = {name: Log.begin(home.logs / f"{name}.log") for name in ("abci_app", "cometbft")}
        self._lookout = Lookout(self._logs["cometbft"], NO_BLOCKS)

    def start(self, program: Path, address: str, transport: str, is_stopping: Callable[[], bool]) -> None:
        """Start both processes. Raises NodeError if one of them does not come up, and StartInterrupted."""
        options = ["--transport", transport, "--address", address, "--cometbft-home", str(self.home.cometbft)]
        command = get_module_command("abci_app", "--home", str(self.home.app), *options)
        self.app = start_process(command, self._logs["abci_app"].path)
        try:
            self._wait_until_listening(address, is_stopping)
            command = [str(program), "start", "--home", str(self.home.cometbft), "--proxy_app", address]
            self.cometbft = start_process(command, self._logs["cometbft"].path)
        except BaseException:
            stop_process(self.app)
            raise

    def find_ended(self) -> str | None:
        """Return why the node must not run on: what ended, makes no blocks any more, or has no disk; else None."""
        if self.app.poll() is None and self.cometbft.poll() is None and not self._lookout.is_seen():
            return find_shortage(self.home)
        # CometBFT ends as soon as the application fails, often before it; but then the application alone knows why.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.app.wait(LAST_WORDS_SECONDS)
        code = self.app.poll()
        if code is not None:
            return self._describe("abci_app", code)
        code = self.cometbft.poll()
        if code is None:
            log = self._logs["cometbft"].path
            return f"cometbft makes no blocks any more: look at the disk's free space, start the node again; see {log}"
        return self._describe("cometbft", code)

    def wait(self, is_stopping: Callable[[], bool]) -> str | None:
        """Return None when `is_stopping` says so, else what `find_ended` found; whatever runs is then stopped."""
        while not is_stopping():
            ended = self.find_ended()
            if ended is not None:
                self.stop()
                return ended
            time.sleep(POLL_SECONDS)
        return None

    def stop(self) -> None:
        """Stop CometBFT, then the application; whatever does not stop in time is killed. May be called again."""
        stop_process(self.cometbft)
        stop_process(self.app)
        self.unlock()

    def unlock(self) -> None:
        """Let others start this node."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _wait_until_listening(self, address: str, is_stopping: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_listening(address):
            if is_stopping():
                raise StartInterrupted("the application was stopped before it listened")
            if self.app.poll() is not None:
                raise NodeError("the application did not start", self._describe("abci_app", self.app.returncode))
            if time.monotonic() > deadline:
                log = self._logs["abci_app"].path
                raise NodeError(
                    f"the application does not listen at {address} after {READY_SECONDS:.0f} s", f"see {log}"
                )
            time.sleep(POLL_SECONDS / 4)

    def _describe(self, name: str, returncode: int) -> str:
        log = self._logs[name]
        hint = ""
        if name == "abci_app" and returncode in _DAMAGE:
            hint = (
                f", as it does on a damaged store: if that comes again, move {self.home.app / 'state'} away and start "
                "the node, which builds the state anew from CometBFT's blocks"
            )
        return f"{name} {describe_end(returncode)}{hint}; from {log.path}:\n{log.read_last_words()}"


def start_node(
    home: NodeHome, cometbft: Path | None = None, is_stopping: Callable[[], bool] = lambda: False
) -> RunningNode:
    """Start application and CometBFT. Raises NodeError with the reason if one of them does not come up.

    Raises StartInterrupted when `is_stopping` says so before both run.
    """
    program = cometbft or find_cometbft()
    if not home.config_toml.exists() or not home.genesis.exists():
        raise NodeError(f"{home.root} holds no node: make one with 'lc node init'")
    if (shortage := find_shortage(home)) is not None:
        raise NodeError(shortage)
    address, transport = _read_settings(home)
    check_socket_address(address)
    check_settings(home, program)
    if not home.has_blocks:  # CometBFT reads the file before its first block only
        _check_genesis(home)
    node = RunningNode(home, _lock(home))
    try:
        _wait_until_free(address)
        node.start(program, address, transport, is_stopping)
    except BaseException:
        node.unlock()
        raise
    return node


def find_shortage(home: NodeHome) -> str | None:
    """Return what to do about the disk if a node must not run with what is free there, else None."""
    for folder in (home.root, home.app / "state", home.cometbft / "data"):  # one of them may be on a disk of its own
        with contextlib.suppress(FileNotFoundError):
            free = shutil.disk_usage(folder).free // MIB
            if free < LEAST_FREE_MIB:
                wanted = f"make it at least {LEAST_FREE_MIB} MiB, then start the node again"
                return f"only {free} MiB are free on the disk of {folder}: {wanted}"
    return None


def _read_settings(home: NodeHome) -> tuple[str, str]:
    """Return address and transport of the application. Raises NodeError."""
    try:
        document = tomlkit.parse(home.config_toml.read_text("utf-8"))
        address, transport = str(document["proxy_app"]), str(document["abci"])
        is_own = Path(address).parts[-2:] == Path(home.abci_address).parts[-2:]
        # The settings of a folder that was moved or copied name the socket where it was.
        return home.abci_address if is_own else address, transport
    except (ValueError, KeyError) as error:
        raise NodeError(f"{home.config_toml} cannot be used: {error}", REWRITE) from error


def _check_genesis(home: NodeHome) -> None:
    try:
        read_chain_id(home.genesis.read_bytes())
    except BadGenesis as error:
        raise NodeError(
            f"no chain can begin with {home.genesis}: {error}", "put the chain's own there: lc node init --genesis FILE"
        ) from error


def run_node(home: NodeHome, cometbft: Path | None = None) -> None:
    """Run a node in the foreground until SIGINT or SIGTERM. Raises NodeError if it ends by itself."""
    stopping: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, _frame: stopping.append(received))
    try:
        try:
            node = start_node(home, cometbft, lambda: bool(stopping))
        except StartInterrupted:
            return
        try:
            ended = node.wait(lambda: bool(stopping))
        finally:
            node.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended is not None:
        raise NodeError(f"the node stopped: {ended}", f"correct this and start it again; the logs are in {home.logs}")


def get_status(node: str) -> NodeStatus:
    """Ask a node (`http://HOST:PORT` or `unix:///PATH`) how it is. Raises NodeSilent or NodeError."""
    try:
        base, uds = split_address(node)
    except ValueError as error:
        raise NodeError(str(error)) from None
    try:
        status, net_info = asyncio.run(_fetch_status(base, uds))
        return _read_status(status, net_info)
    except OSError as error:
        raise NodeSilent(f"no node answers at {node}: start it with 'lc node start', or name another one") from error
    except (BadAnswer, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise NodeError(f"what answers at {node} is no node: name the address of CometBFT's RPC") from error


async def _fetch_status(base: str, uds: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    transport = httpx2.AsyncHTTPTransport(uds=uds, trust_env=False)
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as http:
        status = json.loads(await fetch(http, "GET", f"{base}/status", STATUS_SECONDS))
        net_info = json.loads(await fetch(http, "GET", f"{base}/net_info", STATUS_SECONDS))
    return status["result"], net_info["result"]


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


def _lock(home: NodeHome) -> int:
    """Return an open file that says that this process runs the node, until closed. Raises NodeError."""
    descriptor = os.open(home.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise NodeError(f"the node in {home.root} runs already, as process {owner}", "stop that one first") from error
    except OSError as error:
        os.close(descriptor)
        raise NodeError(f"{home.root} cannot be locked ({error.strerror})", "check free space and disk") from error
    return descriptor


def _wait_until_free(address: str) -> None:
    """Give the processes of a supervisor that was killed a moment to end. Raises NodeError if somebody stays."""
    deadline = time.monotonic() + FREE_SECONDS
    while _is_listening(address):
        if time.monotonic() > deadline:
            raise NodeError(f"another process serves {address}", "stop it: this command starts the application itself")
        time.sleep(POLL_SECONDS)


def _is_listening(address: str) -> bool:
    scheme, _, rest = address.partition("://")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(POLL_SECONDS)
        try:
            probe.connect(rest if scheme == "unix" else (rest.rpartition(":")[0], int(rest.rpartition(":")[2])))
        except (BlockingIOError, TimeoutError):  # somebody is there who has not accepted for a while
            return True
        except OSError:
            return False
    return True
