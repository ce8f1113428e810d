"""Nodes that serve and take in models over real HTTP, honest ones and others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from abci_app.protocol.limits import MIB
from tests.support import virtual_time
from tests.support.ports import reserved_ports
from tests.worker.claims import MODEL, OWNER, PARAMS, make_kept, make_turn
from tests.worker.worlds import TAG
from worker.models.server import create_app
from worker.models.store import ModelStore
from worker.models.uploads import Admission, UploadClaim, check_claim
from worker.service import serving


@asynccontextmanager
async def relay(folder: Path, max_bytes: int = MIB) -> AsyncIterator[tuple[str, ModelStore]]:
    store = ModelStore(folder, max_bytes)

    async def check(claim: UploadClaim) -> Admission:
        check_claim(claim, TAG, endpoint, PARAMS, make_turn(), OWNER)
        return Admission(MIB, make_kept())

    with reserved_ports(1) as (port,):
        endpoint = f"http://127.0.0.1:{port}"
        async with serving(create_app(store, check), f"127.0.0.1:{port}"):
            yield endpoint, store


def run(script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await script()

    virtual_time.run(main())


def add(store: ModelStore, folder: Path) -> None:
    path = folder / "model"
    path.write_bytes(MODEL)
    store.add_file(path, MIB)


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """A source that never ends and never is silent for long."""
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        while not ended.is_set() and not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.2)  # all of it would take longer than any test may
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/model"
    finally:
        ended.set()
        server.close()
        await asyncio.sleep(0.5)


@asynccontextmanager
async def refusing() -> AsyncIterator[tuple[str, list[int]]]:
    """A relay whose refusal never ends, with the bytes that it got rid of."""
    written = [0]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 507 Full\r\ncontent-encoding: gzip\r\ncontent-length: 99999999999\r\n\r\n\x1b[31mno")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(MIB))
                await writer.drain()
                written[0] += MIB

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", written
    finally:
        server.close()


def answer_with(head: bytes, model: bytes = MODEL) -> bytes:
    """What a relay answers that has taken in a model: 201, or the part that is asked for."""
    if head.startswith(b"PUT"):
        return b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    first, last = map(int, head.lower().partition(b"range: bytes=")[2].partition(b"\r\n")[0].split(b"-"))
    part = model[first : last + 1]
    return b"HTTP/1.1 206 Part\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(part), part)


@asynccontextmanager
async def slow_relay(seconds: float) -> AsyncIterator[str]:
    """Take in any upload, as over a line on which it takes so long."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(seconds if head.startswith(b"PUT") else 0)
        with suppress(ConnectionError):
            writer.write(answer_with(head))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await asyncio.sleep(2 * seconds)  # until all that were taken in are closed
