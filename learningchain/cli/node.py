"""`lc node`: a node of one's own, in the folder `node` of the home."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import SETS, get_params
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.genesis_file import build_genesis_file
from learningchain.node import get_status, run_node
from learningchain.node_home import NodeHome, NodeIdentity, NodeSettings, create_home, write_genesis
from learningchain.wallet import Entry

app = make_group("A node: application and CometBFT together.")

BALANCE: Final = 1_000_000 * UCREDIT
"""What the founder of a new chain holds besides its bond."""


@command(app, "init")
def init(
    session: Session,
    genesis: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Genesis file of the chain to join")
    ] = None,
    new_chain: Annotated[
        str | None, typer.Option(metavar="CHAIN_ID", help="Begin a new chain instead, with my key as only validator")
    ] = None,
    params: Annotated[str, typer.Option(help=f"Parameter set: {', '.join(SETS)}")] = "devnet",
    from_key: Annotated[str | None, typer.Option("--from", help="Key of the founder of a new chain")] = None,
    moniker: Annotated[str, typer.Option(help="Name that peers see")] = "node",
    transport: Annotated[str, typer.Option(help="socket or grpc")] = "socket",
    rpc_port: Annotated[int, typer.Option(min=1, max=65535)] = 26657,
    p2p_port: Annotated[int, typer.Option(min=1, max=65535)] = 26656,
    peer: Annotated[list[str] | None, typer.Option(help="NODE_ID@HOST:PORT of another node; may be repeated")] = None,
) -> None:
    """Make the keys and settings of a node, for a chain that exists or for a new one."""
    if (genesis is None) == (new_chain is None):
        raise Failure("which chain?", "give either --genesis FILE or --new-chain CHAIN_ID", exit_codes.USAGE)
    if params not in SETS or transport not in ("socket", "grpc"):
        raise Failure(
            "no such parameter set or transport",
            f"choose --params of {', '.join(SETS)}, --transport of socket, grpc",
            exit_codes.USAGE,
        )
    home = _get_home(session)
    settings = NodeSettings(params, moniker, transport, rpc_port, p2p_port, tuple(peer or ()))
    founder = session.pick_key(from_key) if new_chain is not None else None
    identity = create_home(home, settings)
    if genesis is not None:
        write_genesis(home, genesis.read_bytes())
    elif founder is not None:
        write_genesis(home, build_founding_genesis(str(new_chain), params, founder, identity))
    session.say(f"next: {session.suggest('node start')}")
    session.out.show(
        {
            "home": str(home.root),
            "chain_id": _read_chain_id(home),
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
    code = run_node(home)
    if code != 0:
        raise Failure("the node stopped by itself", f"read the logs in {home.logs}", code)


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


def _get_home(session: Session) -> NodeHome:
    return NodeHome((session.settings.home / "node").absolute())


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


def _read_chain_id(home: NodeHome) -> str:
    document: dict[str, Any] = json.loads(home.genesis.read_bytes())
    return str(document.get("chain_id"))
