"""Takes one file out of a place that an untrusted program wrote to: opaque bytes, capped, hashed."""

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from worker.sandbox.types import NoSpaceError, OwnFailureError

CHUNK = 1 << 20


class NoArtifactError(Exception):
    """There is no such file, or what is there is no regular file: the program wrote nothing that counts."""


class ArtifactTooLargeError(NoArtifactError):
    """The file is larger than its cap."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was copied."""

    digest: bytes  # SHA-256
    size: int  # bytes


def copy_artifact(path: Path, cap: int, into: BinaryIO) -> Artifact:
    """Copy the regular file `path` of at most `cap` bytes to `into`. Raises NoArtifactError, NoSpaceError.

    The last component of the path is the program's: a link is not followed, a FIFO or a write lease does not block.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NoArtifactError(f"{path.name} cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NoArtifactError(f"{path.name} is not a regular file")
        if status.st_size > cap:
            raise ArtifactTooLargeError(f"{path.name} is larger than {cap} bytes")
        with open(descriptor, "rb", buffering=0, closefd=False) as source:
            return _copy(source, path.name, cap, into)
    finally:
        os.close(descriptor)


def copy_archived(stream: Iterator[bytes], name: str, cap: int, into: BinaryIO) -> Artifact:
    """Copy the one regular file in the tar `stream` that the engine made of a path. Raises like copy_artifact."""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Reader(stream)), mode="r|") as archive:
            member = archive.next()
            source = archive.extractfile(member) if member is not None and member.isreg() else None
            if member is None or source is None or member.sparse is not None:
                raise NoArtifactError(f"{name} is not a regular file")
            if member.size > cap:
                raise ArtifactTooLargeError(f"{name} is larger than {cap} bytes")
            return _copy(source, name, cap, into)
    except tarfile.TarError as error:
        raise OwnFailureError(f"the engine's archive of {name} is damaged: {error}") from error


def copy_input(path: Path, into: BinaryIO) -> Artifact:
    """Copy a file of this worker. Raises OwnFailureError, NoSpaceError."""
    try:
        with path.open("rb", buffering=0) as source:
            return _copy(source, path.name, os.fstat(source.fileno()).st_size, into)
    except OSError as error:
        raise OwnFailureError(f"{path} cannot be read: {error.strerror}") from error


class _Source(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class _Reader:
    """File-like view of a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; empty at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _copy(source: _Source, name: str, cap: int, into: BinaryIO) -> Artifact:
    digest, size = hashlib.sha256(), 0
    try:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > cap:  # it grew after the look at its size
                raise ArtifactTooLargeError(f"{name} is larger than {cap} bytes")
            digest.update(chunk)
            into.write(chunk)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError("no space left on the worker's disk: free some, or move the worker's home") from error
        raise OwnFailureError(f"{name} cannot be copied: {error.strerror}") from error
    return Artifact(digest.digest(), size)
