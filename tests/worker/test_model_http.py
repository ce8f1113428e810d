"""The model store over real HTTP: ranges, and sources that lie, drip or are not public."""

import asyncio
import errno
import hashlib
from pathlib import Path

import httpx2
import pytest

from abci_app.protocol.limits import MIB
from learningchain.addresses import Target, resolve
from learningchain.models import get_model_url
from tests.support.ports import reserved_ports
from tests.worker.claims import DIGEST, MODEL, make_claim
from tests.worker.model_nodes import add, dripping, relay, run
from worker.models.store import ModelStore, StoreFull
from worker.models.transfer import ModelTransfer, TransferError


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


def test_a_model_that_the_disk_has_damaged_is_fetched_again(tmp_path: Path) -> None:
    """A checker that measured what it has would vote something else than all others."""

    async def script() -> None:
        own = ModelStore(tmp_path / "own", MIB)
        transfer = ModelTransfer(own, allow_loopback=True)
        (tmp_path / "own" / DIGEST.hex()).write_bytes(MODEL[::-1])
        async with relay(tmp_path / "full") as (full, store):
            add(store, tmp_path)
            path = await transfer.fetch(DIGEST, len(MODEL), [get_model_url(full, DIGEST)], 10)
        await transfer.aclose()
        assert path is not None
        assert path.read_bytes() == MODEL

    run(script)


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
