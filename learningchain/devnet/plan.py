"""What a devnet consists of: names, folders, ports and genesis credits. Written once to `devnet.json`."""

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from abci_app.protocol.limits import UCREDIT

CONTRACTOR: Final = "contractor"
CONTRACTOR_BALANCE: Final = 1_000 * UCREDIT
VALIDATOR_BOND: Final = 100 * UCREDIT
VALIDATOR_BALANCE: Final = 10 * UCREDIT
WORKER_NAMES: Final = ("ada", "bob", "eve", "dan", "fay", "gus")
MAX_NODES: Final = 16
"""Validators, and workers, at most: more do not fit on one machine."""


class DevnetError(Exception):
    """The devnet cannot be made, started or found; the text says what to do next."""


@dataclass(frozen=True, slots=True)
class ValidatorPlan:
    """One validator: its node and the worker that checks winners and relays models."""

    name: str
    rpc_port: int
    p2p_port: int
    relay_port: int


@dataclass(frozen=True, slots=True)
class DevnetPlan:
    """A devnet: all validators and the names of the training workers."""

    chain_id: str
    validators: tuple[ValidatorPlan, ...]
    workers: tuple[str, ...]

    def get_node_url(self, index: int) -> str:
        """Return the RPC address of a validator; beyond the last one it begins anew."""
        return f"http://127.0.0.1:{self.validators[index % len(self.validators)].rpc_port}"


@dataclass(frozen=True, slots=True)
class DevnetHome:
    """The folder of a devnet and where things are in it."""

    root: Path

    @property
    def plan_file(self) -> Path:
        """The plan as JSON."""
        return self.root / "devnet.json"

    @property
    def pid_file(self) -> Path:
        """Process id of the supervisor while the network runs."""
        return self.root / "devnet.pid"

    @property
    def log_file(self) -> Path:
        """Log of a detached supervisor."""
        return self.root / "devnet.log"

    def get_node(self, name: str) -> Path:
        """Folder of a validator's node."""
        return self.root / "nodes" / name

    def get_worker(self, name: str) -> Path:
        """Folder of a worker: settings, keys, journal, models."""
        return self.root / "workers" / name


def make_plan(chain_id: str, validators: int, workers: int) -> DevnetPlan:
    """Return a plan with free loopback ports. Raises DevnetError for sizes that make no network."""
    if not 1 <= validators <= MAX_NODES or not 0 <= workers <= MAX_NODES:
        raise DevnetError(f"a devnet has 1 to {MAX_NODES} validators and 0 to {MAX_NODES} workers")
    ports = _find_free_ports(3 * validators)
    nodes = tuple(ValidatorPlan(f"val{i + 1}", *ports[3 * i : 3 * i + 3]) for i in range(validators))
    names = [*WORKER_NAMES, *(f"worker{i}" for i in range(len(WORKER_NAMES), workers))]
    return DevnetPlan(chain_id, nodes, tuple(names[:workers]))


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(bound.getsockname()[1]) for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


def save_plan(home: DevnetHome, plan: DevnetPlan) -> None:
    """Write the plan; the last step of making a devnet."""
    home.plan_file.write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")


def load_plan(home: DevnetHome) -> DevnetPlan | None:
    """Return the plan of a devnet made before, None if there is none. Raises DevnetError for a broken file."""
    try:
        values = json.loads(home.plan_file.read_text(encoding="utf-8"))
        nodes = tuple(ValidatorPlan(**entry) for entry in values["validators"])
        return DevnetPlan(values["chain_id"], nodes, tuple(values["workers"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DevnetError(f"{home.plan_file} is broken ({error}): remove {home.root} and start anew") from error
