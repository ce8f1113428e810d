"""How a worker starts on a chain that stands still, and that it can be stopped while it does."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from abci_app.protocol.bech32 import encode_address
from learningchain.client import Client
from learningchain.wallet import SecretKey
from tests.support import virtual_time
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport
from tests.support.ports import reserved_ports
from tests.support.wallets import Wallet
from worker.service import _listen, run_with
from worker.settings import Models, SettingsError, WorkerSettings


def start(home: Path, settings: WorkerSettings, name: str, stop: asyncio.Event) -> "asyncio.Task[None]":
    transport = MemoryTransport(Market())
    transport.make_block()  # the last one
    key = SecretKey(hashlib.sha256(name.encode()).digest())
    return asyncio.create_task(run_with(home, settings, key, Client(transport), FakeSandbox(), stop))


def test_a_worker_can_be_stopped_while_it_waits_for_its_account(tmp_path: Path) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        worker = start(tmp_path, WorkerSettings(), "nobody", stop)
        await asyncio.sleep(0.5)
        assert not worker.done()  # no block takes its Register
        stop.set()
        await asyncio.wait_for(worker, 5)

    virtual_time.run(main())


def test_why_a_worker_waits_for_its_node_is_told_once(tmp_path: Path) -> None:
    async def main() -> None:
        stop, transport = asyncio.Event(), MemoryTransport(Market())
        transport.failing = True
        key = SecretKey(hashlib.sha256(b"nobody").digest())
        with capture_logs() as logs:
            worker = asyncio.create_task(
                run_with(tmp_path, WorkerSettings(), key, Client(transport), FakeSandbox(), stop)
            )
            await asyncio.sleep(60)
            stop.set()
            await asyncio.wait_for(worker, 5)
        assert [line["event"] for line in logs] == ["waiting_for_node"]

    virtual_time.run(main())


def test_nothing_is_registered_while_the_node_catches_up(tmp_path: Path) -> None:
    """It does not know yet that the account exists."""
    is_behind = True

    class Behind(MemoryTransport):
        async def is_catching_up(self) -> bool:
            return is_behind

    async def main() -> None:
        nonlocal is_behind
        stop, transport = asyncio.Event(), Behind(Market())
        transport.make_block()
        key = SecretKey(hashlib.sha256(b"nobody").digest())
        run = run_with(tmp_path, WorkerSettings(), key, Client(transport), FakeSandbox(), stop)
        worker = asyncio.create_task(run)
        await asyncio.sleep(10)
        assert transport.broadcasts == []
        is_behind = False
        async with asyncio.timeout(10):
            while not transport.broadcasts:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(worker, 5)

    virtual_time.run(main())


def test_a_worker_begins_although_its_endpoint_cannot_be_published_yet(tmp_path: Path) -> None:
    """Votes that are due do not wait for a profile."""

    async def main() -> None:
        stop, listen = asyncio.Event(), f"127.0.0.1:{port}"
        models = Models(listen=listen, endpoint=f"http://{listen}")
        worker = start(tmp_path, WorkerSettings(models=models), "checker0", stop)
        async with asyncio.timeout(10):
            while not (tmp_path / "status.json").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(worker, 10)

    with reserved_ports(1) as (port,):
        virtual_time.run(main())


@pytest.mark.parametrize(
    ("account", "named"), [(b"n" * 20, "does not exist"), (Wallet("worker1").address, "no key of")]
)
def test_an_account_that_the_key_cannot_work_for_is_named(tmp_path: Path, account: bytes, named: str) -> None:
    async def main() -> None:
        settings = WorkerSettings(account=encode_address(account))
        with pytest.raises(SettingsError, match=named):
            await asyncio.wait_for(start(tmp_path, settings, "worker0", asyncio.Event()), 10)

    virtual_time.run(main())


def test_a_socket_of_an_earlier_worker_is_replaced_and_no_other_file(tmp_path: Path) -> None:
    """A slip in the settings is no reason to delete what stands there."""
    path = tmp_path / "models"
    for _ in range(2):
        _listen(f"unix:{path}").close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(SettingsError, match=r"models\.listen"):
        _listen(f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", f"unix:/{'x' * 200}"]
)
def test_where_nothing_can_listen_is_named(listen: str) -> None:
    with pytest.raises(SettingsError, match="give a free host:port"):
        _listen(listen)
