"""Uploads that are on their way to a relay: what they hold, and when they give way."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.claims import make_kept
from tests.worker.test_model_keeping import digest_of, list_kept
from worker.models.keeping import Need, Promise
from worker.models.store import ModelStore, StoreFull


async def fill(started: asyncio.Event) -> AsyncIterator[bytes]:
    """Begin at once, and never end."""
    yield b"x"
    started.set()
    await asyncio.Event().wait()


async def begin(store: ModelStore, size: int, promise: Promise | None = None, bounty: int = 0) -> "asyncio.Task[None]":
    """Begin an upload, or without promise a fetch, that stays on its way."""
    started = asyncio.Event()
    task = asyncio.create_task(store.add_stream(fill(started), size, size, digest_of(b"?"), promise, bounty))
    await started.wait()
    return task


async def send(store: ModelStore, data: bytes, promise: Promise | None = None, bounty: int = 0) -> bytes:
    async def whole() -> AsyncIterator[bytes]:
        yield data

    await store.add_stream(whole(), len(data), len(data), digest_of(data), promise, bounty)
    return digest_of(data)


def test_however_often_the_model_of_one_turn_is_on_its_way_its_bounty_counts_once(tmp_path: Path) -> None:
    """Else one small bounty on many connections closes a relay to all others, without a byte of a model."""
    store = ModelStore(tmp_path / "s", 40)

    async def play() -> None:
        many = [await begin(store, 5, make_kept(1, bounty=10)) for _ in range(4)]
        with pytest.raises(StoreFull, match="another relay"):
            await send(store, b"x" * 16, make_kept(2, bounty=16))
        honest = await send(store, b"h" * 15, make_kept(2, bounty=15))
        assert store.get_path(honest) is not None
        for earlier in many[:-1]:
            with pytest.raises(StoreFull, match="another relay"):
                await earlier
        assert not many[-1].done()
        with pytest.raises(StoreFull, match="another relay"):
            await send(store, b"x" * 16, make_kept(3, bounty=16))
        many[-1].cancel()

    asyncio.run(play())


def test_an_upload_begun_anew_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """A line that broke may seem to be open for as long as the largest models take."""
    store = ModelStore(tmp_path / "s", 18)

    async def play() -> None:
        broken = await begin(store, 5, make_kept(1))
        with pytest.raises(StoreFull, match="another relay"):
            await send(store, b"other", make_kept(2))  # of another turn, and worth no more
        model = await send(store, b"model", make_kept(1))
        with pytest.raises(StoreFull, match="another relay"):
            await broken
        assert list_kept(tmp_path / "s") == {model}

    asyncio.run(play())


def test_beside_a_model_that_is_here_no_upload_of_its_turn_counts(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)

    async def play() -> None:
        promise = make_kept(1, bounty=10)
        repeated = await begin(store, 5, promise)
        first = await send(store, b"model", promise)
        second = await send(store, b"other", make_kept(2, bounty=1))
        with pytest.raises(StoreFull, match="another relay"):
            await repeated
        assert list_kept(tmp_path / "s") == {first, second}

    asyncio.run(play())


def test_an_upload_whose_turn_is_over_gives_way_while_it_is_on_its_way(tmp_path: Path) -> None:
    """It may take days for the largest models: a turn of minutes would hold the room for as long."""
    store = ModelStore(tmp_path / "s", 20)

    async def play() -> None:
        promise = make_kept(1, bounty=1_000)
        dripping = await begin(store, 10, promise)
        assert store.list_turns() == [promise]
        store.change(promise, Need.CONTRACTOR)
        assert store.list_turns() == []
        honest = await send(store, b"honest", make_kept(2, bounty=1))
        with pytest.raises(StoreFull, match="another relay"):
            await dripping
        assert list_kept(tmp_path / "s") == {honest}

    asyncio.run(play())


def test_what_comes_to_be_checked_gives_way_to_what_comes_for_more_bounty(tmp_path: Path) -> None:
    """The models of cheap jobs that drip would else keep that of a large one from its checkers."""
    store = ModelStore(tmp_path / "s", 20)

    async def play() -> None:
        cheap, dear = await begin(store, 8, bounty=1), await begin(store, 10, bounty=5)
        with pytest.raises(StoreFull, match="max_size"):
            await send(store, b"x" * 5, bounty=1)
        with pytest.raises(StoreFull, match="max_size"):
            await send(store, b"x" * 11, bounty=5)
        checked = await send(store, b"model", bounty=2)
        with pytest.raises(StoreFull, match="a job with more bounty"):
            await cheap
        assert (dear.done(), store.get_path(checked) is not None) == (False, True)
        uploaded = await send(store, b"u" * 10, make_kept(bounty=6))
        assert list_kept(tmp_path / "s") == {uploaded}
        assert not dear.done()  # the one that was checked made room
        await send(store, b"y" * 10, bounty=6)
        with pytest.raises(StoreFull, match="a job with more bounty"):
            await dear

    asyncio.run(play())


def test_a_promise_that_is_asked_for_again_costs_the_disk_nothing(tmp_path: Path) -> None:
    """Who may upload a model that is here already could else keep disk and loop at work with requests."""
    store = ModelStore(tmp_path / "s", 20)
    first = make_kept(seconds=60)
    digest = asyncio.run(send(store, b"model", first))
    promise = tmp_path / "s" / f"{digest.hex()}.keep"
    assert store.keep(digest, make_kept(seconds=600))
    assert store.list_turns() == [first]
    assert promise.stat().st_mtime == pytest.approx(first.until, abs=1)
    store.change(first, Need.NOBODY)
    again = make_kept(seconds=600)
    assert store.keep(digest, again)  # it was over for a node that had been set back
    assert store.list_turns() == [again]


def test_the_loop_goes_on_while_the_disk_takes_in_a_model(tmp_path: Path) -> None:
    """Gigabytes may be on their way to it when the last byte has come: votes are due meanwhile."""
    store = ModelStore(tmp_path / "s", 10)
    waiting, go_on = threading.Event(), threading.Event()
    sync, promise, patch = os.fsync, make_kept(), pytest.MonkeyPatch()

    def take_long(descriptor: int) -> None:
        waiting.set()
        assert threading.current_thread() is not threading.main_thread()
        go_on.wait()
        sync(descriptor)

    async def play() -> None:
        patch.setattr("worker.models.store.os.fsync", take_long)
        sending = asyncio.create_task(send(store, b"model", promise))
        await asyncio.to_thread(waiting.wait)
        patch.undo()
        assert store.get_path(digest_of(b"model")) is None
        go_on.set()
        assert store.get_path(await sending) is not None

    asyncio.run(play())
