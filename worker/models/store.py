"""A content-addressed store of model files, capped in bytes; what is held or promised is never evicted."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from abci_app.protocol.limits import MIB


class ModelStoreError(Exception):
    """A model cannot be taken in; the text says why."""


class ModelTooLarge(ModelStoreError):
    """More bytes than allowed."""


class WrongDigest(ModelStoreError):
    """The bytes are not the model that was asked for."""


class StoreFull(ModelStoreError):
    """Held and promised models fill the store, or its disk takes no more: this machine's own failure."""


class ModelStore:
    """Files named by their SHA-256 in one folder (mode 0700). Sizes in bytes. Used by any thread.

    A file that somebody deletes by hand is a model that is not here.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or create the store; unfinished files of a crash are removed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: set[bytes] = set()
        self._incoming: dict[Path, int] = {}  # bytes of models that are on their way in, by their unfinished files
        self._lock = threading.RLock()  # held while nothing waits for a disk or a line, but for names and sizes
        for path in folder.glob("*.part"):
            path.unlink()

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

    def keep(self, digest: bytes, seconds: float) -> None:
        """Do not evict a model for so long, restarts included: what a relay has promised. Raises StoreFull."""
        marker = self._folder / f"{digest.hex()}.keep"
        with self._lock, _own_disk():
            marker.touch()
            until = max(marker.stat().st_mtime, time.time() + seconds)
            os.utime(marker, (until, until))

    def may_promise(self, size: int) -> bool:
        """Tell whether one more model may be kept for others: promises fill at most half of the store.

        The other half stays for own models and those to check, whatever strangers upload.
        """
        with self._lock:
            kept = sum(status.st_size for path, status in self._list_models() if self._is_kept(path))
            return 2 * (kept + sum(self._incoming.values()) + size) <= self._max_bytes

    def _is_kept(self, path: Path) -> bool:
        marker = path.with_suffix(".keep")
        try:
            if marker.stat().st_mtime > time.time():
                return True
        except FileNotFoundError:
            return False
        marker.unlink(missing_ok=True)
        return False

    def add_file(self, path: Path, max_bytes: int) -> bytes:
        """Copy a file in and return its digest. Raises ModelTooLarge or StoreFull."""
        with self._receive(path.stat().st_size, max_bytes) as writer, path.open("rb") as source:
            while chunk := source.read(MIB):
                writer.write(chunk)
        return writer.digest

    async def add_stream(self, chunks: AsyncIterator[bytes], size: int, max_bytes: int, digest: bytes) -> None:
        """Take in a model of exactly `size` bytes with this digest. Raises ModelStoreError; nothing is left then."""
        with self._receive(size, max_bytes, digest) as writer:
            async for chunk in chunks:
                writer.write(chunk)

    @contextmanager
    def _receive(self, size: int, max_bytes: int, expected: bytes | None = None) -> Iterator["_Writer"]:
        if size > max_bytes:
            raise ModelTooLarge(f"the model has {size} bytes, {max_bytes} are allowed")
        part = self._folder / f"{secrets.token_hex(16)}.part"
        with self._lock:
            self._make_room(size)
            self._incoming[part] = size
        try:
            with _own_disk():
                file = FileIO(part, "xb")  # without a buffer, which would fail once more when it is closed
            with file:
                writer = _Writer(file, size)
                yield writer
                writer.finish(expected)
            with self._lock, _own_disk():
                part.replace(self._folder / writer.digest.hex())
                del self._incoming[part]
        finally:
            with self._lock:
                self._incoming.pop(part, None)
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        models = sorted(self._list_models(), key=lambda model: model[1].st_mtime)
        used = sum(status.st_size for _, status in models) + sum(self._incoming.values())
        for path, status in models:
            if used + size <= self._max_bytes:
                return
            if bytes.fromhex(path.name) not in self._held and not self._is_kept(path):
                used -= status.st_size
                path.unlink(missing_ok=True)
        if used + size > self._max_bytes:
            raise StoreFull(f"{size} bytes do not fit: raise models.max_size ({self._max_bytes // MIB} MiB)")

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

    def finish(self, expected: bytes | None) -> None:
        """Make the file durable and check it. Raises WrongDigest."""
        self.digest = self._hash.digest()
        if self._left or (expected is not None and self.digest != expected):
            raise WrongDigest("the bytes are not those of the model's digest and size")
        with _own_disk():
            os.fsync(self._file.fileno())
