"""Connections to the model store: many, silent, slow and broken ones hinder nobody."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from abci_app.protocol.limits import MIB
from learningchain.models import get_model_url
from tests.worker.claims import DIGEST, MODEL, make_claim
from tests.worker.model_nodes import add, relay, run
from worker.models import connections
from worker.models.store import ModelStore
from worker.models.transfer import ModelTransfer

LARGE = 24 * MIB
"""More than all buffers between server and client hold."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(url: str, origin: str = "127.0.0.1") -> Streams:
    """Connect, some time after the last."""
    await asyncio.sleep(0.001)
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), local_addr=(origin, 0))


async def is_ended(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Tell whether the server ends the connection in time; what comes before is skipped."""
    try:
        async with asyncio.timeout(seconds):
            await reader.read()
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


async def count(reader: asyncio.StreamReader) -> int:
    """Return how many bytes come before the connection ends."""
    received = 0
    with suppress(ConnectionError):
        while chunk := await reader.read(MIB):
            received += len(chunk)
    return received


async def ask(url: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as http:
        return (await http.get(get_model_url(url, DIGEST))).status_code


async def ask_for(digest: bytes, url: str) -> Streams:
    reader, writer = await dial(url)
    writer.write(f"GET /v1/models/{digest.hex()} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
    return reader, writer


def add_large(store: ModelStore, folder: Path) -> bytes:
    path = folder / "large"
    with path.open("wb") as file:
        os.truncate(file.fileno(), LARGE)
    return store.add_file(path, LARGE)


@pytest.mark.parametrize("are_neighbours", [True, False])
def test_connections_that_say_nothing_give_way_to_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_neighbours: bool
) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ORIGIN" if are_neighbours else "MAX_CONNECTIONS", 8)
    if not are_neighbours:
        numbers = itertools.count()
        monkeypatch.setattr(connections, "_find_origin", lambda client: str(next(numbers)).encode())

    async def script() -> None:
        async with relay(tmp_path / "s") as (url, store):
            add(store, tmp_path)
            silent = [await dial(url) for _ in range(20)]
            assert await ask(url) == 200
            ended = [await is_ended(reader, 0.1) for reader, _ in silent]
            assert ended == [True] * 13 + [False] * 7
            for _, writer in silent:
                writer.close()

    run(script)


def test_many_connections_of_one_origin_are_no_reason_to_drop_one_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ORIGIN", 4)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 6)

    async def script() -> None:
        async with relay(tmp_path / "s") as (url, _):
            first, writer = await dial(url, "127.0.0.2")
            many = [await dial(url) for _ in range(20)]
            assert await is_ended(many[0][0], 3)
            assert not await is_ended(first, 0.1)
            for other in (writer, *(writer for _, writer in many)):
                other.close()

    run(script)


def test_as_many_silent_connections_as_there_may_be_hinder_nobody(tmp_path: Path) -> None:
    async def script() -> None:
        async with relay(tmp_path / "s") as (url, store):
            add(store, tmp_path)
            silent = [await dial(url) for _ in range(connections.MAX_OF_ORIGIN)]
            assert await ask(url) == 200
            for _, writer in silent:
                writer.close()

    run(script)


def test_a_connection_that_is_answered_does_not_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ORIGIN", 2)

    async def script() -> None:
        async with relay(tmp_path / "s", 2 * LARGE) as (url, store):
            digest = add_large(store, tmp_path)
            busy = [await ask_for(digest, url) for _ in range(2)]
            for reader, _ in busy:
                await reader.readuntil(b"\r\n\r\n")
            late, late_writer = await dial(url)
            assert await is_ended(late, 3)
            late_writer.close()
            for reader, writer in busy:
                assert len(await reader.readexactly(LARGE)) == LARGE
                writer.close()

    run(script)


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_head_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_before: bool
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.6)

    async def script() -> None:
        async with relay(tmp_path / "s") as (url, _):
            reader, writer = await dial(url)
            if asked_before:
                writer.write(b"GET /nothing HTTP/1.1\r\nHost: relay\r\n\r\n")
                assert b"404" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"GET / HTTP/1.1\r\n")
            end = asyncio.create_task(is_ended(reader, 3))
            while not end.done():
                writer.write(b"x: y\r\n")
                await asyncio.wait([end], timeout=0.05)
            assert end.result()
            writer.close()

    run(script)


def test_who_takes_in_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "SLOWEST", 64 * MIB)

    async def script() -> None:
        async with relay(tmp_path / "s", 2 * LARGE) as (url, store):
            reader, writer = await ask_for(add_large(store, tmp_path), url)
            await asyncio.sleep(1.5)
            assert await count(reader) < LARGE
            writer.close()

    run(script)
    assert caplog.records == []


def test_who_takes_in_at_a_pace_gets_all_however_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(connections, "SLOWEST", MIB)

    async def script() -> None:
        async with relay(tmp_path / "s", 2 * LARGE) as (url, store):
            clock = asyncio.get_running_loop()
            start = clock.time()
            reader, writer = await ask_for(add_large(store, tmp_path), url)
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(LARGE // MIB):
                await reader.readexactly(MIB)
                await asyncio.sleep(0.06)
            assert clock.time() - start > 2 * 0.5
            writer.close()

    run(script)


def test_who_uploads_slowly_what_is_here_already_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a candidate does that was killed before it knew: it would be cut off as a client that asks for nothing."""
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.5)

    async def read_slowly(path: Path) -> AsyncIterator[bytes]:
        for byte in MODEL:
            await asyncio.sleep(0.01)
            yield bytes([byte])

    monkeypatch.setattr("worker.models.transfer._read_chunks", read_slowly)

    async def script() -> None:
        async with relay(tmp_path / "s") as (url, store):
            add(store, tmp_path)
            transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
            await transfer.upload(tmp_path / "model", make_claim(url), url)
            await transfer.aclose()
        assert (tmp_path / "s" / f"{DIGEST.hex()}.keep").exists()

    run(script)


def test_a_client_that_leaves_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script() -> None:
        async with relay(tmp_path / "s", 2 * LARGE) as (url, store):
            reader, writer = await ask_for(add_large(store, tmp_path), url)
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            _, writer = await dial(url)
            headers = {**make_claim(url).to_headers(), "Host": "relay", "Content-Length": str(len(MODEL))}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"PUT /v1/models/{DIGEST.hex()} HTTP/1.1\r\n{lines}\r\n".encode() + MODEL[:10])
            await asyncio.sleep(0.2)
            writer.transport.abort()
            await asyncio.sleep(0.2)

    run(script)
    assert caplog.records == []


UPLOAD = b"PUT /v1/models/" + b"ab" * 32 + b" HTTP/1.1\r\nHost: relay\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /%ff%00 HTTP/1.1\r\nHost: \xff\r\n\r\n", b"x" * 70_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /v1/models/%0a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: upgrade\r\n\r\n", UPLOAD + b"\r\n", UPLOAD + b"Content-Length: -1\r\n\r\n",
        UPLOAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", UPLOAD + b"Content-Length: 9\r\n\r\nx",
        UPLOAD + CHUNKED + b"\r\n", UPLOAD + CHUNKED + b"\r\nno size\r\n",
        UPLOAD + b"Content-Length: 1\r\nx-lc-job: \xb2\r\n\r\nx",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_answered_with_4xx_and_leaves_no_trace_of_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    async def script() -> None:
        async with relay(tmp_path / "s") as (url, _):
            reader, writer = await dial(url)
            writer.write(request_)
            assert (await reader.readline()).startswith(b"HTTP/1.1 4")
            for _ in range(3):  # what follows an answer is no better
                writer.write(b"no size\r\n")
                await asyncio.sleep(0.02)
            writer.close()

    run(script)
    assert [record for record in caplog.records if record.levelname != "WARNING" or record.exc_info] == []


def test_an_origin_is_an_address_or_what_one_machine_has_of_ipv6() -> None:
    first, second, other = (("2001:db8::1", 1), ("2001:db8::ffff:2", 2), ("2001:db8:0:1::1", 1))
    find = connections._find_origin
    assert find(first) == find(second) != find(other)
    assert find(("192.0.2.1", 1)) == find(("192.0.2.1", 2)) != find(("192.0.2.2", 1))
    assert find(None) == b""
