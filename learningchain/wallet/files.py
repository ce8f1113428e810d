"""Private files: folder 0700, file 0600, replaced atomically, never through a link."""

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
MAX_FILE_BYTES: Final = 1 << 20


class FileError(Exception):
    """A file is not one that this program would have written."""


def make_private_folder(folder: Path) -> None:
    """Make a folder of mode 0700, missing parents too. Raises FileError if others may enter an existing one."""
    for missing in reversed([parent for parent in folder.parents if not parent.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise FileError(f"{folder} is open to other users: run chmod 700 {folder}")


def read_private(path: Path) -> bytes:
    """Return the content of a private file. Raises FileError for links, other kinds of file and open modes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileError("it is a symbolic link: put the file itself there") from None
        raise
    with open(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise FileError("it is not a regular file")
        if stat.S_IMODE(info.st_mode) & 0o077:
            raise FileError(f"other users may read it: run chmod 600 {path}")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileError(f"it has more than {MAX_FILE_BYTES} bytes")
    return data


def write_private(path: Path, data: bytes, overwrite: bool) -> None:
    """Write a file of mode 0600 so that a crash leaves the old or the new one, whole and on disk.

    Raises FileExistsError if it exists and may not be overwritten.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    except OSError as error:
        if error.filename is None:  # of a write: whoever is told that a disk is full should know where
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
