"""Where a run's inputs lie and its outputs go, and the version of it that mounts loop file systems."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from abci_app.protocol.limits import MIB
from worker.sandbox.artifacts import Artifact, copy_artifact, copy_input
from worker.sandbox.disks import Disk
from worker.sandbox.spec import MACHINE_ID, get_group, get_passwd
from worker.sandbox.types import NoSpaceError, OwnFailureError

INPUT_INODES = 32
OUT_INODES = 1024  # predict and score write one file, train replaces one
STATE_BYTES_PER_INODE = 16_384
STATE_INODES = 4096  # at least
FILES_RESERVE_PART = 20  # of all files that a disk can hold, this part stays free

Mount = dict[str, Any]
Inputs = Mapping[str, bytes | Path]  # name under /lc/in -> content, or a file that is copied


class Workspace(Protocol):
    """The places of one container: read-only inputs, /lc/out, and for train /lc/state."""

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Return the mounts for the container, in the engine's form."""
        ...

    def get_signature(self, container: str, name: str) -> object:
        """Return what changes whenever the file /lc/out/`name` is replaced; None when there is nothing."""
        ...

    def copy_output(self, container: str, name: str, cap: int, into: BinaryIO) -> Artifact:
        """Copy /lc/out/`name` of a dead or frozen container. Raises NoArtifactError, OwnFailureError."""
        ...

    def is_full(self) -> bool:
        """Return whether the program ran into the cap of /lc/out."""
        ...

    def is_over(self, container: str) -> bool:
        """Return whether a running program wrote more than its caps; raises NoSpaceError below the reserve."""
        ...

    def close(self) -> None:
        """Remove all of it, except the state of an attempt."""
        ...


class Storage(Protocol):
    """Makes workspaces."""

    name: str

    def open(self, folder: Path, uid: int, inputs: Inputs, out_bytes: int, state: "State | None" = None) -> Workspace:
        """Make a workspace in `folder`, which must not exist. Raises OwnFailureError, NoSpaceError."""
        ...

    def remove_state(self, folder: Path, attempt: str) -> None:
        """Remove the state that an attempt keeps in `folder`; none is fine."""
        ...


class State:
    """/lc/state of an attempt: where it is kept between the starts."""

    def __init__(self, folder: Path, attempt: str, size: int) -> None:
        self.folder = folder
        self.attempt = attempt
        self.size = size  # bytes


def bind(source: Path, target: str, *, is_writable: bool = False) -> Mount:
    """Return a bind mount of a path of the host."""
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": not is_writable,
        "BindOptions": {"Propagation": "rprivate"},
    }


@contextlib.contextmanager
def disk_failures(folder: Path) -> Iterator[None]:
    """Raise OwnFailureError for what the worker's own disk refuses inside the block."""
    try:
        yield
    except OSError as error:
        raise OwnFailureError(f"{folder} cannot be written: {error.strerror}") from error


def write_inputs(folder: Path, uid: int, inputs: Inputs) -> tuple[Mount, ...]:
    """Write the inputs and the user's files below `folder`, all with time 0, and return their mounts."""
    etc, given = folder / "etc", folder / "in"
    files: dict[Path, bytes | Path] = {given / name: content for name, content in inputs.items()}
    user_files = {"passwd": get_passwd(uid), "group": get_group(uid), "machine-id": MACHINE_ID + "\n"}
    files |= {etc / name: text.encode("ascii") for name, text in user_files.items()}
    etc.mkdir(mode=0o755)
    given.mkdir(mode=0o755)
    for path, content in files.items():
        with path.open("xb") as target:
            copy_input(content, target) if isinstance(content, Path) else target.write(content)
            os.fchmod(target.fileno(), 0o444)
    for path in (*files, etc, given, folder):
        os.utime(path, ns=(0, 0))
    return bind(given, "/lc/in"), *(bind(etc / name, f"/etc/{name}") for name in user_files)


def get_inputs_size(inputs: Inputs) -> int:
    """Return bytes that the inputs need on a disk, with room for the user's files."""
    return sum(_get_size(content) for content in inputs.values()) + MIB


def _get_size(content: bytes | Path) -> int:
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError as error:
        raise OwnFailureError(f"{content} cannot be read: {error.strerror}") from error


def check_space(folder: Path, needed: int, reserve: int, files: int = 0) -> None:
    """Raise NoSpaceError when `needed` bytes on the disk of `folder` would leave less than `reserve`.

    A part of the disk's files stays in reserve too: a small image can hold more empty ones than the whole disk.
    """
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if status.f_files and status.f_favail - files < status.f_files // FILES_RESERVE_PART:  # 0: without a limit
        raise NoSpaceError(
            f"the disk of {folder} has room for {status.f_favail} more files; {files} are needed and "
            f"{status.f_files // FILES_RESERVE_PART} stay in reserve: remove some"
        )
    if free - needed < reserve:
        raise NoSpaceError(
            f"{folder} has {free // MIB} MiB free; {needed // MIB} MiB are needed and {reserve // MIB} MiB stay in "
            "reserve: free some, or lower free_reserve"
        )


def has_space(folder: Path, needed: int, reserve: int, files: int) -> bool:
    """Return whether the disk of `folder` has room; see check_space."""
    with contextlib.suppress(NoSpaceError):
        check_space(folder, needed, reserve, files)
        return True
    return False


class LoopStorage:
    """Workspaces of loop file systems: hard caps in bytes and inodes, and no path of this machine shows inside."""

    name = "loop"

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve

    def open(self, folder: Path, uid: int, inputs: Inputs, out_bytes: int, state: State | None = None) -> Workspace:
        """See Storage."""
        with disk_failures(folder):
            return self._open(folder, uid, inputs, out_bytes, state)

    def _open(self, folder: Path, uid: int, inputs: Inputs, out_bytes: int, state: State | None) -> Workspace:
        state_bytes = state.size if state is not None and not Disk(state.folder, "state").exists() else 0
        folder.mkdir(mode=0o700)
        workspace = LoopWorkspace(folder)
        try:
            check_space(folder, get_inputs_size(inputs) + out_bytes + state_bytes, self._reserve)
            workspace.fill(uid, inputs, out_bytes)
            if state is not None:
                workspace.add_state(uid, state)
        except BaseException:
            workspace.close()
            raise
        return workspace

    def remove_state(self, folder: Path, attempt: str) -> None:
        """See Storage."""
        disk = Disk(folder, "state")
        if disk.exists():
            disk.destroy()


class LoopWorkspace:
    """See Workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disks: list[Disk] = []
        self._state: Disk | None = None
        self._out = folder / "out"
        self.mounts: tuple[Mount, ...] = ()

    def fill(self, uid: int, inputs: Inputs, out_bytes: int) -> None:
        """Make the disks of inputs and outputs."""
        given = Disk(self._folder, "given")
        self._disks.append(given)
        given.create(get_inputs_size(inputs), INPUT_INODES, 0)
        mounts = write_inputs(given.path, uid, inputs)
        given.make_read_only()
        out = Disk(self._folder, "out")
        self._disks.append(out)
        out.create(out_bytes, OUT_INODES, uid)
        self.mounts = (*mounts, bind(out.path, "/lc/out", is_writable=True))

    def add_state(self, uid: int, state: State) -> None:
        """Mount the attempt's state, made at its first start. No container of the attempt runs."""
        self._state = Disk(state.folder, "state")
        self._state.unmount()  # a killed worker may have left it mounted
        if self._state.exists() and self._state.is_sound():
            self._state.mount()
        else:
            self._state.destroy()
            self._state.create(state.size, max(STATE_INODES, state.size // STATE_BYTES_PER_INODE), uid)
        self.mounts += (bind(self._state.path, "/lc/state", is_writable=True),)

    def get_signature(self, container: str, name: str) -> object:
        """See Workspace."""
        try:
            status = os.lstat(self._out / name)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def copy_output(self, container: str, name: str, cap: int, into: BinaryIO) -> Artifact:
        """See Workspace."""
        return copy_artifact(self._out / name, cap, into)

    def is_full(self) -> bool:
        """See Workspace."""
        return self._disks[-1].is_full()

    def is_over(self, container: str) -> bool:
        """Return False: the file systems hold the caps by themselves."""
        return False

    def close(self) -> None:
        """See Workspace."""
        if self._state is not None:
            self._state.unmount()
        for disk in self._disks:
            disk.destroy()
        shutil.rmtree(self._folder)
