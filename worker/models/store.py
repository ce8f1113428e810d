"""A content-addressed store of model files, capped in bytes; what is held, or kept for a turn, is never evicted."""

import asyncio
import hashlib
import math
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path

from abci_app.protocol.limits import MIB
from worker.models.keeping import Need, Promise, Promises, Rank

_NO_ROOM_FOR_OTHERS = "this node keeps as many models for others as it may, and they matter as much: try another relay"
_NO_ROOM_TO_CHECK = "a model of a job with more bounty needs the room: raise models.max_size"
_LEAST = Rank(Need.NOBODY, -math.inf)


class ModelStoreError(Exception):
    """A model cannot be taken in; the text says why."""


class ModelTooLarge(ModelStoreError):
    """More bytes than allowed."""


class WrongDigest(ModelStoreError):
    """The bytes are not the model that was asked for."""


class StoreFull(ModelStoreError):
    """Held and kept models fill the store, or its disk takes no more: this machine's own failure."""


@dataclass(slots=True)
class _Incoming:
    """A model on its way in, and how it is told to give way to another one.

    `bounty` (ucredit) is that of the job for which it comes, None for one that this machine made.
    """

    size: int
    promise: Promise | None = None
    bounty: int | None = None
    give_way: Callable[[], None] = lambda: None


class ModelStore:
    """Files named by their SHA-256 in one folder (mode 0700). Sizes in bytes. Used by any thread.

    A file that somebody deletes by hand is a model that is not here. One that a disk has damaged is fetched again:
    `is_intact` is asked before this machine votes on or announces a model that has lain here.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or create the store; unfinished files of a crash are removed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: set[bytes] = set()
        self._incoming: dict[Path, _Incoming] = {}  # by their unfinished files
        self._lock = threading.RLock()  # held while nothing waits for a disk or a line, but for names and sizes
        for path in folder.glob("*.part"):
            path.unlink()
        self._promises = Promises(folder)

    def get_path(self, digest: bytes) -> Path | None:
        """Return the file of a model that is here, and mark it as used."""
        path = self._folder / digest.hex()
        with self._lock:
            if not path.is_file():
                return None
            try:
                os.utime(path)
            except FileNotFoundError:
                return None
            return path

    def get_size(self) -> int:
        """Return the bytes in use."""
        return sum(status.st_size for _, status in self._list_models())

    def hold(self, digests: Iterable[bytes]) -> None:
        """Evict none of these until the next call, which names all that are held from then on."""
        with self._lock:
            self._held = set(digests)

    def keep(self, digest: bytes, promise: Promise) -> bool:
        """Keep a model that is here for others, restarts included. Raises StoreFull.

        What is kept for others fills at most half of the store, the rest is for own models and those to check. Returns
        False if the model does not fit into that half beside what matters as much or more.
        """
        with self._lock, _own_disk():
            size = self.find_size(digest)
            if size is None:
                return False
            if not (self._is_kept(digest, size) or self._make_promise_room(size, promise)):
                return False
            self._promises.add(digest, promise, size, time.time())
            return True

    def list_turns(self) -> list[Promise]:
        """Return what is kept, or comes, for turns that were not over when the store was told of them last."""
        with self._lock:
            coming = [entry.promise for entry in self._incoming.values() if entry.promise is not None]
            turns = [promise for promise in coming if promise.need is Need.COMMITTEE]
            return list(dict.fromkeys([*self._promises.list_turns(), *turns]))

    def change(self, promise: Promise, need: Need) -> None:
        """Take in who waits for the model of a turn now, be it here or on its way. Raises StoreFull."""
        with self._lock, _own_disk():
            for coming in self._incoming.values():
                if coming.promise == promise:
                    coming.promise = replace(promise, need=need)
            self._promises.change(promise, need)

    def find_size(self, digest: bytes) -> int | None:
        """Return the size of a model that is here."""
        with suppress(FileNotFoundError):
            return (self._folder / digest.hex()).stat().st_size
        return None

    def is_intact(self, digest: bytes) -> bool:
        """Tell whether a model is here with the bytes that were taken in; it is read whole."""
        try:
            with (self._folder / digest.hex()).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == digest
        except OSError:  # not here, or the disk does not give it
            return False

    def _is_kept(self, digest: bytes, size: int) -> bool:
        return self._promises.find_rank(digest, size, time.time()) is not None

    def _make_promise_room(self, size: int, promise: Promise) -> bool:
        """Take back promises that matter less until one more model fits beside the others; their models may stay."""
        now = time.time()
        kept, rank = self._rank_kept(now, promise), promise.get_rank(size, now)
        free = self._max_bytes // 2 - sum(used for _, used, _ in kept)
        lower = [entry for entry in kept if entry[0] < rank]
        if free + sum(used for _, used, _ in lower) < size:
            return False
        for _, used, give_way in sorted(lower, key=lambda entry: entry[0]):
            if free >= size:
                break
            give_way()
            free += used
        return True

    def _rank_kept(self, now: float, new: Promise) -> list[tuple[Rank, int, Callable[[], None]]]:
        """Return rank and size of what is kept for others or comes to be, and what makes it give way to a new one.

        Of a turn one model counts, the one that is here or the newest upload: with as many uploads as there are
        connections the bounty of one turn would else hold the room of all others. An earlier upload gives way to a new
        one: only the candidate can claim a turn here, and a line of its that broke may seem to be open for long.
        """
        kept: list[tuple[Rank, int, Callable[[], None]]] = []
        for path, status in self._list_models():
            digest = bytes.fromhex(path.name)
            rank = self._promises.find_rank(digest, status.st_size, now)
            if rank is not None:
                kept.append((rank, status.st_size, partial(self._promises.drop, digest)))
        counted = {new.turn, *(promise.turn for promise in self._promises.list_turns())}
        for part, coming in reversed(self._incoming.items()):
            if coming.promise is not None:
                rank = _LEAST if coming.promise.turn in counted else coming.promise.get_rank(coming.size, now)
                kept.append((rank, coming.size, partial(self._stop, part)))
                counted.add(coming.promise.turn)
        return kept

    def _stop(self, part: Path) -> None:
        self._incoming.pop(part).give_way()

    def add_file(self, path: Path, max_bytes: int) -> bytes:
        """Copy a file in and return its digest. Raises ModelTooLarge or StoreFull."""
        with self._receive(_Incoming(path.stat().st_size), max_bytes) as writer, path.open("rb") as source:
            while chunk := source.read(MIB):
                writer.write(chunk)
            writer.finish()
        return writer.digest

    async def add_stream(
        self, chunks: AsyncIterator[bytes], size: int, max_bytes: int, digest: bytes, promise: Promise | None = None,
        bounty: int = 0,
    ) -> None:  # fmt: skip
        """Take in a model of exactly `size` bytes with this digest, and keep it for others if it is promised.

        Raises ModelStoreError; nothing is left then. While it comes it gives way to one that matters more, and raises
        StoreFull: one that is promised as its promise says, any other to that of a job with more `bounty` (ucredit).
        """
        loop = asyncio.get_running_loop()
        worth = bounty if promise is None else promise.bounty
        try:
            async with asyncio.timeout(None) as patience:
                coming = _Incoming(size, promise, worth, lambda: patience.reschedule(loop.time()))
                with self._receive(coming, max_bytes) as writer:
                    async for chunk in chunks:
                        writer.write(chunk)
                    await asyncio.to_thread(writer.finish, digest)  # gigabytes may still be on their way to the disk
        except TimeoutError:
            if not patience.expired():
                raise
            raise StoreFull(_NO_ROOM_TO_CHECK if promise is None else _NO_ROOM_FOR_OTHERS) from None

    @contextmanager
    def _receive(self, coming: _Incoming, max_bytes: int) -> Iterator["_Writer"]:
        """Make room for a model, and take in what the writer has got and finished."""
        if coming.size > max_bytes:
            raise ModelTooLarge(f"the model has {coming.size} bytes, {max_bytes} are allowed")
        part = self._folder / f"{secrets.token_hex(16)}.part"
        with self._lock, _own_disk():
            if coming.promise is not None and not self._make_promise_room(coming.size, coming.promise):
                raise StoreFull(_NO_ROOM_FOR_OTHERS)
            self._make_room(coming)
            self._incoming[part] = coming
        try:
            with _own_disk():
                file = FileIO(part, "xb")  # without a buffer, which would fail once more when it is closed
            with file:
                writer = _Writer(file, coming.size)
                yield writer
            with self._lock, _own_disk():
                self._take_in(part, writer.digest)
        finally:
            with self._lock:
                self._incoming.pop(part, None)
            part.unlink(missing_ok=True)

    def _take_in(self, part: Path, digest: bytes) -> None:
        coming = self._incoming.pop(part, None)
        if coming is None:  # it had to give way in the moment in which it was complete
            raise StoreFull(_NO_ROOM_FOR_OTHERS)
        part.replace(self._folder / digest.hex())
        if coming.promise is not None:
            self._promises.add(digest, coming.promise, coming.size, time.time())

    def _make_room(self, coming: _Incoming) -> None:
        """Evict what is not kept, least recently used first, then what is kept for no turn, the lowest rank first.

        Where that is too little models give way that are on their way to be checked for less bounty.
        """
        size, models = coming.size, self._list_models()
        used = sum(status.st_size for _, status in models) + sum(other.size for other in self._incoming.values())
        now = time.time()
        order = []
        for path, status in models:
            digest = bytes.fromhex(path.name)
            rank = self._promises.find_rank(digest, status.st_size, now)
            if digest not in self._held and (rank is None or rank.need is not Need.COMMITTEE):
                order.append(((rank or (), status.st_mtime), path, status.st_size))
        used -= self._stop_checks(coming, used + size - sum(freed for _, _, freed in order) - self._max_bytes)
        for _, path, freed in sorted(order, key=lambda entry: entry[0]):
            if used + size <= self._max_bytes:
                return
            self._promises.drop(bytes.fromhex(path.name))  # first: after a crash in between it is just not kept
            path.unlink(missing_ok=True)
            used -= freed

    def _stop_checks(self, coming: _Incoming, missing: int) -> int:
        """End what comes to be checked for less bounty until so many bytes are free. Returns them. Raises StoreFull."""
        checks = [entry for entry in self._incoming.items() if entry[1].promise is None]
        worths = [(other.bounty, part, other.size) for part, other in checks if other.bounty is not None]
        lower = [entry for entry in worths if coming.bounty is not None and entry[0] < coming.bounty]
        if missing > sum(size for _, _, size in lower):
            raise StoreFull(f"{coming.size} bytes do not fit: raise models.max_size ({self._max_bytes // MIB} MiB)")
        freed = 0
        for _, part, size in sorted(lower):
            if freed >= missing:
                break
            self._stop(part)
            freed += size
        return freed

    def _list_models(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.iterdir():
            if len(path.name) == 64:
                with suppress(FileNotFoundError):
                    found.append((path, path.stat()))
        return found


@contextmanager
def _own_disk() -> Iterator[None]:
    """Tell failures of this disk from those of where a model comes from."""
    try:
        yield
    except OSError as error:
        raise StoreFull(f"the store cannot be written: {error}") from error


class _Writer:
    """Writes a file while counting and hashing."""

    def __init__(self, file: FileIO, size: int) -> None:
        self._file = file
        self._left = size
        self._hash = hashlib.sha256()
        self.digest = b""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises ModelTooLarge."""
        self._left -= len(chunk)
        if self._left < 0:
            raise ModelTooLarge("the model is larger than it said")
        self._hash.update(chunk)
        with _own_disk():
            while chunk:
                chunk = chunk[self._file.write(chunk) :]

    def finish(self, expected: bytes | None = None) -> None:
        """Check the file and make it durable. Raises WrongDigest."""
        self.digest = self._hash.digest()
        if self._left or (expected is not None and self.digest != expected):
            raise WrongDigest("the bytes are not those of the model's digest and size")
        with _own_disk():
            os.fsync(self._file.fileno())
