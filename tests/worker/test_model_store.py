import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import pytest

from tests.worker.claims import make_kept
from worker.models.keeping import Need
from worker.models.store import ModelStore, ModelTooLarge, StoreFull, WrongDigest, _Writer


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def add(store: ModelStore, tmp_path: Path, data: bytes) -> bytes:
    path = tmp_path / "incoming"
    path.write_bytes(data)
    return store.add_file(path, 1_000)


def names(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()}


def test_a_model_is_kept_under_its_digest(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 100)
    digest = add(store, tmp_path, b"model")
    path = store.get_path(digest)
    assert digest == digest_of(b"model")
    assert path is not None
    assert path.read_bytes() == b"model"
    assert store.get_path(digest_of(b"other")) is None


def test_a_stream_with_the_wrong_bytes_leaves_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 100)
    with pytest.raises(WrongDigest):
        asyncio.run(store.add_stream(chunks(b"mod", b"em"), 5, 10, digest_of(b"model")))
    with pytest.raises(WrongDigest):
        asyncio.run(store.add_stream(chunks(b"mod"), 5, 10, digest_of(b"model")))
    with pytest.raises(WrongDigest):  # a Reveal may tell a larger size: all checkers have to find that nobody has it
        asyncio.run(store.add_stream(chunks(b"mod", b"el"), 6, 10, digest_of(b"model")))
    with pytest.raises(ModelTooLarge):
        asyncio.run(store.add_stream(chunks(b"mod", b"els"), 5, 10, digest_of(b"model")))
    with pytest.raises(ModelTooLarge):
        asyncio.run(store.add_stream(chunks(b"mod", b"el"), 5, 4, digest_of(b"model")))
    assert names(tmp_path / "s") == set()


def test_a_good_stream_is_taken(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 5)
    asyncio.run(store.add_stream(chunks(b"mod", b"el"), 5, 5, digest_of(b"model")))
    assert store.get_path(digest_of(b"model")) is not None


def test_the_least_recently_used_model_makes_room(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 10)
    first, second = add(store, tmp_path, b"11111"), add(store, tmp_path, b"22222")
    old, new = store.get_path(second), store.get_path(first)
    assert old is not None
    assert new is not None
    third = add(store, tmp_path, b"33333")
    assert [store.get_path(digest) is not None for digest in (first, second, third)] == [True, False, True]


def test_held_and_kept_models_are_never_evicted(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 10)
    held, kept = add(store, tmp_path, b"11111"), add(store, tmp_path, b"22222")
    store.hold([held])
    assert store.keep(kept, make_kept())
    with pytest.raises(StoreFull, match="max_size"):
        add(store, tmp_path, b"33333")
    store.hold([])
    add(store, tmp_path, b"33333")
    assert store.get_path(held) is None
    assert store.get_path(kept) is not None


def test_a_promise_to_keep_survives_a_restart_and_ends_in_time(tmp_path: Path) -> None:
    first = ModelStore(tmp_path / "s", 10)
    digest = add(first, tmp_path, b"11111")
    first.keep(digest, make_kept(need=Need.CONTRACTOR))
    second = ModelStore(tmp_path / "s", 10)
    cached = add(second, tmp_path, b"22222")
    add(second, tmp_path, b"33333")
    assert (second.get_path(digest) is None, second.get_path(cached)) == (False, None)
    second.keep(digest, make_kept(need=Need.CONTRACTOR, seconds=-1))
    second.get_path(digest_of(b"33333"))
    add(ModelStore(tmp_path / "s", 10), tmp_path, b"44444")
    assert first.get_path(digest) is None


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    ModelStore(tmp_path / "s", 5)
    (tmp_path / "s" / "abc.part").write_bytes(b"half")
    ModelStore(tmp_path / "s", 5)
    assert names(tmp_path / "s") == set()


def test_promises_to_others_leave_half_of_the_store(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)
    assert not store.keep(add(store, tmp_path, b"x" * 11), make_kept())
    assert store.keep(add(store, tmp_path, b"11111"), make_kept())
    assert not store.keep(add(store, tmp_path, b"222222"), make_kept())
    assert store.keep(add(store, tmp_path, b"22222"), make_kept())
    assert not store.keep(digest_of(b"not here"), make_kept())


def test_a_write_that_the_disk_refuses_is_this_machine_s_own_failure() -> None:
    with FileIO("/dev/full", "wb") as full, pytest.raises(StoreFull, match="No space left"):
        _Writer(full, 10).write(b"0123456789")


def test_what_is_on_its_way_in_counts(tmp_path: Path) -> None:
    """Many uploads at once do not fill more than one after the other."""
    store = ModelStore(tmp_path / "s", 10)

    async def arrive() -> None:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            started.set()
            await go_on.wait()
            yield b"11111"

        first = asyncio.create_task(store.add_stream(slowly(), 5, 5, digest_of(b"11111"), make_kept()))
        await started.wait()
        with pytest.raises(StoreFull, match="another relay"):
            await store.add_stream(chunks(b"2"), 1, 1, digest_of(b"2"), make_kept(2, bounty=1))
        with pytest.raises(StoreFull, match="max_size"):
            await store.add_stream(chunks(b"222222"), 6, 6, digest_of(b"222222"))
        go_on.set()
        await first

    asyncio.run(arrive())
    assert names(tmp_path / "s") == {digest_of(b"11111").hex(), f"{digest_of(b'11111').hex()}.keep"}


def test_models_come_in_and_are_evicted_by_several_threads(tmp_path: Path) -> None:
    """Trainings add models from threads of their own while the event loop keeps some for others."""
    store = ModelStore(tmp_path / "s", 40)  # full all the time

    def fill(number: int) -> None:
        path = tmp_path / f"incoming{number}"
        for count in range(200):
            path.write_bytes(f"{number}{count:4}".encode())
            store.add_file(path, 10)

    with ThreadPoolExecutor() as threads:
        fillings = [threads.submit(fill, number) for number in range(2)]
        while not all(filling.done() for filling in fillings):
            store.keep(digest_of(b"0   7"), make_kept(need=Need.CONTRACTOR))
        for filling in fillings:
            filling.result()
    assert store.get_size() <= 40


def test_a_model_that_vanishes_under_the_store_is_not_here(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 10)
    vanished = digest_of(b"vanished")
    (tmp_path / "s" / vanished.hex()).symlink_to("nowhere")  # listed, but gone when it is looked at
    assert store.get_path(vanished) is None
    assert store.get_size() == 0
    assert not store.keep(vanished, make_kept())
    assert store.get_path(add(store, tmp_path, b"11111")) is not None


def test_a_full_disk_is_a_full_store_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(tmp_path / "s", 10)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("worker.models.store.os.fsync", refuse)
    with pytest.raises(StoreFull, match="No space left"):
        add(store, tmp_path, b"11111")
    assert names(tmp_path / "s") == set()
    monkeypatch.undo()
    add(store, tmp_path, b"11111")
    monkeypatch.setattr("worker.models.keeping.os.fsync", refuse)
    with pytest.raises(StoreFull, match="No space left"):
        store.keep(digest_of(b"11111"), make_kept())
