"""Fetching a revealed model: any source is as good as another, because size and digest are checked.

A source is a URL that a stranger wrote (see `addresses.py`); redirects are not followed.
"""

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from learningchain.addresses import AddressRefused, Target, resolve
from learningchain.client.interface import Relay

CONNECT_S: Final = 5.0
READ_S: Final = 15.0
"""A source that sends nothing for this long is left."""
PATIENCE_S: Final = 20.0
SLOWEST: Final = 64 << 10
"""Bytes per second: a source that takes longer than PATIENCE_S and this for the whole model is left for the next."""
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Names a model may have on disk, from the image's label."""
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
_ZIP: Final = b"PK\x03\x04"
_CHUNK: Final = 1 << 20
_TOO_SLOW: Final = "it is too slow"


class ModelError(Exception):
    """No source gave the model; the text lists each source with its reason."""


@dataclass(frozen=True, slots=True)
class WantedModel:
    """What a Reveal says of a model: its digest and its size in bytes."""

    digest: bytes
    size: int


def get_model_url(endpoint: str, digest: bytes) -> str:
    """Return where a node with this endpoint serves a model."""
    return f"{endpoint.rstrip('/')}/v1/models/{digest.hex()}"


def order_relays(relays: Iterable[Relay], digest: bytes) -> list[Relay]:
    """Return in which order candidates bring a model to relays, and checkers ask them. Every model has its own.

    A hash of each account alone: who leaves out itself, or knows one more, has the same order as all others, and nobody
    can get accounts that follow each other, which would have all copies of a model. Of one endpoint the first counts.
    """
    ordered = sorted(relays, key=lambda relay: hashlib.sha256(digest + relay.account).digest())
    first: dict[str, Relay] = {}
    for relay in ordered:
        first.setdefault(relay.endpoint, relay)
    return list(first.values())


def is_safe_name(name: str) -> bool:
    """Tell whether a label can be used as a file's name."""
    return NAME.fullmatch(name) is not None


def fetch_model(
    model: WantedModel,
    sources: Iterable[str],
    path: Path,
    seconds: float,
    allow_loopback: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> str:
    """Write the model to `path` from the first source that gives exactly its bytes, and return that source.

    Nothing is written to `path` before size and digest are right. `on_progress` is told how many bytes a source has
    given. Raises ModelError after all sources or `seconds`.
    """
    reasons = []
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    end = time.monotonic() + seconds
    try:
        for source in dict.fromkeys(sources):
            try:
                _download(model, source, temporary, end, allow_loopback, on_progress)
            except _SOURCE_FAILURES as error:
                reasons.append(f"{source}: {str(error) or type(error).__name__}")
                continue
            os.replace(temporary, path)
            return source
    finally:
        temporary.unlink(missing_ok=True)
    raise ModelError("; ".join(reasons) or "nobody is known to hold it")


def hash_file(path: Path) -> tuple[bytes, int]:
    """Return SHA-256 and size in bytes of a file."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.digest(), size


def looks_like_pickle(path: Path) -> bool:
    """Tell whether loading the file could run code: a pickle, or an archive that holds one."""
    with path.open("rb") as file:
        head = file.read(_CHUNK)
    return _PICKLE.match(head) is not None or (head.startswith(_ZIP) and b".pkl" in head)


class _SourceError(Exception):
    """This source does not give the model."""


# ValueError: what a client refuses to send or cannot read, whichever of its layers says so; so is a group of errors.
_SOURCE_FAILURES: Final = (
    httpx2.HTTPError, httpx2.InvalidURL, AddressRefused, _SourceError, OSError, ValueError, ExceptionGroup,
)  # fmt: skip


def _download(
    model: WantedModel,
    url: str,
    path: Path,
    end: float,
    allow_loopback: bool,
    on_progress: Callable[[int], None] | None,
) -> None:
    target = resolve(url, allow_loopback)
    hasher, received = hashlib.sha256(), 0
    end = min(end, time.monotonic() + PATIENCE_S + model.size / SLOWEST)

    async def receive() -> None:
        nonlocal received
        async with _ask(target) as answer:
            if answer.status_code != 200:
                raise _SourceError(f"it answered {answer.status_code}")
            with path.open("wb") as file:
                async for chunk in answer.aiter_raw():
                    received += len(chunk)
                    if received > model.size or time.monotonic() > end:
                        raise _SourceError("it sent too much" if received > model.size else _TOO_SLOW)
                    hasher.update(chunk)
                    file.write(chunk)
                    if on_progress is not None:
                        on_progress(received)

    asyncio.run(_within(receive(), end - time.monotonic()))
    if received != model.size or hasher.digest() != model.digest:
        raise _SourceError("it sent other bytes than were revealed")


@asynccontextmanager
async def _ask(target: Target) -> AsyncIterator[httpx2.Response]:
    timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
    # Asked for as is: a compressed body could unpack to anything.
    headers = {**target.headers, "Accept-Encoding": "identity"}
    async with (
        httpx2.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as http,
        http.stream("GET", target.url, headers=headers, extensions=target.extensions) as answer,
    ):
        yield answer


async def _within(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Give up what takes longer, be it that headers drip: the client's own limits are for each read."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise _SourceError(_TOO_SLOW) from None
