"""Uploads to relays over real HTTP: with and without a right, to relays that are full, slow or lie."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from abci_app.protocol.limits import MIB
from learningchain.client import errors
from learningchain.models import get_model_url
from tests.support.ports import reserved_ports
from tests.worker.claims import DIGEST, MODEL, make_claim
from tests.worker.model_nodes import answer_with, refusing, relay, run, slow_relay
from tests.worker.worlds import RIVAL
from worker.models.server import create_app
from worker.models.store import ModelStore
from worker.models.transfer import ModelTransfer, TransferError
from worker.models.uploads import Admission, UploadClaim
from worker.service import serving


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
