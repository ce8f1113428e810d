"""Layers as they were fetched: measured before the engine gets them, and remembered, so that none is measured twice."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from worker.sandbox.entries import count_entries
from worker.sandbox.kept import list_by_use, load, write
from worker.sandbox.unpack import LayerError, read_unpacked

MAX_ENTRIES: Final = 1_000_000
"""Files and folders of an image, in all its layers together."""

BLOCK_BYTES: Final = 4096  # of a disk, which an entry fills in part: as much again is reckoned for each
KEPT_COUNTS: Final = 10_000  # of layers; those used longest ago are forgotten


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer unpacks to, which its digest determines."""

    diff_id: str  # sha256 of its tar, as the configuration of an image names it
    size: int  # bytes of its tar
    entries: int

    @property
    def disk_bytes(self) -> int:
        """About what it takes on a disk."""
        return self.size + self.entries * BLOCK_BYTES


def measure_layer(file: BinaryIO, most_bytes: int, most_entries: int, check: Callable[[], None]) -> Layer:
    """Return what a packed layer unpacks to; `check` is called again and again and may end it. Raises LayerError."""
    digest = hashlib.sha256()
    size = 0

    def read() -> Iterator[bytes]:
        nonlocal size
        for chunk in read_unpacked(file):
            check()
            size += len(chunk)
            if size > most_bytes:
                raise LayerError(f"its layers unpack to more than the {most_bytes} bytes that are left for this one")
            digest.update(chunk)
            yield chunk

    entries = count_entries(read(), most_entries)
    return Layer(f"sha256:{digest.hexdigest()}", size, entries)


class Counts:
    """Remembers layers by their digest. What is damaged is not there."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a folder, which is made when it is needed."""
        self._folder = folder

    def get(self, digest: str) -> Layer | None:
        """Return what is known of a layer."""
        words = (load(self._folder, digest) or b"").split()
        try:
            diff_id, size, entries = (word.decode("ascii") for word in words)
            return Layer(diff_id, int(size), int(entries))
        except ValueError:
            return None

    def keep(self, digest: str, layer: Layer) -> None:
        """Remember a layer. Raises OwnFailureError."""
        write(self._folder, digest, f"{layer.diff_id} {layer.size} {layer.entries}\n".encode("ascii"))
        kept = list(list_by_use(self._folder))
        for path in kept[: max(len(kept) - KEPT_COUNTS, 0)]:
            path.unlink(missing_ok=True)
