"""What was signed and sent but whose fate is not known yet, so that nothing is done twice.

The bytes of a transaction are on disk before they are sent. Whoever starts again with the same intent sends the same
bytes, which the chain carries out at most once.
"""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from learningchain.client.file_lock import LockBusy, lock_file
from learningchain.wallet.files import FileError, make_private_folder, read_private, write_private

MAX_ENTRIES: Final = 256
"""Undecided transactions of one key: more means that the chain stands still."""


class JournalError(Exception):
    """The journal cannot be used; `hint` says what to do, and so does the text."""

    def __init__(self, message: str, hint: str) -> None:
        """Take the reason, and what to do about it."""
        super().__init__(f"{message}: {hint}")
        self.message = message
        self.hint = hint


class JournalBusy(JournalError):
    """Somebody else with the same key did not let go of the journal in time: nothing was done."""


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

    def locked(self, timeout_s: float | None = None) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep other users of the same journal out while it is read and changed.

        Raises JournalBusy when they do not let go of it within `timeout_s`; None waits as long as it takes.
        """

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
    async def locked(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Keep other tasks out. Raises JournalBusy when they take longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise JournalBusy("another task of this program sends with the same key", "try again later") from None
        try:
            yield
        finally:
            self._lock.release()

    def read(self) -> list[Pending]:
        """Return what is undecided, in nonce order."""
        return list(self._entries)

    def write(self, entries: list[Pending]) -> None:
        """Replace what is undecided."""
        self._entries = sorted(entries, key=lambda entry: entry.nonce)


class FileJournal:
    """One file per chain and key in a private folder."""

    def __init__(
        self, folder: Path, chain_tag: bytes, public_key: bytes, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Use `folder`, made at the first write; `tell` gets a line when another process is waited for."""
        name = hashlib.sha256(chain_tag + public_key).hexdigest()[:32]
        self.folder = folder
        self._path = folder / f"{name}.json"
        self._tell = tell

    @contextlib.asynccontextmanager
    async def locked(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Keep other tasks and processes with the same key out; waits for them without blocking the event loop.

        Raises JournalBusy when they take longer than `timeout_s`.
        """
        make_private_folder(self._path.parent)
        path = self._path.with_suffix(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                await lock_file(descriptor, path, timeout_s, self._tell)
            except LockBusy as error:
                raise JournalBusy(str(error), error.hint) from None
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
        except FileError as error:
            raise JournalError(f"the list of what was sent, {self._path}, cannot be used", str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"{self._path} is damaged ({error})",
                "it holds transactions that may still be carried out; "
                "move it away only if you know that nothing was sent in the last minutes",
            ) from error

    def write(self, entries: list[Pending]) -> None:
        """Replace what is undecided, durably. Raises JournalError when there is too much, or the disk refuses it."""
        if len(entries) > MAX_ENTRIES:
            raise JournalError(
                f"{len(entries)} transactions wait for blocks", "look at lc node status before sending more"
            )
        make_private_folder(self._path.parent)
        ordered = sorted(entries, key=lambda entry: entry.nonce)
        data = json.dumps({"pending": [_encode(entry) for entry in ordered]}, indent=1)
        try:
            write_private(self._path, data.encode("utf-8"), overwrite=True)
        except OSError as error:
            reason = f"the list of what was sent, {self._path}, cannot be written: {error.strerror}"
            raise JournalError(reason, "correct this and run the same command again") from error


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
