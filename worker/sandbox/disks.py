"""File systems of an exact size in a file, mounted through a loop device: the hard caps of what a container writes."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

from abci_app.protocol.limits import MIB
from worker.sandbox.types import NoSpaceError, OwnFailureError

TOOL_SECONDS = 120  # mkfs of a large disk on a busy machine
INODE_BYTES = 256
BLOCK_BYTES = 4096
FULL_BYTES = 2 * MIB  # less than this (or a quarter) free: a large write fails, the program ran into the cap
_SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # a user's PATH lacks the tools' folders


class Disk:
    """A mounted loop file system. Its file is allocated at once, so the host's disk never fails the program."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.img"
        self._unfinished = folder / f"{name}.new"
        self.path = folder / name

    def exists(self) -> bool:
        """Return whether its file is there."""
        return self._file.exists()

    def create(self, size: int, inodes: int, uid: int) -> None:
        """Make a file system with room for `size` bytes, owned by `uid`, and mount it nodev, nosuid."""
        self._unfinished.unlink(missing_ok=True)
        self._allocate(_get_file_size(size, inodes))
        self._make(inodes, uid)
        self._unfinished.rename(self._file)
        self.mount()
        (self.path / "lost+found").rmdir()

    def mount(self) -> None:
        """Mount the file system writable."""
        self.path.mkdir(mode=0o755, exist_ok=True)
        _run("mount", "-t", "ext4", "-o", "loop,nodev,nosuid", str(self._file), str(self.path))

    def is_sound(self) -> bool:
        """Return whether an unmounted file system is whole, after repair: without a journal a power cut may hurt it."""
        try:
            _run("e2fsck", "-p", str(self._file), good=(0, 1))
        except OwnFailureError:
            return False
        return True

    def make_read_only(self) -> None:
        """Let nobody, root included, write from now on."""
        _run("mount", "-o", "remount,ro", str(self.path))

    def is_full(self) -> bool:
        """Return whether no more bytes or files fit."""
        status = os.statvfs(self.path)
        nearly_nothing = min(FULL_BYTES, status.f_blocks * status.f_frsize // 4)
        return status.f_bavail * status.f_frsize < nearly_nothing or status.f_ffree == 0

    def unmount(self) -> None:
        """Unmount, also while something still holds it; the file stays."""
        if self.path.exists():
            unmount(self.path)
            self.path.rmdir()

    def destroy(self) -> None:
        """Unmount and delete: constant time whatever it holds. One that was made in part only is fine."""
        self.unmount()
        self._file.unlink(missing_ok=True)
        self._unfinished.unlink(missing_ok=True)

    def _allocate(self, size: int) -> None:
        descriptor = os.open(self._unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            self._unfinished.unlink()
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise NoSpaceError(f"no space for a work disk of {size // MIB} MiB in {self._file.parent}") from error
            raise OwnFailureError(f"cannot make a work disk in {self._file.parent}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _make(self, inodes: int, uid: int) -> None:
        """Make the file system: no journal (it is never recovered), no discard (it would free the allocation)."""
        _run(
            *("mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), "-I", str(INODE_BYTES), "-N", str(inodes), "-m", "0"),
            *("-O", "^has_journal,^resize_inode", "-E", f"nodiscard,lazy_itable_init=1,root_owner={uid}:{uid}"),
            str(self._unfinished),
        )


def _get_file_size(size: int, inodes: int) -> int:
    """Return bytes of a file whose file system has room for `size`: bitmaps, extents and inode tables come on top."""
    total = size + size // 64 + inodes * INODE_BYTES + 2 * MIB
    return -(-total // MIB) * MIB


def unmount(path: Path) -> None:
    """Unmount `path` if it is mounted, lazily when something holds it."""
    if not os.path.ismount(path):
        return
    try:
        _run("umount", str(path))
    except OwnFailureError:
        _run("umount", "--lazy", str(path))


def find_mounts(folder: Path) -> list[Path]:
    """Return what is mounted below `folder`, deepest first."""
    below = f"{folder.resolve()}{os.sep}"
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [_unescape(line.split(" ")[4]) for line in lines]
    return [Path(point) for point in sorted(points, reverse=True) if point.startswith(below)]


def check_tools() -> None:
    """Raise OwnFailureError when a program that disks need is not installed."""
    for tool in ("mkfs.ext4", "e2fsck", "mount", "umount"):
        _find(tool)


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _find(tool: str) -> str:
    path = shutil.which(tool, path=_SEARCH)
    if path is None:
        raise OwnFailureError(f"{tool} is not installed: apt-get install e2fsprogs mount")
    return path


def _run(tool: str, *arguments: str, good: tuple[int, ...] = (0,)) -> None:
    """Run a tool to its end. Raises OwnFailureError unless its exit status is a good one."""
    command = [_find(tool), *arguments]
    try:
        ended = subprocess.run(
            command, check=False, capture_output=True, timeout=TOOL_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OwnFailureError(f"{tool} failed: {error}") from error
    if ended.returncode not in good:
        words = ended.stderr.decode("utf-8", "replace").strip()
        raise OwnFailureError(f"{tool} failed: {words or f'exit status {ended.returncode}'}")
