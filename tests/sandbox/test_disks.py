"""Loop file systems and what is read from them."""

import contextlib
import errno
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from abci_app.protocol.limits import MIB
from tests.sandbox.support import list_mounts
from worker.sandbox.artifacts import ArtifactTooLargeError, NoArtifactError, copy_archived, copy_artifact
from worker.sandbox.disks import Disk, find_mounts
from worker.sandbox.storage import LoopStorage, State, check_space
from worker.sandbox.types import NoSpaceError, OwnFailureError

UID = 34_567


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path, "disk")
    disk.create(8 * MIB, 64, UID)
    yield disk
    disk.destroy()


def _fill(path: Path) -> int:
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\1" * MIB)
            except OSError as error:
                return os.fstat(file.fileno()).st_size if error.errno == errno.ENOSPC else 0


def test_a_disk_holds_its_size_and_little_more(disk: Disk) -> None:
    assert not disk.is_full()
    size = _fill(disk.path / "x")
    assert 8 * MIB <= size <= 12 * MIB
    assert disk.is_full()


def test_a_disk_holds_so_many_files(disk: Disk) -> None:
    made = 0
    with contextlib.suppress(OSError):
        for made in range(200):
            (disk.path / str(made)).touch()
    assert 40 <= made <= 64
    assert disk.is_full()


def test_a_disk_is_empty_and_belongs_to_its_uid(disk: Disk) -> None:
    assert list(disk.path.iterdir()) == []
    assert disk.path.stat().st_uid == UID
    flags = os.statvfs(disk.path).f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV


def test_its_space_is_taken_from_the_host_at_once(disk: Disk, tmp_path: Path) -> None:
    """A host that fills up later does not fail a program that stays within its cap."""
    status = (tmp_path / "disk.img").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_nobody_writes_to_a_read_only_disk(disk: Disk) -> None:
    disk.make_read_only()
    with pytest.raises(OSError, match="Read-only"):
        (disk.path / "x").touch()


def test_mounts_are_found_and_gone_after_destruction(tmp_path: Path) -> None:
    disk = Disk(tmp_path, "disk with space")
    disk.create(MIB, 16, UID)
    assert find_mounts(tmp_path) == [disk.path]
    disk.destroy()
    assert find_mounts(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_fit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    storage = LoopStorage(reserve=MIB)
    with pytest.raises(NoSpaceError, match="MiB are needed"):
        storage.open(tmp_path / "run", UID, {}, 1 << 50)
    with pytest.raises(NoSpaceError):
        Disk(tmp_path, "disk").create(1 << 50, 16, UID)
    assert list(tmp_path.iterdir()) == []
    assert list_mounts(tmp_path) == []


def test_the_reserve_stays_free(tmp_path: Path) -> None:
    check_space(tmp_path, 0, 0)
    with pytest.raises(NoSpaceError, match="in reserve"):
        check_space(tmp_path, 0, 1 << 60)


def test_a_damaged_state_is_made_anew(tmp_path: Path) -> None:
    state = State(tmp_path, "aa" * 8, MIB)
    (tmp_path / "state.img").write_bytes(b"not a file system" * 10_000)
    workspace = LoopStorage(reserve=0).open(tmp_path / "run", UID, {}, MIB, state)
    assert list((tmp_path / "state").iterdir()) == []
    workspace.close()
    LoopStorage(reserve=0).remove_state(tmp_path, "aa" * 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_file_within_its_cap_is_copied(tmp_path: Path, size: int) -> None:
    path, into = tmp_path / "model", io.BytesIO()
    path.write_bytes(b"m" * size)
    assert copy_artifact(path, 10, into).size == size
    assert into.getvalue() == b"m" * size
    assert copy_archived(_tar(path), "model", 10, io.BytesIO()).size == size


def test_anything_else_is_no_artifact(tmp_path: Path) -> None:
    """A FIFO without a writer would block for ever."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "device", 0o600 | 0o020000, os.makedev(1, 5))
    for name in ("link", "folder", "fifo", "device"):
        with pytest.raises(NoArtifactError):
            copy_artifact(tmp_path / name, 10, io.BytesIO())
        with pytest.raises(NoArtifactError):
            copy_archived(_tar(tmp_path / name), name, 10, io.BytesIO())
    with pytest.raises(NoArtifactError):
        copy_artifact(tmp_path / "nothing", 10, io.BytesIO())


def test_a_file_beyond_its_cap_is_none(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"m" * 11)
    with pytest.raises(ArtifactTooLargeError):
        copy_artifact(path, 10, io.BytesIO())
    with pytest.raises(ArtifactTooLargeError):
        copy_archived(_tar(path), "model", 10, io.BytesIO())


def test_a_damaged_archive_is_the_engines_failure() -> None:
    with pytest.raises(OwnFailureError, match="damaged"):
        copy_archived(iter([b"no tar" * 200]), "model", 10, io.BytesIO())


def _tar(path: Path) -> Iterator[bytes]:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(path, arcname=path.name)
    data = content.getvalue()
    return (data[start : start + 100] for start in range(0, len(data), 100))
