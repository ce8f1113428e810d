"""The folder of a node: CometBFT's home, the application's home, keys and settings."""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tomlkit

from learningchain.cometbft_config import apply_settings, get_settings

COMETBFT_VERSION: Final = "0.38.25"
MAX_SOCKET_BYTES: Final = 107
"""Longest path of a Unix socket on Linux, in bytes."""
REWRITE: Final = "correct it, or move it away and write it anew: lc node init"
"""What to do about settings that cannot be used: CometBFT reads them before it makes any."""
_COMETBFT_VARIABLES: Final = ("CMT", "TMHOME")
_GET_COMETBFT: Final = "run 'make up', then '. .state/env'"
"""In a checkout; what `make demo` builds is on nobody's PATH."""
_COMMAND_SECONDS: Final = 30.0
"""How long `cometbft version` or `cometbft init` may take."""
_MOST_WORDS: Final = 500
"""Characters of what it says that an error shows."""


class NodeError(Exception):
    """A node cannot be set up, started or asked; the text says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Take a message that ends in ": what to do", or both apart if there is a colon in one of them."""
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message = message
        self.hint = hint


class NodeSilent(NodeError):
    """No node answers at an address."""


@dataclass(frozen=True, slots=True)
class NodeHome:
    """The folder of one node and where things are in it."""

    root: Path

    @property
    def cometbft(self) -> Path:
        """CometBFT's home."""
        return self.root / "cometbft"

    @property
    def app(self) -> Path:
        """The application's home."""
        return self.root / "app"

    @property
    def logs(self) -> Path:
        """The folder of the two processes' logs."""
        return self.root / "logs"

    @property
    def config_toml(self) -> Path:
        """CometBFT's settings."""
        return self.cometbft / "config" / "config.toml"

    @property
    def genesis(self) -> Path:
        """The genesis file."""
        return self.cometbft / "config" / "genesis.json"

    @property
    def has_blocks(self) -> bool:
        """Whether the node was started and belongs to its chain for good."""
        return (self.cometbft / "data" / "state.db").exists()

    @property
    def abci_address(self) -> str:
        """Where application and CometBFT meet."""
        return f"unix://{self.app.absolute() / 'abci.sock'}"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What makes one node differ from another one of the same chain."""

    set_name: str
    """Parameter set: devnet, public, minimal or bench."""
    moniker: str = "node"
    transport: str = "socket"
    """`socket` or `grpc`."""
    rpc_port: int = 26657
    p2p_port: int = 26656
    persistent_peers: tuple[str, ...] = ()
    """`node id@host:port` of the others."""
    overrides: tuple[tuple[str, str | int | bool], ...] = ()
    """Further settings of config.toml by dotted path."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """The public part of a node's keys."""

    node_id: str
    """Hex address by which peers name the node."""
    consensus_key: bytes
    """Ed25519 public key of 32 bytes with which it validates."""


def find_cometbft() -> Path:
    """Return the CometBFT program: LC_COMETBFT, else the one on PATH if its version fits. Raises NodeError."""
    named = os.environ.get("LC_COMETBFT")
    if named:
        if not Path(named).is_file():
            raise NodeError(f"LC_COMETBFT names {named}, which is no file: correct it or {_GET_COMETBFT}")
        return Path(named)
    on_path = shutil.which("cometbft")
    if on_path is None:
        raise NodeError(f"CometBFT is missing: {_GET_COMETBFT}, or set LC_COMETBFT to cometbft {COMETBFT_VERSION}")
    version = _run([on_path, "version"]).split("+")[0].removeprefix("v")
    if version != COMETBFT_VERSION:
        raise NodeError(f"{on_path} is version {version}, needed is {COMETBFT_VERSION}: set LC_COMETBFT to that one")
    return Path(on_path)


def get_clean_environ() -> dict[str, str]:
    """Return the environment without the variables that CometBFT puts above --home and config.toml."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_COMETBFT_VARIABLES)}


def check_socket_address(address: str) -> None:
    """Raise NodeError for a Unix socket whose path is longer than the system allows."""
    path = address.removeprefix("unix://")
    if address != path and len(path.encode()) > MAX_SOCKET_BYTES:
        raise NodeError(
            f"the socket {path} has a path of {len(path.encode())} bytes, {MAX_SOCKET_BYTES} are allowed",
            "choose a shorter folder with --home",
        )


def create_home(home: NodeHome, settings: NodeSettings, cometbft: Path | None = None) -> NodeIdentity:
    """Make keys and settings of a node; keys that are there already stay. Raises NodeError.

    The genesis file is still to be written with `write_genesis`.
    """
    check_socket_address(home.abci_address)
    program = cometbft or find_cometbft()
    for folder in (home.root, home.app, home.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.config_toml.exists():
        check_settings(home, program)
    _run([str(program), "init", "--home", str(home.cometbft)])
    write_settings(home, settings)
    return get_identity(home, program)


def write_settings(home: NodeHome, settings: NodeSettings) -> None:
    """Write CometBFT's config.toml; comments and everything not named stay."""
    document = tomlkit.parse(home.config_toml.read_text())
    try:
        apply_settings(document, get_settings(settings.set_name))
        apply_settings(document, _get_own_settings(home, settings) | dict(settings.overrides))
    except KeyError as error:
        raise NodeError(f"{error} is neither a parameter set nor a setting of {home.config_toml}") from None
    home.config_toml.write_text(tomlkit.dumps(document))


def check_settings(home: NodeHome, program: Path) -> None:
    """Have CometBFT look at its settings, without starting anything. Raises NodeError with what it finds."""
    # The command itself only prints a key that nobody uses; like all others it reads config.toml first.
    done = _call([str(program), "gen-validator", "--home", str(home.cometbft)])
    if done.returncode != 0:
        words = done.stderr.strip().removeprefix("ERROR: ")[-_MOST_WORDS:]
        raise NodeError(f"CometBFT refuses {home.config_toml}: {words}", REWRITE)


def write_genesis(home: NodeHome, genesis_file: bytes) -> None:
    """Write the chain's genesis file. Raises NodeError if the node has another one and has made blocks."""
    if home.genesis.exists() and home.genesis.read_bytes() == genesis_file:
        return
    if home.has_blocks:
        raise NodeError(f"{home.root} belongs to another chain already: choose another folder or remove this one")
    home.genesis.write_bytes(genesis_file)


def get_identity(home: NodeHome, cometbft: Path) -> NodeIdentity:
    """Return the public part of the node's keys. Raises NodeError if there are none."""
    node_id = _run([str(cometbft), "show-node-id", "--home", str(home.cometbft)])
    key_file = home.cometbft / "config" / "priv_validator_key.json"
    return NodeIdentity(node_id, base64.b64decode(json.loads(key_file.read_text())["pub_key"]["value"]))


def _get_own_settings(home: NodeHome, settings: NodeSettings) -> dict[str, str | int | bool]:
    rpc_host = "127.0.0.1"
    p2p_host = "0.0.0.0" if settings.set_name == "public" else "127.0.0.1"
    return {
        "moniker": settings.moniker,
        "proxy_app": home.abci_address,
        "abci": settings.transport,
        "rpc.laddr": f"tcp://{rpc_host}:{settings.rpc_port}",
        "p2p.laddr": f"tcp://{p2p_host}:{settings.p2p_port}",
        "p2p.persistent_peers": ",".join(settings.persistent_peers),
    }


def _run(command: list[str]) -> str:
    """Run a program and return its output. Raises NodeError with its last words."""
    done = _call(command)
    if done.returncode != 0:
        raise NodeError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-_MOST_WORDS:]}")
    return done.stdout.strip()


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False, env=get_clean_environ()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{' '.join(command)}: {error}") from error
