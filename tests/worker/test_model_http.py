"""The model store over real HTTP: ranges, uploads with and without a right, sources that lie."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from abci_app.protocol.limits import MIB
from learningchain.addresses import Target, resolve
from learningchain.client import errors
from learningchain.models import get_model_url
from tests.support import virtual_time
from tests.support.ports import reserved_ports
from tests.worker.claims import DIGEST, MODEL, OWNER, PARAMS, make_claim, make_kept, make_turn
from tests.worker.worlds import RIVAL, TAG
from worker.models.server import create_app
from worker.models.store import ModelStore, StoreFull
from worker.models.transfer import ModelTransfer, TransferError
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


def test_a_model_is_served_whole_and_in_ranges_and_never_guessed(tmp_path: Path) -> None:
    async def script() -> None:
        async with relay(tmp_path / "s") as (url, store), httpx2.AsyncClient() as http:
            add(store, tmp_path)
            whole = await http.get(get_model_url(url, DIGEST))
            part = await http.get(get_model_url(url, DIGEST), headers={"Range": "bytes=10-19"})
            missing = await http.get(get_model_url(url, b"o" * 32))
            odd = await http.get(f"{url}/v1/models/..%2f..%2fetc%2fpasswd")
        assert whole.content == MODEL
        assert "attachment" in whole.headers["content-disposition"]
        assert (part.status_code, part.content) == (206, MODEL[10:20])
        assert missing.status_code == 404
        assert odd.status_code in (404, 422)

    run(script)


def test_an_upload_with_a_right_arrives_and_is_kept(tmp_path: Path) -> None:
    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "s") as (url, store):
            await transfer.upload(tmp_path / "model", make_claim(url), url)
            path = store.get_path(DIGEST)
        await transfer.aclose()
        assert path is not None
        assert path.read_bytes() == MODEL
        assert (tmp_path / "s" / f"{DIGEST.hex()}.keep").exists()

    run(script)


def test_an_upload_without_a_right_or_with_other_bytes_leaves_nothing(tmp_path: Path) -> None:
    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        (tmp_path / "other").write_bytes(MODEL[::-1])
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "s") as (url, _):
            with pytest.raises(TransferError, match=r"403.*another candidate"):
                await transfer.upload(tmp_path / "model", make_claim(url, account=RIVAL), url)
            with pytest.raises(TransferError, match="400"):
                await transfer.upload(tmp_path / "other", make_claim(url), url)
            async with httpx2.AsyncClient() as http:
                bare = await http.put(get_model_url(url, DIGEST), content=MODEL)
        await transfer.aclose()
        assert bare.status_code == 400
        assert list((tmp_path / "s").iterdir()) == []

    run(script)


def test_a_relay_can_repeat_no_claim_at_another_relay(tmp_path: Path) -> None:
    """It would begin uploads there that never end, and where room is short that of the candidate would be refused."""

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "a") as (first, _), relay(tmp_path / "b") as (second, _):
            assert await transfer.bring(tmp_path / "model", make_claim, [first, second], 2) == ([first, second], [])
            with pytest.raises(TransferError, match=rf"403.*not valid for this relay, whose endpoint is {second}"):
                await transfer.upload(tmp_path / "model", make_claim(first), second)
        await transfer.aclose()

    run(script)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b""])
def test_a_relay_that_takes_a_model_and_does_not_serve_it_does_not_count(tmp_path: Path, answer: bytes) -> None:
    """It says 201 to everybody, and would at no cost keep a winner from those that have its model."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT"):
            await reader.readexactly(len(MODEL))
        other = answer or answer_with(head, bytes(len(MODEL)))
        writer.write(answer_with(head) if head.startswith(b"PUT") else other)
        writer.close()

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        empty = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with relay(tmp_path / "a") as (honest, _):
            reached, reasons = await transfer.bring(tmp_path / "model", make_claim, [empty, honest], 1)
        server.close()
        await transfer.aclose()
        assert reached == [honest]
        assert [f"{empty} took the model and does not serve it" in reason for reason in reasons] == [True]

    run(script)


def test_a_full_relay_says_so(tmp_path: Path) -> None:
    """Half of the store is for others: a relay that is full still has room for what it must check."""

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "s", max_bytes=2 * len(MODEL) - 1) as (url, _):
            with pytest.raises(TransferError, match=r"507.*another relay"):
                await transfer.upload(tmp_path / "model", make_claim(url), url)
        async with relay(tmp_path / "t", max_bytes=2 * len(MODEL)) as (url, store):
            await transfer.upload(tmp_path / "model", make_claim(url), url)
            assert store.get_path(DIGEST) is not None
        await transfer.aclose()

    run(script)


def test_an_upload_that_the_node_cannot_judge_now_is_for_another_relay(tmp_path: Path) -> None:
    async def check(claim: UploadClaim) -> Admission:
        raise errors.NodeUnreachable("the node cannot be reached")

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        app = create_app(ModelStore(tmp_path / "s", MIB), check)
        with reserved_ports(1) as (port,), pytest.raises(TransferError, match=r"503.*another relay"):
            async with serving(app, f"127.0.0.1:{port}"):
                await transfer.upload(tmp_path / "model", make_claim(), f"http://127.0.0.1:{port}")
        await transfer.aclose()

    run(script)


def test_an_upload_that_drips_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.models.server.PATIENCE_SECONDS", 0.5)

    async def script() -> None:
        async with relay(tmp_path / "s") as (url, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            headers = {**make_claim(url).to_headers(), "Host": "relay", "Content-Length": str(len(MODEL))}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"PUT /v1/models/{DIGEST.hex()} HTTP/1.1\r\n{lines}\r\n".encode() + MODEL[:10])
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
            writer.close()
        assert list((tmp_path / "s").iterdir()) == []

    run(script)


def test_a_fetch_goes_on_to_the_next_source_until_the_bytes_are_right(tmp_path: Path) -> None:
    async def script() -> None:
        own = ModelStore(tmp_path / "own", MIB)
        transfer = ModelTransfer(own, allow_loopback=True)
        async with relay(tmp_path / "empty") as (empty, _), relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            lying = get_model_url(full, DIGEST)
            wrong = hashlib.sha256(b"something else").digest()
            nowhere = f"http://127.0.0.1:{port}/v1/models/{DIGEST.hex()}"
            assert await transfer.fetch(wrong, len(MODEL), [lying], 5) is None
            assert await transfer.fetch(DIGEST, len(MODEL) - 1, [lying], 5) is None
            path = await transfer.fetch(DIGEST, len(MODEL), [nowhere, get_model_url(empty, DIGEST), lying], 10)
        await transfer.aclose()
        assert path is not None
        assert path.read_bytes() == MODEL

    with reserved_ports(1) as (port,):
        run(script)


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


def test_no_cookie_of_a_source_is_kept(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        cookies = b"".join(b"set-cookie: c%d=%s; max-age=999999\r\n" % (i, b"x" * 500) for i in range(10))
        writer.write(b"HTTP/1.1 404 No\r\n" + cookies + b"content-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/model"
        for _ in range(2):
            assert await transfer.fetch(DIGEST, 500, [url], 5) is None
        server.close()
        await transfer.aclose()

    run(script)
    assert heads[0] == heads[1]
    assert b"cookie" not in heads[1].lower()


def test_of_a_relay_s_refusal_only_the_beginning_is_read_and_nothing_of_it_is_obeyed(tmp_path: Path) -> None:
    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with refusing() as (url, written):
            with pytest.raises(TransferError) as caught:
                await transfer.upload(tmp_path / "model", make_claim(url), url)
            assert f"{url} answered 507: '\\x1b[31mno" in str(caught.value)
            assert written[0] < 64 * MIB  # what fits into the buffers on the way
        await transfer.aclose()

    run(script)


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


def test_on_a_slow_line_relays_get_more_patience_until_one_has_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time with the same share of the time, such a winner would never deliver."""
    monkeypatch.setattr("worker.models.transfer.PATIENCE_SECONDS", 0.2)

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with slow_relay(0.5) as one, slow_relay(0.5) as other, refusing() as (full, _):
            with pytest.raises(TransferError, match="not all of the model"):
                await transfer.upload(tmp_path / "model", make_claim(one), one)
            reached, reasons = await transfer.bring(tmp_path / "model", make_claim, [full, one, other], 3)
            hurried, _ = await transfer.bring(tmp_path / "model", make_claim, [one], 3, seconds=0.3)
        await transfer.aclose()
        assert hurried == []
        assert reached == [one, other]
        assert sum("answered 507" in reason for reason in reasons) == 1  # asked once: it said what it had to say

    run(script)


def test_a_model_is_brought_to_no_more_relays_than_wanted(tmp_path: Path) -> None:
    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "a") as (one, _), relay(tmp_path / "b") as (two, unused):
            assert await transfer.bring(tmp_path / "model", make_claim, [one, two], 1) == ([one], [])
            assert unused.get_path(DIGEST) is None
            await transfer.aclose()

    run(script)


def test_a_source_that_drips_is_left_in_time(tmp_path: Path) -> None:
    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with dripping() as slow:
            start = asyncio.get_running_loop().time()
            assert await transfer.fetch(DIGEST, 500, [slow], 0.5) is None
            assert asyncio.get_running_loop().time() - start < 3
        await transfer.aclose()

    run(script)


def test_a_source_that_drips_does_not_keep_the_next_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hostile relay would else make every checker say that nobody has the model."""
    monkeypatch.setattr("worker.models.transfer.PATIENCE_SECONDS", 2.0)

    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with dripping() as slow, relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            path = await transfer.fetch(DIGEST, len(MODEL), [slow, get_model_url(full, DIGEST)], 60)
        await transfer.aclose()
        assert path is not None

    run(script)


def test_whatever_a_source_or_a_relay_provokes_the_next_one_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(url: str, allow_loopback: bool) -> Target:
        if "unheard" in url:
            raise RuntimeError("nobody thought of this")
        odd = Target("http://127.0.0.1:1/", {"Host": "8。8。8。8"}, {})
        return odd if "odd" in url else resolve(url, allow_loopback)

    monkeypatch.setattr("worker.models.transfer.resolve", look_up)

    async def script() -> None:
        (tmp_path / "model").write_bytes(MODEL)
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            for bad in ("http://odd", "http://unheard"):
                with pytest.raises(TransferError, match=f"{bad} cannot be reached: .*Error: "):
                    await transfer.upload(tmp_path / "model", make_claim(bad), bad)
            sources = ["http://8。8。8。8/m", "http://odd", "http://unheard", get_model_url(full, DIGEST)]
            assert await transfer.fetch(DIGEST, len(MODEL), sources, 10) is not None
        await transfer.aclose()

    run(script)


def test_a_disk_that_is_full_is_no_fault_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a checker would say that nobody has the model."""

    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            monkeypatch.setattr("os.fsync", refuse)
            with pytest.raises(StoreFull, match="no space"):
                await transfer.fetch(DIGEST, len(MODEL), [get_model_url(full, DIGEST)], 5)
        await transfer.aclose()
        assert list((tmp_path / "own").iterdir()) == []

    run(script)


def test_a_source_at_an_inner_address_is_no_source(tmp_path: Path) -> None:
    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB))
        async with relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            assert await transfer.fetch(DIGEST, len(MODEL), [get_model_url(full, DIGEST)], 5) is None
            with pytest.raises(TransferError, match="public"):
                await transfer.upload(tmp_path / "model", make_claim(full), full)
        await transfer.aclose()

    run(script)
