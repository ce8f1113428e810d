"""Putting a worker together from its home, and running it until it is told to stop."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI

from abci_app.pb.learningchain.v1.tx_pb2 import KEY_SCOPE_REMOVED, SetProfile
from abci_app.protocol.accounts import find_key
from abci_app.protocol.bech32 import decode_address
from learningchain.claims import Claims
from learningchain.client import ChainClient, FileJournal, Sender, connect, errors, register
from learningchain.client.journal import JournalError as SentListError
from learningchain.wallet import Keystore, SecretKey
from learningchain.wallet.files import FileError
from worker.daemon import Daemon
from worker.journal import Journal
from worker.models.connections import BACKLOG, MAX_CONNECTIONS, Connection
from worker.models.server import create_app
from worker.models.store import ModelStore
from worker.models.transfer import ModelTransfer
from worker.sandbox import DockerSandbox, Sandbox
from worker.settings import SettingsError, WorkerSettings
from worker.state import MAX_CHECKS
from worker.tools import Tools

log = structlog.get_logger()

T = TypeVar("T")

NODE_WAIT_SECONDS = 1.0
PUBLISH_SECONDS = 10.0
"""Between two tries."""
THREADS = 6 * MAX_CHECKS
"""At most; one is started when all others are at work. A check may hold one that waits for a registry, and one for each
name of its model's locations that nobody answers for, which no timeout ends."""
KEEP_ALIVE_SECONDS = 5


def open_key(home: Path, settings: WorkerSettings, ask_password: Callable[[], str]) -> SecretKey:
    """Return the worker's key from the keystore in its home. Raises KeystoreError."""
    return Keystore(home / "keys").open(settings.key, ask_password)


async def run_worker(home: Path, settings: WorkerSettings, key: SecretKey) -> None:
    """Run a worker in its home until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    # Evaluations, pulls and trainings wait in threads: a registry that is slow must not keep the others from theirs.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = DockerSandbox(settings.make_sandbox_settings(home))
    try:
        log.info("engine", description=await asyncio.to_thread(sandbox.check_engine))
        client = connect(settings.node)
        try:
            await run_with(home, settings, key, client, sandbox, stop)
        finally:
            await client.aclose()
    finally:
        await asyncio.to_thread(sandbox.close)


async def run_with(
    home: Path, settings: WorkerSettings, key: SecretKey, client: ChainClient, sandbox: Sandbox, stop: asyncio.Event
) -> None:
    """Run a worker over any client and sandbox until `stop` is set."""
    await _wait_for_node(client, stop)
    if stop.is_set():
        return
    account = await _until(stop, _get_account(settings, key, client))
    if account is None:
        return
    chain = await client.get_chain()
    journal = Journal(home / "journal.sqlite", chain.chain_tag, account)  # first: it keeps others out of the home
    try:
        store = ModelStore(home / "models", settings.get_store_bytes())
        scratch = home / "scratch"
        scratch.mkdir(mode=0o700, exist_ok=True)
        sent = FileJournal(
            home / "sent", chain.chain_tag, key.public_key, lambda text: log.warning("sent_list", reason=text)
        )
        sender = Sender(client, key, account, sent)
        transfer = ModelTransfer(store, settings.models.allow_loopback)
        tools = Tools(
            client, sender, key, account, chain.chain_tag, sandbox, store, transfer, settings.models.endpoint, scratch,
            Claims(home),
        )  # fmt: skip
        publishing = asyncio.create_task(_publish_endpoint(sender, settings.models.endpoint))
        try:
            daemon = Daemon(tools, settings.make_policy(), journal, home / "status.json", stop)
            async with serving(create_app(store, daemon.relaying.check_upload), settings.models.listen):
                await daemon.run()
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await transfer.aclose()
    finally:
        journal.close()


async def _wait_for_node(client: ChainClient, stop: asyncio.Event) -> None:
    """Wait until the node answers and has all blocks: node and worker are often started together.

    One that catches up does not know accounts that there are: the worker's own would be registered once more, in vain.
    """
    told: set[str] = set()
    while not stop.is_set():
        try:
            status = await client.get_status()
            if not status.catching_up:
                return
            kind, reason = "behind", f"it is at height {status.height} and catches up"
        except (errors.NodeUnreachable, errors.BadAnswer) as error:
            kind, reason = type(error).__name__, str(error)
        if kind not in told:  # it may take hours
            log.warning("waiting_for_node", reason=reason)
        told.add(kind)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), NODE_WAIT_SECONDS)


async def _get_account(settings: WorkerSettings, key: SecretKey, client: ChainClient) -> bytes:
    """Return the account to work for; the key's own is registered if it does not exist. Raises SettingsError."""
    if settings.account:
        return await _get_named_account(settings.account, key, client)
    if await client.get_account(key.address) is None:
        log.info("registering", hint="searching the work of a new account, this can take a while")
    return await register(client, key)


async def _get_named_account(text: str, key: SecretKey, client: ChainClient) -> bytes:
    try:
        address = decode_address(text)
    except ValueError as error:
        raise SettingsError(f"account: {error}") from error
    found = await client.get_account(address)
    if found is None:
        raise SettingsError(f"account: {text} does not exist on this chain: correct it, or wait for the node")
    own = find_key(found.account, key.public_key)
    if own is None or own.scope == KEY_SCOPE_REMOVED:
        raise SettingsError(
            f"account: the worker's key {key.public_key.hex()} is no key of {text}: add it with lc tx set-key"
        )
    return address


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what `work` returns, None if `stop` is set before: it is cancelled then."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _publish_endpoint(sender: Sender, endpoint: str) -> None:
    """Put the endpoint into the account's profile, where other nodes look for relays; an empty one changes nothing.

    Votes that are due do not wait for it: it is tried until the chain takes it.
    """
    while endpoint:
        try:
            found = await sender.client.get_account(sender.account)
            if found is not None and found.profile.endpoint != endpoint:
                await sender.send(SetProfile(name=found.profile.name, endpoint=endpoint))
                log.info("endpoint_published", endpoint=endpoint)
            return
        except (errors.ClientError, FileError, SentListError, OSError) as error:
            log.warning("endpoint_not_published", endpoint=endpoint, reason=str(error))
        await asyncio.sleep(PUBLISH_SECONDS)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the daemon decides when it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _listen(listen: str) -> socket.socket:
    """Return a bound socket for `host:port` or `unix:/path`. Raises SettingsError."""
    try:
        if listen.startswith("unix:"):
            return _listen_unix(Path(listen.removeprefix("unix:")))
        host, _, port = listen.rpartition(":")
        if not 0 <= int(port) < 1 << 16:
            raise ValueError("ports are 0 to 65535")
        return socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except (OSError, ValueError) as error:
        raise SettingsError(f"models.listen: cannot listen at {listen!r} ({error}): give a free host:port") from error


def _listen_unix(path: Path) -> socket.socket:
    if path.is_socket():  # of an earlier worker; anything else is somebody's file
        path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


@asynccontextmanager
async def serving(app: FastAPI, listen: str) -> AsyncIterator[None]:
    """Serve the model store while the block runs; nothing with an empty `listen`."""
    if not listen:
        yield
        return
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS + 1,  # requests whose client has left could be more than the connections
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=KEEP_ALIVE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[_listen(listen)]))
    log.info("serving_models", at=listen)
    try:
        yield
    finally:
        server.should_exit = True
        await task
