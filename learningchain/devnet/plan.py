"""What a devnet consists of: names, folders, ports and genesis credits. Written once to `devnet.json`."""

import json
import secrets
import socket
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from abci_app.protocol.limits import UCREDIT

CONTRACTOR: Final = "contractor"
CONTRACTOR_BALANCE: Final = 1_000 * UCREDIT
VALIDATOR_BOND: Final = 100 * UCREDIT
VALIDATOR_BALANCE: Final = 10 * UCREDIT
WORKER_NAMES: Final = ("ada", "bob", "eve", "dan", "fay", "gus")
MAX_NODES: Final = 16
"""Validators, and workers, at most: more do not fit on one machine."""

LOWEST_PORT: Final = 10_000
PORT_TRIES: Final = 100
PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


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

    def read_worker_status(self, name: str) -> dict[str, Any]:
        """Return what a worker writes about itself; nothing before it has an account, or if a power cut has torn it."""
        try:
            status: dict[str, Any] = json.loads((self.get_worker(name) / "status.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return status


def make_plan(chain_id: str, validators: int, workers: int) -> DevnetPlan:
    """Return a plan with free loopback ports. Raises DevnetError for sizes that make no network."""
    if not 1 <= validators <= MAX_NODES or not 0 <= workers <= MAX_NODES:
        raise DevnetError(f"a devnet has 1 to {MAX_NODES} validators and 0 to {MAX_NODES} workers")
    ports = _find_free_ports(3 * validators)
    nodes = tuple(ValidatorPlan(f"val{i + 1}", *ports[3 * i : 3 * i + 3]) for i in range(validators))
    names = [*WORKER_NAMES, *(f"worker{i}" for i in range(len(WORKER_NAMES), workers))]
    return DevnetPlan(chain_id, nodes, tuple(names[:workers]))


def _find_free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        return [int(held.enter_context(_bind_free_port()).getsockname()[1]) for _ in range(count)]


def _bind_free_port() -> socket.socket:
    """Bind one that the system hands out to nobody, if there is one: a node may listen at its own only much later."""
    quiet = range(LOWEST_PORT, _read_lowest_handed_out())
    for port in secrets.SystemRandom().sample(quiet, min(len(quiet), PORT_TRIES)):
        with suppress(OSError):  # in use
            return socket.create_server(("127.0.0.1", port))
    return socket.create_server(("127.0.0.1", 0))


def _read_lowest_handed_out() -> int:
    """Return the lowest port that connections and servers get who ask for any; LOWEST_PORT where that is not told."""
    try:
        return int(PORT_RANGE.read_text().split()[0])
    except FileNotFoundError:
        return LOWEST_PORT


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
