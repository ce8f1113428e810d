"""What only a store on a disk can get wrong."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from abci_app.store import lmdb_store
from abci_app.store.interface import HeightNotHeldError, StoreError, stage
from abci_app.store.lmdb_store import LmdbStore
from tests.store.test_store import commit, fill, stage_next
from tests.support.trees import compute_app_hash

SMALL_MAP = 1 << 20
"""Bytes; the smallest map in which a few blocks fit."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "state"  # neither is there yet


def test_what_was_committed_is_there_after_a_restart(folder: Path) -> None:
    store = LmdbStore(folder)
    app_hash = commit(store, {b"a1": b"one", b"j1": b"job"}, {b"d1": b"x"})
    meta = store.meta
    store.close()
    store = LmdbStore(folder)
    assert store.meta == meta
    assert list(store.records()) == [(b"a1", b"one"), (b"j1", b"job")]
    assert list(store.scan(b"d", b"e")) == [(b"d1", b"x")]
    assert commit(store, {}) == app_hash
    assert store.heights() == (1, 2)
    store.close()


def test_after_a_restart_only_the_last_height_is_held(folder: Path) -> None:
    store = LmdbStore(folder)
    commit(store, {b"a1": b"x"})
    commit(store, {b"a1": b"y"})
    store.close()
    store = LmdbStore(folder)
    assert store.heights() == (2,)
    with pytest.raises(HeightNotHeldError, match="the state of height 1 is not held; heights that are: 2"):
        store.view(1).__enter__()
    store.close()


def test_only_the_owner_can_read_the_files(folder: Path) -> None:
    LmdbStore(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"data.mdb": 0o600, "lock.mdb": 0o600, "lock": 0o600}


def test_a_store_in_use_is_refused_and_names_the_process(folder: Path) -> None:
    store = LmdbStore(folder)
    files = os.listdir("/proc/self/fd")
    with pytest.raises(StoreError, match=f"is in use by process {os.getpid()}: stop that node"):
        LmdbStore(folder)
    assert os.listdir("/proc/self/fd") == files
    store.close()
    LmdbStore(folder).close()


def test_a_second_process_is_refused(folder: Path) -> None:
    store = LmdbStore(folder)
    code = (
        f"from pathlib import Path\nfrom abci_app.store.lmdb_store import LmdbStore\nLmdbStore(Path({str(folder)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"is in use by process {os.getpid()}" in result.stderr
    store.close()


@pytest.mark.parametrize(("version", "words"), [(1, "run the older version"), (3, "run the newer version")])
def test_another_layout_is_refused(folder: Path, version: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "SCHEMA_VERSION", version)
    LmdbStore(folder).close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"has layout {version}, this version of the node reads 2: {words}") as refusal:
        LmdbStore(folder)
    monkeypatch.setattr(lmdb_store, "SCHEMA_VERSION", version)
    LmdbStore(folder).close()  # nothing stayed open, though its traceback is kept
    assert refusal.value.__traceback__ is not None


def test_a_full_disk_at_the_start_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        with pytest.raises(StoreError, match="cannot be locked: No space left on device; check free space"):
            LmdbStore(folder)
    LmdbStore(folder).close()


@pytest.mark.parametrize("pages", [2, 3])
def test_a_disk_that_is_full_before_anything_is_stored_damages_nothing(folder: Path, pages: int) -> None:
    with (
        disk_of(pages * os.sysconf("SC_PAGESIZE")),
        pytest.raises(StoreError, match=r"could not be made: .*make room and start the node again"),
    ):
        LmdbStore(folder)
    LmdbStore(folder).close()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be opened: .*check path and owner"):
        LmdbStore(tmp_path / "file" / "state")


def test_a_full_map_grows(folder: Path) -> None:
    store = LmdbStore(folder, map_bytes=SMALL_MAP)
    fill(store, 1)
    with store.view(1) as view:
        for height in range(2, 30):
            fill(store, height, 100 * height)
        assert (folder / "data.mdb").stat().st_size > 2 * SMALL_MAP
        with pytest.raises(HeightNotHeldError):
            view.get(b"a1")
    records = dict(store.records())
    assert len(records) == 2_900
    assert store.meta.app_hash == compute_app_hash(records)
    assert store.heights() == (28, 29)
    store.close()
    store = LmdbStore(folder, map_bytes=SMALL_MAP)  # smaller than what is stored
    fill(store, 30)
    assert store.meta.height == 30
    store.close()


def test_the_state_before_stays_readable_when_the_map_grows(folder: Path) -> None:
    store = LmdbStore(folder, map_bytes=SMALL_MAP)
    fill(store, 1)
    big = stage_next(store, {b"j%d" % number: b"x" * 1_000 for number in range(5_000)})
    with store.view(1) as view:
        store.commit(big)
        assert view.get(b"a7") == b"1 " * 100
    assert store.heights() == (1, 2)
    store.close()


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let files grow to `size` bytes only: a write beyond fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_on_the_disk_nothing_is_lost(folder: Path) -> None:
    store = LmdbStore(folder)
    fill(store, 1)
    before, records = store.meta, list(store.records())
    block = stage_next(store, {b"j%d" % number: b"x" * 1_000 for number in range(5_000)})
    with disk_of((folder / "data.mdb").stat().st_size), pytest.raises(StoreError, match=r"block 2 .*make room"):
        store.commit(block)
    assert store.meta == before
    assert list(store.records()) == records
    store.close()
    store = LmdbStore(folder)
    assert store.meta == before
    assert list(store.records()) == records
    store.commit(stage_next(store, {b"j1": b"x"}))
    assert store.meta.height == 2
    store.close()


ADDRESS_SPACE = """
import resource, sys
from pathlib import Path
from abci_app.store.interface import StoreError
from abci_app.store.lmdb_store import LmdbStore
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    LmdbStore(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_limit_of_address_space_is_named(folder: Path) -> None:
    argv = [sys.executable, "-c", ADDRESS_SPACE, str(folder)]
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "ulimit -v unlimited" in result.stdout


WRITER = """
import sys
from pathlib import Path
from abci_app.store.interface import stage
from abci_app.store.lmdb_store import LmdbStore
store = LmdbStore(Path(sys.argv[1]))
for height in range(store.meta.height + 1, 1_000_000):
    records = {b"a%d" % (height * 7 % 5_000 + n): b"%d" % height for n in range(200)}
    store.commit(stage(store, records, {}, height=height, time_ms=height, chain_id="test", chain_tag=b""))
    print(height, flush=True)
"""


def test_a_killed_process_leaves_a_whole_block(folder: Path) -> None:
    last = 0
    for lines in (3, 40, 7, 21):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(lines):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        store = LmdbStore(folder)
        assert store.meta.height in (last, last + 1)
        assert store.meta.app_hash == compute_app_hash(dict(store.records()))
        last = store.meta.height
        store.close()


def test_readers_in_other_threads_never_see_half_a_block(folder: Path) -> None:
    store = LmdbStore(folder, map_bytes=SMALL_MAP)
    fill(store, 1)
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                with store.view(store.heights()[0]) as view:
                    seen = {value for _, value in view.records(b"a")}
                    if seen != {b"%d " % view.meta.height * 100}:
                        failures.append(f"{view.meta.height}: {len(seen)} values")
                    if store.get(b"a0") is None or len({value for _, value in store.records(b"a")}) != 1:
                        failures.append("the store's own reads are torn")
            except HeightNotHeldError:  # two commits came in between, or the map grew: ask again
                continue

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for height in range(2, 60):
        fill(store, height)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    store.close()


def test_a_scan_of_the_store_itself_goes_on_at_the_height_at_which_it_began(folder: Path) -> None:
    store = LmdbStore(folder)
    commit(store, {b"a1": b"x"}, {b"d%04d" % number: b"" for number in range(1_000)})
    entries = store.scan(b"d", b"e")
    assert next(entries) == (b"d0000", b"")
    for height in range(2, 6):
        commit(store, {b"a1": b"%d " % height * 100}, {b"d0%03d" % number: None for number in range(500)})
    assert len(list(entries)) == 999
    assert len(list(store.scan(b"d", b"e"))) == 500
    assert store.get(b"a1") == b"5 " * 100
    store.close()


def test_a_write_from_another_thread_than_the_one_that_staged_works(folder: Path) -> None:
    """gRPC answers FinalizeBlock and Commit from different threads."""
    store = LmdbStore(folder)
    for height in range(1, 6):
        block = stage(store, {b"a1": b"%d" % height}, {}, height=height, time_ms=1, chain_id="test", chain_tag=b"")
        thread = threading.Thread(target=store.commit, args=(block,))
        thread.start()
        thread.join()
    assert store.get(b"a1") == b"5"
    store.close()


def test_the_file_stops_growing_when_the_state_does(folder: Path) -> None:
    """Pages that no pinned height needs any more are written again."""
    store = LmdbStore(folder)
    for height in range(1, 50):
        fill(store, height)
    size = (folder / "data.mdb").stat().st_size
    for height in range(50, 300):
        fill(store, height)
    assert (folder / "data.mdb").stat().st_size < 1.5 * size
    store.close()


def test_lmdb_syncs_every_commit(folder: Path) -> None:
    store = LmdbStore(folder)
    flags = store._environment.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    store.close()
    assert lmdb.version() >= (0, 9, 24)
