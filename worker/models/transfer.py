"""Fetching models from relays and locations, and bringing them to relays.

Only addresses of the public internet are contacted (and loopback where the settings allow it, as a devnet needs):
the name is resolved once, every answer is checked, and the connection goes to the checked address. No redirects.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import structlog

from abci_app.protocol.limits import MIB
from worker.models.store import ModelStore, ModelStoreError, StoreFull
from worker.models.uploads import UploadClaim

log = structlog.get_logger()

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""A source that sends nothing for this long is left."""


class TransferError(Exception):
    """One source or relay did not work; the text says which and why."""


@dataclass(frozen=True, slots=True)
class _Target:
    url: str
    headers: dict[str, str]
    extensions: dict[str, str]


async def resolve(url: str, allow_loopback: bool) -> _Target:
    """Return where to connect for a URL, with its host checked. Raises TransferError."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise TransferError("the URL cannot be read") from None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise TransferError("only plain http and https URLs are followed")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransferError(f"{host} cannot be resolved: {error.strerror}") from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    if not addresses or not all(_is_allowed(address, allow_loopback) for address in addresses):
        raise TransferError(f"{host} is not a public address")
    literal = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    target = f"{parts.scheme}://{literal}:{port}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
    return _Target(target, {"Host": parts.netloc}, {"sni_hostname": host} if parts.scheme == "https" else {})


def _is_allowed(address: ipaddress.IPv4Address | ipaddress.IPv6Address, allow_loopback: bool) -> bool:
    return address.is_global or (allow_loopback and address.is_loopback)


class ModelTransfer:
    """Moves models between this node's store and others."""

    def __init__(self, store: ModelStore, allow_loopback: bool = False) -> None:
        """Use `store`; `allow_loopback` lets nodes of one machine reach each other."""
        self._store = store
        self._allow_loopback = allow_loopback
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def fetch(self, digest: bytes, size: int, sources: Sequence[str], seconds: float) -> Path | None:
        """Return the model's file, from the store or the first source that gives exactly its bytes.

        None if no source did within `seconds`. Raises StoreFull: this machine's own failure.
        """
        held = self._store.get_path(digest)
        if held is not None:
            return held
        try:
            async with asyncio.timeout(seconds):
                for source in sources:
                    try:
                        await self._fetch_from(source, digest, size)
                        return self._store.get_path(digest)
                    except (TransferError, httpx2.HTTPError) as error:
                        log.info("source_failed", source=source, reason=str(error) or type(error).__name__)
        except TimeoutError:
            log.info("sources_timed_out", seconds=seconds)
        return None

    async def _fetch_from(self, url: str, digest: bytes, size: int) -> None:
        target = await resolve(url, self._allow_loopback)
        # Asked for as is: a compressed body could unpack to anything.
        headers = {**target.headers, "Accept-Encoding": "identity"}
        async with self._http.stream("GET", target.url, headers=headers, extensions=target.extensions) as response:
            if response.status_code != 200:
                raise TransferError(f"{url} answered {response.status_code}")
            try:
                await self._store.add_stream(response.aiter_raw(), size, size, digest)
            except StoreFull:
                raise
            except ModelStoreError as error:
                raise TransferError(f"{url}: {error}") from error

    async def upload(self, path: Path, claim: UploadClaim, relay: str) -> None:
        """Bring a model to one relay. Raises TransferError."""
        target = await resolve(f"{relay.rstrip('/')}/v1/models/{claim.digest.hex()}", self._allow_loopback)
        headers = {**target.headers, **claim.to_headers(), "Content-Length": str(claim.size)}
        try:
            response = await self._http.put(
                target.url, headers=headers, content=_read_chunks(path), extensions=target.extensions
            )
        except httpx2.HTTPError as error:
            raise TransferError(f"{relay} cannot be reached: {type(error).__name__}") from error
        if response.status_code != 201:
            raise TransferError(f"{relay} answered {response.status_code}: {response.text[:200]}")


async def _read_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, MIB):
            yield chunk


def get_model_url(endpoint: str, digest: bytes) -> str:
    """Return where a node with this endpoint serves a model."""
    return f"{endpoint.rstrip('/')}/v1/models/{digest.hex()}"
