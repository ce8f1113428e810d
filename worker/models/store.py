"""A content-addressed store of model files, capped in bytes; what is pinned is never evicted."""

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
    """Pinned models fill the store, or its disk takes no more: this machine's own failure."""


class ModelStore:
    """Files named by their SHA-256 in one folder (mode 0700). Sizes in bytes."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or create the store; unfinished files of a crash are removed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._pins: dict[bytes, set[str]] = {}
        self._incoming: list[int] = []  # bytes of models that are on their way in
        for path in folder.glob("*.part"):
            path.unlink()

    def get_path(self, digest: bytes) -> Path | None:
        """Return the file of a model that is here, and mark it as used."""
        path = self._folder / digest.hex()
        if not path.is_file():
            return None
        os.utime(path)
        return path

    def get_size(self) -> int:
        """Return the bytes in use."""
        return sum(path.stat().st_size for path in self._iter_models())

    def pin(self, digest: bytes, reason: str) -> None:
        """Keep a model for `reason` until it is unpinned."""
        self._pins.setdefault(digest, set()).add(reason)

    def unpin(self, reason: str) -> None:
        """Drop one reason everywhere."""
        for digest in list(self._pins):
            self._pins[digest].discard(reason)
            if not self._pins[digest]:
                del self._pins[digest]

    def keep(self, digest: bytes, seconds: float) -> None:
        """Do not evict a model for so long, restarts included: what a relay has promised."""
        marker = self._folder / f"{digest.hex()}.keep"
        marker.touch()
        until = max(marker.stat().st_mtime, time.time() + seconds)
        os.utime(marker, (until, until))

    def may_promise(self, size: int) -> bool:
        """Tell whether one more model may be kept for others: promises fill at most half of the store.

        The other half stays for own models and those to check, whatever strangers upload.
        """
        kept = sum(path.stat().st_size for path in self._iter_models() if self._is_kept(path))
        return 2 * (kept + sum(self._incoming) + size) <= self._max_bytes

    def _is_kept(self, path: Path) -> bool:
        marker = path.with_suffix(".keep")
        if not marker.exists():
            return False
        if marker.stat().st_mtime > time.time():
            return True
        marker.unlink()
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
        self._make_room(size)
        part = self._folder / f"{secrets.token_hex(16)}.part"
        self._incoming.append(size)
        try:
            with _own_disk():
                file = FileIO(part, "xb")  # without a buffer, which would fail once more when it is closed
            with file:
                writer = _Writer(file, size)
                yield writer
                writer.finish(expected)
            part.replace(self._folder / writer.digest.hex())
        finally:
            self._incoming.remove(size)
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        models = sorted(self._iter_models(), key=lambda path: path.stat().st_mtime)
        used = sum(path.stat().st_size for path in models) + sum(self._incoming)
        for path in models:
            if used + size <= self._max_bytes:
                return
            if bytes.fromhex(path.name) not in self._pins and not self._is_kept(path):
                used -= path.stat().st_size
                path.unlink()
        if used + size > self._max_bytes:
            raise StoreFull(f"{size} bytes do not fit: raise models.max_size ({self._max_bytes // MIB} MiB)")

    def _iter_models(self) -> Iterator[Path]:
        return (path for path in self._folder.iterdir() if len(path.name) == 64)


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
