"""Sources and relays that send a worker on to another address, which nobody has checked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from abci_app.protocol.limits import MIB
from learningchain.models import get_model_url
from tests.worker.claims import DIGEST, MODEL, make_claim
from tests.worker.model_nodes import add, relay, run
from worker.models.store import ModelStore
from worker.models.transfer import ModelTransfer, TransferError


@asynccontextmanager
async def redirecting(target: str) -> AsyncIterator[str]:
    """Answer every request with another address, and keep its method and body."""

    async def send_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT"):
            await reader.readexactly(len(MODEL))
        lines = ("HTTP/1.1 307 Elsewhere", f"location: {target}", "content-length: 0", "connection: close", "", "")
        writer.write("\r\n".join(lines).encode())
        writer.close()

    server = await asyncio.start_server(send_away, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def test_no_redirect_of_a_source_or_a_relay_is_followed(tmp_path: Path) -> None:
    async def script() -> None:
        transfer = ModelTransfer(ModelStore(tmp_path / "own", MIB), allow_loopback=True)
        async with relay(tmp_path / "full") as (full, store), redirecting(get_model_url(full, DIGEST)) as url:
            add(store, tmp_path)
            assert await transfer.fetch(DIGEST, len(MODEL), [get_model_url(url, DIGEST)], 5) is None
        async with relay(tmp_path / "empty") as (empty, store), redirecting(get_model_url(empty, DIGEST)) as url:
            with pytest.raises(TransferError, match="answered 307"):
                await transfer.upload(tmp_path / "model", make_claim(), url)
            assert store.get_path(DIGEST) is None
        await transfer.aclose()

    run(script)
