"""`lc node`: a node of one's own, in the folder `node` of the home."""

import re
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.genesis import MAX_CHAIN_ID_BYTES
from abci_app.protocol.genesis_json import BadGenesis
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import SETS, get_params
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.cli.parse import is_text
from learningchain.genesis_check import read_chain_id, read_time
from learningchain.genesis_file import build_genesis_file
from learningchain.node import get_status, run_node
from learningchain.node_home import NodeHome, NodeIdentity, NodeSettings, create_home, write_genesis
from learningchain.wallet import Entry

app = make_group("A node: application and CometBFT together.")

BALANCE: Final = 1_000_000 * UCREDIT
"""What the founder of a new chain holds besides its bond."""
_PEER: Final = re.compile(r"[0-9a-f]{40}@(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MONIKER: Final = re.compile(r"[ -~]{0,63}[!-~]")
"""CometBFT takes printable ASCII; the length is ours."""
MAX_PORT: Final = 65535


@command(app, "init")
def init(
    session: Session,
    genesis: Annotated[Path | None, typer.Option(dir_okay=False, help="Genesis file of the chain to join")] = None,
    new_chain: Annotated[
        str | None, typer.Option(metavar="CHAIN_ID", help="Begin a new chain instead, with my key as only validator")
    ] = None,
    params: Annotated[str, typer.Option(help=f"Parameter set: {', '.join(SETS)}")] = "devnet",
    from_key: Annotated[str | None, typer.Option("--from", help="Key of the founder of a new chain")] = None,
    moniker: Annotated[str, typer.Option(help="Name that peers see")] = "node",
    transport: Annotated[str, typer.Option(help="socket or grpc")] = "socket",
    rpc_port: Annotated[int, typer.Option(min=1, max=MAX_PORT)] = 26657,
    p2p_port: Annotated[int, typer.Option(min=1, max=MAX_PORT)] = 26656,
    peer: Annotated[list[str] | None, typer.Option(help="NODE_ID@HOST:PORT of another node; may be repeated")] = None,
) -> None:
    """Make the keys and settings of a node, for a chain that exists or for a new one."""
    settings = _check_settings(NodeSettings(params, moniker, transport, rpc_port, p2p_port, tuple(peer or ())))
    if genesis is not None and new_chain is None:
        document = genesis.read_bytes()
        chain_id, founder = _check_genesis(genesis, document), None
    elif new_chain is not None and genesis is None:
        document, chain_id, founder = b"", _check_chain_id(new_chain), session.pick_key(from_key)
    else:
        raise Failure("which chain?", "give either --genesis FILE or --new-chain CHAIN_ID", exit_codes.USAGE)
    home = _get_home(session)
    _check_folder(session, home, document)
    identity = create_home(home, settings)
    if founder is not None:
        document = build_founding_genesis(chain_id, params, founder, identity)
    write_genesis(home, document)
    session.say(f"next: {session.suggest('node start')}")
    session.out.show(
        {
            "home": str(home.root),
            "chain_id": chain_id,
            "node_id": identity.node_id,
            "consensus_key": identity.consensus_key.hex(),
            "node": f"http://127.0.0.1:{rpc_port}",
            "founder": None if founder is None else encode_address(founder.account),
        }
    )


@command(app, "start")
def start(session: Session) -> None:
    """Run the node in the foreground; Ctrl-C stops both processes."""
    home = _get_home(session)
    session.say(f"starting the node in {home.root}; logs are in {home.logs}; Ctrl-C stops it")
    _tell_beginning(session, home)
    run_node(home)


@command(app, "status")
def status(session: Session) -> None:
    """Show how the node of --node is."""
    client = session.client()  # refuses what is no address
    if session.settings.chain_tag:
        client.get_chain()  # refuses a node of another chain
    found = get_status(session.settings.node)
    session.out.show(
        {
            "chain_id": found.chain_id,
            "height": str(found.height),
            "app_hash": found.app_hash,
            "catching_up": found.catching_up,
            "peers": found.peers,
            "moniker": found.moniker,
            "node_id": found.node_id,
        }
    )


def _tell_beginning(session: Session, home: NodeHome) -> None:
    """Say so if the chain begins later: until then CometBFT waits without answering anybody."""
    if home.has_blocks or not home.genesis.exists():
        return
    with suppress(BadGenesis):  # told by the start
        begin = read_time(home.genesis.read_bytes())
        if begin > datetime.now(UTC):
            session.say(f"the chain begins at {begin:%Y-%m-%d %H:%M:%S} UTC; until then the node does nothing but wait")


def _get_home(session: Session) -> NodeHome:
    root = (session.settings.home / "node").absolute()
    if not is_text(str(root)):  # CometBFT's settings name it, in UTF-8
        raise Failure(f"{str(root)!r} is not UTF-8 text", "choose another folder with --home", exit_codes.USAGE)
    return NodeHome(root)


def _check_settings(settings: NodeSettings) -> NodeSettings:
    """Return the settings if a node can run with them. Raises Failure."""
    reason = hint = ""
    if settings.set_name not in SETS or settings.transport not in ("socket", "grpc"):
        reason = "no such parameter set or transport"
        hint = f"choose --params of {', '.join(SETS)}, --transport of socket, grpc"
    elif settings.rpc_port == settings.p2p_port:
        reason, hint = f"both ports are {settings.rpc_port}", "give --rpc-port and --p2p-port different numbers"
    elif not _MONIKER.fullmatch(settings.moniker):
        reason, hint = f"{settings.moniker!r} is no moniker", "write --moniker with up to 64 printable ASCII characters"
    for peer in settings.persistent_peers:
        found = _PEER.fullmatch(peer)
        if found is None or not 1 <= int(found[1]) <= MAX_PORT:
            reason, hint = f"{peer!r} is no peer", "write --peer NODE_ID@HOST:PORT with the node_id of lc node status"
    if reason:
        raise Failure(reason, hint, exit_codes.USAGE)
    return settings


def _check_chain_id(text: str) -> str:
    if not 1 <= len(text.encode(errors="replace")) <= MAX_CHAIN_ID_BYTES or not text.isprintable():
        raise Failure(f"{text!r} is no chain id", f"it has 1 to {MAX_CHAIN_ID_BYTES} bytes", exit_codes.USAGE)
    return text


def _check_genesis(path: Path, document: bytes) -> str:
    """Return the chain id of a genesis file. Raises Failure."""
    try:
        return read_chain_id(document)
    except ValueError as error:
        raise Failure(
            f"{path} is no genesis file of this software: {error}", "ask for the one that the chain began with"
        ) from None


def _check_folder(session: Session, home: NodeHome, document: bytes) -> None:
    """Raise Failure if the folder holds a node that has begun another chain than that of the genesis file."""
    if not home.has_blocks or (home.genesis.exists() and home.genesis.read_bytes() == document):
        return
    try:
        held = read_chain_id(home.genesis.read_bytes())
    except (OSError, ValueError):
        held = "that its genesis file does not tell"
    raise Failure(
        f"{home.root} holds a node of the chain {held} already",
        "choose another folder with --home; to change the settings of this node: "
        f"{session.suggest('node init')} --genesis {shlex.quote(str(home.genesis))}",
    )


def build_founding_genesis(chain_id: str, set_name: str, founder: Entry, identity: NodeIdentity) -> bytes:
    """Return the genesis file of a chain with one validator, which also checks every class."""
    parameters = get_params(set_name)
    bond = parameters.min_validator_bond
    account = pb.GenesisAccount(
        public_key=founder.public_key, balance=BALANCE, bond=bond, checker=len(parameters.classes)
    )
    validator = pb.GenesisValidator(
        consensus_key=identity.consensus_key, operator=founder.address, power=bond // parameters.power_unit
    )
    genesis = pb.Genesis(params=parameters, accounts=[account], validators=[validator])
    try:
        return build_genesis_file(chain_id, genesis, set_name, datetime.now(UTC))
    except ValueError as error:
        raise Failure(f"the new chain's genesis is not usable: {error}", "choose other options") from error
