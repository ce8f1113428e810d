"""Files that are named by a digest and kept until there are too many; their time is that of their last use."""

import contextlib
import os
import threading
from pathlib import Path

from worker.sandbox.processes import get_process_name, is_alive
from worker.sandbox.types import OwnFailureError

MANIFESTS, IMAGES, LAYERS = FOLDERS = ("manifests", "images", "layers")
"""Where in a worker's home they lie."""


def get_path(folder: Path, digest: str) -> Path:
    """Return where the content with a digest lies."""
    return folder / digest.removeprefix("sha256:")


def load(folder: Path, digest: str) -> bytes | None:
    """Return content that was kept, which counts as a use; None if it was not."""
    path = get_path(folder, digest)
    try:
        content = path.read_bytes()
        os.utime(path)
    except FileNotFoundError:
        return None
    return content


def write(folder: Path, digest: str, content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever breaks meanwhile. Raises OwnFailureError."""
    path = get_path(folder, digest)
    part = path.with_name(f"{path.name}.{get_process_name()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error says what is wrong
            part.unlink()
        raise OwnFailureError(f"{path} cannot be written: {error.strerror}") from error


def remove_parts(folder: Path) -> None:
    """Remove what processes were writing when they were killed; nothing else counts it, and nobody would remove it."""
    for part in folder.glob("*.*.*"):
        if not is_alive(part.name.split(".")[1]):
            part.unlink(missing_ok=True)


def list_by_use(folder: Path) -> dict[Path, int]:
    """Return the kept files with their sizes, the one not used for longest first."""
    found: list[tuple[float, Path, int]] = []
    for path in folder.glob("[0-9a-f]" * 64):
        with contextlib.suppress(FileNotFoundError):  # another thread removed it
            status = path.stat()
            found.append((status.st_mtime, path, status.st_size))
    return {path: size for _, path, size in sorted(found)}
