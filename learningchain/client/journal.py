"""What was signed and sent but whose fate is not known yet, so that nothing is done twice.

The bytes of a transaction are on disk before they are sent. Whoever starts again with the same intent sends the same
bytes, which the chain carries out at most once.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from learningchain.wallet.files import make_private_folder, read_private, write_private

MAX_ENTRIES: Final = 256
"""Undecided transactions of one key: more means that the chain stands still."""
LOCK_POLL_S: Final = 0.02


class JournalError(Exception):
    """The journal cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A signed transaction whose fate is not known. `sent_height` is the last height before it was sent."""

    tx: bytes
    tx_hash: bytes
    nonce: int
    sent_height: int
    expires_at_height: int
    intent: str


class Journal(Protocol):
    """The undecided transactions of one key, by nonce."""

    def locked(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep other users of the same journal out while it is read and changed."""

    def read(self) -> list[Pending]:
        """Return what is undecided, in nonce order."""

    def write(self, entries: list[Pending]) -> None:
        """Replace what is undecided, durably."""


class MemoryJournal:
    """Forgets with the process; for callers that remember by other means."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: list[Pending] = []
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep other tasks out."""
        async with self._lock:
            yield

    def read(self) -> list[Pending]:
        """Return what is undecided, in nonce order."""
        return list(self._entries)

    def write(self, entries: list[Pending]) -> None:
        """Replace what is undecided."""
        self._entries = sorted(entries, key=lambda entry: entry.nonce)


class FileJournal:
    """One file per chain and key in a private folder."""

    def __init__(self, folder: Path, chain_tag: bytes, public_key: bytes) -> None:
        """Use `folder`, made at the first write."""
        name = hashlib.sha256(chain_tag + public_key).hexdigest()[:32]
        self.folder = folder
        self._path = folder / f"{name}.json"

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep other tasks and processes with the same key out; waits for them without blocking the event loop."""
        make_private_folder(self._path.parent)
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_lock(descriptor):  # noqa: ASYNC110 (another process holds it: no event tells)
                await asyncio.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> list[Pending]:
        """Return what is undecided, in nonce order. Raises JournalError."""
        try:
            entries = json.loads(read_private(self._path))["pending"]
            return [_decode(entry) for entry in entries]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"{self._path} is damaged ({error}): it holds transactions that may still be carried out; "
                "move it away only if you know that nothing was sent in the last minutes"
            ) from error

    def write(self, entries: list[Pending]) -> None:
        """Replace what is undecided, durably. Raises JournalError when there is too much."""
        if len(entries) > MAX_ENTRIES:
            raise JournalError(
                f"{len(entries)} transactions wait for blocks: look at lc node status before sending more"
            )
        make_private_folder(self._path.parent)
        ordered = sorted(entries, key=lambda entry: entry.nonce)
        data = json.dumps({"pending": [_encode(entry) for entry in ordered]}, indent=1)
        write_private(self._path, data.encode("utf-8"), overwrite=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _encode(entry: Pending) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(entry).items()}


def _decode(fields: dict[str, Any]) -> Pending:
    return Pending(
        tx=bytes.fromhex(fields["tx"]),
        tx_hash=bytes.fromhex(fields["tx_hash"]),
        nonce=int(fields["nonce"]),
        sent_height=int(fields["sent_height"]),
        expires_at_height=int(fields["expires_at_height"]),
        intent=str(fields["intent"]),
    )
