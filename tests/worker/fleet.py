"""Several workers over a chain in memory and sandboxes in memory, with real HTTP between them."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.block import BlockResult
from learningchain.client import Client
from learningchain.wallet import SecretKey
from tests.support import virtual_time
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport
from tests.support.ports import reserved_ports
from worker.service import run_with
from worker.settings import Jobs, Models, Resources, WorkerSettings

BLOCK_SECONDS = 0.05
BLOCK_MS = 500
RACE_MS = 20_000


class FleetTransport(MemoryTransport):
    """A node that tells of a block at once."""

    def __init__(self, chain: Market) -> None:
        self._news = asyncio.Event()
        super().__init__(chain)

    def _block(self, txs: Any = (), **options: Any) -> BlockResult:
        result = super()._block(txs, **options)
        self._news.set()
        self._news = asyncio.Event()
        return result

    async def wait_for_news(self, timeout_s: float) -> None:
        self._require_up()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)


@dataclass
class Fleet:
    """A market whose blocks come by themselves, and the workers started on it."""

    chain: Market
    transport: MemoryTransport
    folder: Path
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    stops: dict[str, asyncio.Event] = field(default_factory=dict)
    sandboxes: dict[str, FakeSandbox] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)
    """The ports of checkers."""

    def start(
        self,
        name: str,
        checkpoints: tuple[bytes, ...] = (),
        *,
        checks: bool = False,
        loopback: bool = True,
        max_parallel: int = 1,
        max_size: int = 4_096,
    ) -> None:
        """Start a worker in the folder of its name: a training one, or one that checks and relays."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        models = Models(allow_loopback=loopback, max_size=max_size)
        if checks:
            listen = f"127.0.0.1:{self.held.enter_context(reserved_ports(1))[0]}"
            models = Models(allow_loopback=True, max_size=max_size, listen=listen, endpoint=f"http://{listen}")
        settings = WorkerSettings(
            check=checks, jobs=Jobs(train=not checks, checkpoint_every=1, min_time_left=1, max_parallel=max_parallel),
            resources=Resources(), models=models,
        )  # fmt: skip
        sandbox = self.sandboxes.setdefault(name, FakeSandbox(checkpoints=checkpoints))
        stop = self.stops[name] = asyncio.Event()
        key = SecretKey(hashlib.sha256(name.encode()).digest())
        client = Client(self.transport)
        self.tasks[name] = asyncio.create_task(run_with(home, settings, key, client, sandbox, stop))

    async def kill(self, name: str) -> None:
        """End a worker in the middle of whatever it does, as `kill -9` would."""
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def wait_for(self, is_true: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait for something; a worker that ended fails the test with its error."""
        async with asyncio.timeout(seconds):
            while not is_true():
                for task in self.tasks.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    def has_relays(self) -> bool:
        """Tell whether every checker has published where it serves models."""
        addresses = [self.chain.address(f"checker{number}") for number in range(5)]
        return all(self.chain.get(keys.profile(address), pb.Profile) for address in addresses)

    async def settle(self, job_id: int) -> pb.Job:
        """Wait for the end of a job."""
        await self.wait_for(lambda: self.chain.job(job_id).state >= pb.JOB_STATE_PAID)
        return self.chain.job(job_id)

    def count_sent(self, kind: str, name: str) -> int:
        """Return how many different transactions of a kind an account broadcast."""
        sent = set(self.transport.broadcasts)
        parsed = [self.chain.cache.parse(tx) for tx in sent]
        return sum(tx.kind == kind and tx.account == self.chain.address(name) for tx in parsed)


@asynccontextmanager
async def running_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """Make blocks, and stop all workers at the end."""
    chain = Market()
    transport = FleetTransport(chain)
    fleet = Fleet(chain, transport, folder)

    async def tick() -> None:
        while True:
            await asyncio.sleep(BLOCK_SECONDS)
            transport.make_block(BLOCK_MS)

    ticker = asyncio.create_task(tick())
    try:
        yield fleet
        for stop in fleet.stops.values():
            stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*fleet.tasks.values())
    finally:
        for task in [ticker, *fleet.tasks.values()]:
            task.cancel()
        await asyncio.gather(ticker, *fleet.tasks.values(), return_exceptions=True)
        fleet.held.close()


def look_up(host: str, *arguments: Any, **options: Any) -> Any:
    """Return the addresses of a host; the network is not asked, for which the clock would have to wait."""
    if host.endswith(".example"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return socket.getaddrinfo(host, *arguments, **options)


def play(folder: Path, script: Callable[[Fleet], Awaitable[None]]) -> None:
    """Run a script on a fleet of its own, whose trainings are looked at often."""

    async def main() -> None:
        async with running_fleet(folder) as fleet:
            await script(fleet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.training.POLL_SECONDS", 0.05)
        patch.setattr("learningchain.addresses.socket", SimpleNamespace(**{**vars(socket), "getaddrinfo": look_up}))
        virtual_time.run(main())


def submit(fleet: Fleet) -> int:
    """Publish a job in a block of its own and return its id."""
    return fleet.chain.submit(expiry_ms=fleet.chain.time_ms + RACE_MS)


def start_checkers(fleet: Fleet) -> None:
    """Start the five checkers of the market."""
    for number in range(5):
        fleet.start(f"checker{number}", checks=True)
