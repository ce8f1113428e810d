"""Layers from a registry to files, in bounded time and space, and no other bytes than those of their digests.

The worker fetches them and not the engine. That one asks for a layer once, whichever of its images wants it, and waits
without end for a registry that never answers: a hostile registry would keep the images of others away.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from worker.sandbox.registry import Registry
from worker.sandbox.types import BrokenImageError, OwnFailureError, RegistryError

PACE_SECONDS: Final = 60.0
LEAST_BYTES_PER_SECOND: Final = 32 << 10


def fetch_layer(
    registry: Registry, digest: str, size: int, path: Path, seconds: float, check: Callable[[int], None]
) -> None:
    """Write a layer to `path`.

    `check` is told again and again how many bytes are there, and stops it by raising OwnFailureError.

    Raises RegistryError when the registry does not give it within `seconds`, is too slow or gives other bytes,
    BrokenImageError when it has fewer than the `size` bytes of the manifest, OwnFailureError when the disk fails.
    """
    with LayerCopy(path, size) as copy:
        pace = Pace()

        def check_all() -> None:
            check(copy.size)
            pace.check(copy.size)

        if size:
            registry.copy_blob(digest, copy, seconds, check_all)
        if copy.digest != digest:
            raise RegistryError(f"the registry gives other bytes than those of {digest}")
        if copy.size < size:
            raise BrokenImageError(f"layer {digest} has {copy.size} bytes and not the {size} of its manifest")


class LayerCopy:
    """The file that a layer is copied to, at most `most` bytes. See worker.sandbox.registry.Target."""

    def __init__(self, path: Path, most: int) -> None:
        """Make the file. Raises OwnFailureError."""
        self._path = path
        self._most = most
        self._hash = hashlib.sha256()
        self.size = 0
        """Bytes that are there."""
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise self._get_failure(error) from error

    def __enter__(self) -> "LayerCopy":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise self._get_failure(error) from error

    @property
    def digest(self) -> str:
        """Return the digest of what is there."""
        return f"sha256:{self._hash.hexdigest()}"

    def get_headers(self) -> dict[str, str]:
        """Ask for what is missing: a line that breaks costs only what it had not brought yet."""
        return {"Range": f"bytes={self.size}-"} if self.size else {}

    def begin(self, status: int) -> None:
        """Go on with a part, begin anew with everything else."""
        if status != 206 and self.size:
            self._file.seek(0)
            self._file.truncate()
            self._hash, self.size = hashlib.sha256(), 0

    def take(self, chunk: bytes) -> bool:
        """Write the next bytes; False once there are as many as there may be."""
        chunk = chunk[: self._most - self.size]
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._get_failure(error) from error
        self._hash.update(chunk)
        self.size += len(chunk)
        return self.size < self._most

    def _get_failure(self, error: OSError) -> OwnFailureError:
        return OwnFailureError(f"{self._path} cannot be written: {error.strerror}")


class Pace:
    """Tells a registry that drips from one that gives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """The first period begins now."""
        self._clock = clock
        self._since = clock()
        self._at_first = 0  # bytes that had come then

    def check(self, total: int) -> None:
        """Raise RegistryError if less came in the last PACE_SECONDS than LEAST_BYTES_PER_SECOND makes of them."""
        now = self._clock()
        if total - self._at_first >= PACE_SECONDS * LEAST_BYTES_PER_SECOND or total < self._at_first:
            self._since, self._at_first = now, total
        elif now - self._since > PACE_SECONDS:
            raise RegistryError(
                f"the registry gives less than {LEAST_BYTES_PER_SECOND >> 10} KiB/s: {total} bytes of a layer are here"
            )
