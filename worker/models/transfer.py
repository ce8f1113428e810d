"""Fetching models from relays and locations, and bringing them to relays.

URLs come from strangers: `learningchain/addresses.py` says where they may lead. No redirects.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx2
import structlog

from abci_app.protocol.limits import MIB
from learningchain.addresses import AddressRefused, Target, resolve
from learningchain.models import get_model_url
from worker.models.store import ModelStore, ModelStoreError, StoreFull
from worker.models.uploads import SignClaim, UploadClaim

log = structlog.get_logger()

RELAYS = 3
"""Relays that a model is brought to."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""A source that sends nothing for this long is left."""
AS_IS = {"Accept-Encoding": "identity"}
"""Asked of everybody, and bodies are read raw: a compressed one could unpack to anything."""
REASON_BYTES = 200
"""Of the words in which a relay refuses."""
PART_BYTES = 1 << 10
"""Of a model that a relay has taken, asked for to see that it serves it."""
PATIENCE_SECONDS = 5.0
"""One source or relay gets this and a second for each MiB, or one that drips would keep all others from their turn."""
NAMES = 8
"""Relays looked up at once."""
UPLOAD_PATIENCE = (1, 2, 4, 8, 16)
"""A relay that had too little time gets so many times its usual share; the last is about all that a relay allows."""
CHUNK = 256 << 10
"""Bytes read at once; on the slowest line that relays allow, each is gone within READ_SECONDS."""


class TransferError(Exception):
    """One source or relay did not work; the text says which and why."""


class TooSlow(TransferError):
    """A relay had not all of the model in time: it drips, or the line is slow."""


class Uploader:
    """Brings models to relays."""

    def __init__(self, allow_loopback: bool = False) -> None:
        """`allow_loopback` lets nodes of one machine reach each other."""
        self._allow_loopback = allow_loopback
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        # All sources and relays share this client: what one of them wants remembered would be told to the others.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._http = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False, cookies=no_cookies)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def bring(
        self, path: Path, sign: SignClaim, relays: Sequence[str], wanted: int, seconds: float | None = None
    ) -> tuple[list[str], list[str]]:
        """Bring a model to the first `wanted` of the relays that take it, within `seconds`.

        Returns those that have it, and why others have not. While none has it, those that were too slow are tried again
        with more patience: a machine whose own line is slow has none that are faster.
        """
        reached: list[str] = []
        reasons: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for patience in UPLOAD_PATIENCE:
                    relays = await self._offer(path, sign, relays, patience, wanted, reached, reasons)
                    if reached:
                        break
        return reached, reasons

    async def _offer(
        self, path: Path, sign: SignClaim, relays: Sequence[str], patience: int, wanted: int,
        reached: list[str], reasons: list[str],
    ) -> list[str]:  # fmt: skip
        """Try each relay until `wanted` are reached; return those that were too slow."""
        slow = []
        for relay in relays:
            if len(reached) == wanted:
                break
            try:
                await self.upload(path, sign(relay), relay, patience)
                reached.append(relay)
            except TransferError as error:
                reasons.append(str(error))
                if isinstance(error, TooSlow):
                    slow.append(relay)
        return slow

    async def upload(self, path: Path, claim: UploadClaim, relay: str, patience: int = 1) -> None:
        """Bring a model, with the claim for this relay, to it within `patience` times its share of the time.

        Raises TransferError, also if the relay does not serve it then.
        """
        share = patience * _get_share(claim.size)
        try:
            async with asyncio.timeout(share):
                await self._put(path, claim, relay)
                await self._require_kept(path, claim, relay)
        except TransferError:
            raise
        except TimeoutError as error:
            raise TooSlow(f"{relay} had not all of the model within {share:.0f} s") from error
        except Exception as error:  # whatever a stranger's relay provokes, the next one has its turn
            raise TransferError(f"{relay} cannot be reached: {_describe(error)}") from error

    async def _put(self, path: Path, claim: UploadClaim, relay: str) -> None:
        target = await self._resolve(get_model_url(relay, claim.digest))
        headers = {**target.headers, **claim.to_headers(), "Content-Length": str(claim.size), **AS_IS}
        async with self._http.stream(
            "PUT", target.url, headers=headers, content=_read_chunks(path), extensions=target.extensions
        ) as response:
            if response.status_code != 201:
                reason = (await _read_start(response, REASON_BYTES)).decode("utf-8", "replace")
                raise TransferError(f"{relay} answered {response.status_code}: {reason!r}")

    async def _require_kept(self, path: Path, claim: UploadClaim, relay: str) -> None:
        """Ask for a part that the relay cannot know beforehand: one that takes a model and keeps nothing has none."""
        start = secrets.randbelow(max(1, claim.size - PART_BYTES + 1))
        wanted = await asyncio.to_thread(_read_part, path, start)
        target = await self._resolve(get_model_url(relay, claim.digest))
        headers = {**target.headers, **AS_IS, "Range": f"bytes={start}-{start + len(wanted) - 1}"}
        async with self._http.stream("GET", target.url, headers=headers, extensions=target.extensions) as response:
            if response.status_code != 206 or await _read_start(response, len(wanted)) != wanted:
                raise TransferError(f"{relay} took the model and does not serve it: it answered {response.status_code}")

    async def may_reach_one(self, relays: Sequence[str]) -> bool:
        """Tell whether the address of one of the relays is one that uploads may go to; nothing is sent.

        Some are looked up at once: a name that nobody answers for takes many seconds, and this may wait for no more.
        """
        for begin in range(0, len(relays), NAMES):
            looks = [asyncio.create_task(self._may_reach(relay)) for relay in relays[begin : begin + NAMES]]
            try:
                for look in asyncio.as_completed(looks):
                    if await look:
                        return True
            finally:
                for task in looks:
                    task.cancel()
        return False

    async def _may_reach(self, relay: str) -> bool:
        try:
            await self._resolve(relay)
        except TransferError:
            return False
        return True

    async def _resolve(self, url: str) -> Target:
        try:
            return await asyncio.to_thread(resolve, url, self._allow_loopback)
        except AddressRefused as error:
            raise TransferError(str(error)) from error


class ModelTransfer(Uploader):
    """Moves models between this node's store and others."""

    def __init__(self, store: ModelStore, allow_loopback: bool = False) -> None:
        """Use `store`; `allow_loopback` lets nodes of one machine reach each other."""
        super().__init__(allow_loopback)
        self._store = store

    async def fetch(
        self, digest: bytes, size: int, sources: Sequence[str], seconds: float, patience: int = 1, bounty: int = 0
    ) -> Path | None:
        """Return the model's file, from the store or the first source that gives exactly its bytes.

        None if no source did within `seconds`; each gets `patience` times its usual share of them. Raises StoreFull:
        this machine's own failure, be it that the room goes to a model of a job with more than `bounty` (ucredit).
        """
        # A Reveal may tell another size than the model has: then nobody can fetch it, and who has it must not differ.
        held = self._store.get_path(digest) if self._store.find_size(digest) == size else None
        if held is not None and await asyncio.to_thread(self._store.is_intact, digest):
            return held
        share = patience * _get_share(size)
        try:
            async with asyncio.timeout(seconds):
                for source in sources:
                    try:
                        async with asyncio.timeout(share):
                            await self._fetch_from(source, digest, size, bounty)
                        return self._store.get_path(digest)
                    except StoreFull:
                        raise
                    except Exception as error:  # noqa: BLE001 (whatever a source provokes, the next one has its turn)
                        log.info("source_failed", source=source, reason=_describe(error))
        except TimeoutError:
            log.info("sources_timed_out", seconds=seconds)
        return None

    async def _fetch_from(self, url: str, digest: bytes, size: int, bounty: int) -> None:
        target = await self._resolve(url)
        headers = {**target.headers, **AS_IS}
        async with self._http.stream("GET", target.url, headers=headers, extensions=target.extensions) as response:
            if response.status_code != 200:
                raise TransferError(f"{url} answered {response.status_code}")
            try:
                await self._store.add_stream(response.aiter_raw(), size, size, digest, bounty=bounty)
            except StoreFull:
                raise
            except ModelStoreError as error:
                raise TransferError(f"{url}: {error}") from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _get_share(size: int) -> float:
    return PATIENCE_SECONDS + size / MIB


async def _read_start(response: httpx2.Response, size: int) -> bytes:
    """Return so many bytes of the body, or all if it has less; the rest, however long it is, stays unread."""
    async for chunk in response.aiter_raw(size):
        return chunk
    return b""


def _read_part(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(PART_BYTES)


async def _read_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
