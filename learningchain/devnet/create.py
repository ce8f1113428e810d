"""Making a devnet: keys, genesis and settings of every node and worker in one folder."""

import secrets
from datetime import UTC, datetime
from pathlib import Path

import tomlkit

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from learningchain.devnet.plan import (
    CONTRACTOR,
    CONTRACTOR_BALANCE,
    VALIDATOR_BALANCE,
    VALIDATOR_BOND,
    DevnetHome,
    DevnetPlan,
    ValidatorPlan,
    make_plan,
    save_plan,
)
from learningchain.genesis_file import build_genesis_file
from learningchain.node_home import NodeHome, NodeIdentity, NodeSettings, create_home, write_genesis, write_settings
from learningchain.settings import save_setting
from learningchain.terms import TRAINING_DISK_MIB, TRAINING_MEMORY_MIB, TRAINING_MILLI_CPUS
from learningchain.wallet import Keystore, SecretKey

SET_NAME = "devnet"
WORKER_KEY = "worker"


def create_devnet(home: DevnetHome, validators: int, workers: int, cometbft: Path) -> DevnetPlan:
    """Make the folders of a new network and return its plan. Raises NodeError or DevnetError."""
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = make_plan(f"lc-devnet-{secrets.token_hex(3)}", validators, workers)
    nodes = [NodeHome(home.get_node(entry.name)) for entry in plan.validators]
    identities = [
        create_home(node, NodeSettings(SET_NAME, moniker=entry.name), cometbft)
        for node, entry in zip(nodes, plan.validators, strict=True)
    ]
    operators = [_make_worker(home, plan, index, entry) for index, entry in enumerate(plan.validators)]
    for index, name in enumerate(plan.workers):
        _make_trainer(home, plan, index, name)
    contractor = SecretKey.generate()
    Keystore(home.root / "keys").add(CONTRACTOR, contractor, password=None)
    genesis = _build_genesis(contractor, operators, identities)
    document = build_genesis_file(plan.chain_id, genesis, SET_NAME, datetime.now(UTC))
    for node, entry in zip(nodes, plan.validators, strict=True):
        write_settings(node, _get_settings(plan, entry, identities))
        write_genesis(node, document)
    save_plan(home, plan)
    # `lc … --home` of this folder then speaks to this network with the contractor's key.
    save_setting(home.root, "node", plan.get_node_url(0))
    save_setting(home.root, "key", CONTRACTOR)
    return plan


def _get_settings(plan: DevnetPlan, own: ValidatorPlan, identities: list[NodeIdentity]) -> NodeSettings:
    peers = tuple(
        f"{identity.node_id}@127.0.0.1:{entry.p2p_port}"
        for entry, identity in zip(plan.validators, identities, strict=True)
        if entry is not own
    )
    return NodeSettings(
        SET_NAME, moniker=own.name, rpc_port=own.rpc_port, p2p_port=own.p2p_port, persistent_peers=peers
    )


def _build_genesis(contractor: SecretKey, operators: list[SecretKey], identities: list[NodeIdentity]) -> pb.Genesis:
    """The contractor holds credits to spend, each operator a bond; training workers begin with nothing."""
    accounts = [pb.GenesisAccount(public_key=contractor.public_key, balance=CONTRACTOR_BALANCE)]
    accounts += [
        pb.GenesisAccount(public_key=key.public_key, balance=VALIDATOR_BALANCE, bond=VALIDATOR_BOND, checker=1)
        for key in operators
    ]
    validators = [
        pb.GenesisValidator(consensus_key=identity.consensus_key, operator=key.address, power=VALIDATOR_BOND // UCREDIT)
        for key, identity in zip(operators, identities, strict=True)
    ]
    return pb.Genesis(params=get_params(SET_NAME), accounts=accounts, validators=validators)


def _make_worker(home: DevnetHome, plan: DevnetPlan, index: int, entry: ValidatorPlan) -> SecretKey:
    """The worker of a validator: checks winners and relays models, does not train."""
    listen = f"127.0.0.1:{entry.relay_port}"
    settings = {
        "node": plan.get_node_url(index),
        "key": WORKER_KEY,
        "check": True,
        "jobs": {"train": False},
        "models": {"listen": listen, "endpoint": f"http://{listen}", "allow_loopback": True},
    }
    return _write_worker(home.get_worker(entry.name), settings)


def _make_trainer(home: DevnetHome, plan: DevnetPlan, index: int, name: str) -> SecretKey:
    """A training worker: takes jobs of default needs, no inbound port, nothing to lose."""
    settings = {
        "node": plan.get_node_url(index),
        "key": WORKER_KEY,
        "check": False,
        "jobs": {"checkpoint_every": 3, "min_time_left": 5},
        "resources": {
            "milli_cpus": TRAINING_MILLI_CPUS,
            "memory": TRAINING_MEMORY_MIB,
            "disk": TRAINING_DISK_MIB,
        },
        "models": {"allow_loopback": True},
    }
    return _write_worker(home.get_worker(name), settings)


def _write_worker(folder: Path, settings: dict[str, object]) -> SecretKey:
    folder.mkdir(mode=0o700, parents=True)
    key = SecretKey.generate()
    Keystore(folder / "keys").add(WORKER_KEY, key, password=None)
    (folder / "worker.toml").write_text(tomlkit.dumps(settings), encoding="utf-8")
    return key
