"""What a relay keeps when not all fits: junk of settled jobs, or of cheap ones, keeps no honest winner's model out."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from tests.worker.claims import make_kept
from tests.worker.worlds import make_job
from worker.models.keeping import MAX_PROMISES, Need, Promise, Promises, find_need, make_promise
from worker.models.store import ModelStore, StoreFull


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def upload(store: ModelStore, data: bytes, promise: Promise) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    asyncio.run(store.add_stream(chunks(), len(data), len(data), digest_of(data), promise))
    return digest_of(data)


def put(store: ModelStore, folder: Path, data: bytes) -> bytes:
    """Add an own model, which nothing keeps."""
    path = folder / "own"
    path.write_bytes(data)
    return store.add_file(path, len(data))


def list_kept(folder: Path) -> set[bytes]:
    return {bytes.fromhex(path.stem) for path in folder.glob("*.keep")}


def test_junk_of_settled_jobs_gives_way_to_a_model_that_a_committee_waits_for(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)
    for job_id in (1, 2):
        promise = make_kept(job_id, bounty=1_000_000)
        upload(store, b"junk%d" % job_id, promise)
        store.change(promise, Need.CONTRACTOR)
    honest = upload(store, b"honest", make_kept(3, bounty=1))
    assert store.get_path(honest) is not None
    assert list_kept(tmp_path / "s") == {honest}


def test_a_turn_gives_way_to_one_of_more_bounty_for_a_byte_and_to_nothing_else(tmp_path: Path) -> None:
    """Else who holds back its Reveal in a job of the least bounty closes a relay for the whole window."""
    store = ModelStore(tmp_path / "s", 20)
    first, second = (
        upload(store, data, make_kept(job_id, bounty=10)) for job_id, data in ((1, b"11111"), (2, b"22222"))
    )
    with pytest.raises(StoreFull, match="another relay"):
        upload(store, b"3333333", make_kept(3, bounty=14))
    assert list_kept(tmp_path / "s") == {first, second}
    third = upload(store, b"3333333", make_kept(3, bounty=15))
    assert list_kept(tmp_path / "s") == {third}
    store.hold([put(store, tmp_path, b"o" * 12)])
    with pytest.raises(StoreFull, match="max_size"):  # nor to an own model
        put(store, tmp_path, b"oo")
    assert store.get_path(third) is not None


def test_what_a_worker_trains_itself_goes_before_what_nobody_votes_on_any_more(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)
    rejected, won = make_kept(1), make_kept(2)
    first, second = upload(store, b"11111", rejected), upload(store, b"22222", won)
    store.change(rejected, Need.NOBODY)
    store.change(won, Need.CONTRACTOR)
    store.hold([put(store, tmp_path, b"o" * 10)])
    assert list_kept(tmp_path / "s") == {first, second}
    store.hold([digest_of(b"o" * 10), put(store, tmp_path, b"o" * 4)])
    assert list_kept(tmp_path / "s") == {second}
    assert store.get_path(first) is None


def test_of_winners_the_one_with_the_least_bounty_and_time_for_a_byte_gives_way_first() -> None:
    ranks = [
        make_kept(need=Need.NOBODY, seconds=1_000, bounty=1_000).get_rank(1, 0),
        make_kept(need=Need.CONTRACTOR, bounty=10).get_rank(100, 0),
        make_kept(need=Need.CONTRACTOR, bounty=10).get_rank(10, 0),
        make_kept(need=Need.CONTRACTOR, bounty=20).get_rank(10, 0),
        make_kept(need=Need.COMMITTEE, bounty=1, seconds=-1).get_rank(1_000_000, 0),
    ]
    assert ranks == sorted(set(ranks))
    aging = Promise(1, 0, 100, until=100.0, need=Need.CONTRACTOR)
    new = replace(aging, bounty=10, until=190.0)
    assert aging.get_rank(1, 50.0) > new.get_rank(1, 90.0)
    assert aging.get_rank(1, 95.0) < new.get_rank(1, 95.0)


def test_a_restart_keeps_the_order(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 30)
    promises = {number: make_kept(number, bounty=10 * number) for number in (3, 1, 2)}
    digests = {number: upload(store, b"%5d" % number, promise) for number, promise in promises.items()}
    for promise in promises.values():
        store.change(promise, Need.CONTRACTOR)
    store = ModelStore(tmp_path / "s", 30)
    assert store.list_turns() == []
    for number, left in ((1, {2, 3}), (2, {3})):
        upload(store, b"new %d" % number, make_kept(10 + number, bounty=1))
        assert {known for known, digest in digests.items() if digest in list_kept(tmp_path / "s")} == left


def test_a_crash_in_the_middle_of_an_eviction_leaves_a_store_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(tmp_path / "s", 20)
    promise = make_kept(1)
    old = upload(store, b"o" * 10, promise)
    store.change(promise, Need.CONTRACTOR)
    (tmp_path / "s" / "left.part").write_bytes(b"half")
    (tmp_path / "s" / f"{'ab' * 32}.keep").write_text("[]")  # the model went, and then the machine
    (tmp_path / "s" / f"{'ab' * 32}.keep.part").write_text("[")

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    store.hold([put(store, tmp_path, b"held held ")])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            upload(store, b"new", make_kept(2))
    store = ModelStore(tmp_path / "s", 20)
    assert list_kept(tmp_path / "s") == {old}
    drop = Promises.drop
    store.hold([digest_of(b"held held ")])
    with monkeypatch.context() as patch:
        patch.setattr(Promises, "drop", lambda *args: crash(drop(*args)))
        with pytest.raises(Crash):
            upload(store, b"new", make_kept(2))
    store = ModelStore(tmp_path / "s", 20)
    assert list_kept(tmp_path / "s") == set()
    store.hold([digest_of(b"held held ")])
    new = upload(store, b"new", make_kept(2))
    assert (list_kept(tmp_path / "s"), store.get_path(old)) == ({new}, None)


def test_uploads_at_once_share_what_there_is_and_the_more_important_one_comes_in(tmp_path: Path) -> None:
    """Else who lets a model drip in has the room for hours, without ever having sent it."""
    store = ModelStore(tmp_path / "s", 20)

    async def drip(started: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"1"
        started.set()
        await asyncio.Event().wait()

    async def whole(data: bytes) -> AsyncIterator[bytes]:
        yield data

    async def play() -> None:
        drips = []
        for number in (1, 2):
            started = asyncio.Event()
            promise = make_kept(number, bounty=number)
            drips.append(asyncio.create_task(store.add_stream(drip(started), 5, 5, digest_of(b"?"), promise)))
            await started.wait()
        with pytest.raises(StoreFull):
            await store.add_stream(whole(b"honest"), 6, 6, digest_of(b"honest"), make_kept(3, bounty=1))
        await store.add_stream(whole(b"small"), 5, 5, digest_of(b"small"), make_kept(4, bounty=10))
        with pytest.raises(StoreFull, match="another relay"):
            await drips[0]
        assert not drips[1].done()
        await store.add_stream(whole(b"large"), 5, 5, digest_of(b"large"), make_kept(5, bounty=10))
        with pytest.raises(StoreFull, match="another relay"):
            await drips[1]

    asyncio.run(play())
    assert list_kept(tmp_path / "s") == {digest_of(b"small"), digest_of(b"large")}
    assert not list((tmp_path / "s").glob("*.part"))


def test_what_cannot_fit_at_all_evicts_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)
    promise = make_kept()
    digest = upload(store, b"model", promise)
    store.change(promise, Need.CONTRACTOR)
    with pytest.raises(StoreFull, match="max_size"):
        put(store, tmp_path, b"x" * 21)
    assert list_kept(tmp_path / "s") == {digest}


def test_an_upload_that_is_cancelled_from_outside_is_no_full_store(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 20)

    async def wait(seconds: float | None) -> AsyncIterator[bytes]:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
        yield b""

    async def play() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.add_stream(wait(None), 5, 5, digest_of(b"?"), make_kept())
        with pytest.raises(TimeoutError):
            await store.add_stream(wait(0), 5, 5, digest_of(b"?"), make_kept())

    asyncio.run(play())
    assert store.keep(put(store, tmp_path, b"o" * 10), make_kept())


def test_a_model_of_several_jobs_is_kept_as_long_as_the_one_that_needs_it_most(tmp_path: Path) -> None:
    """Who announces an honest winner's digest in a job of its own takes nothing away from it."""
    store = ModelStore(tmp_path / "s", 20)
    honest = make_kept(1, bounty=100)
    digest = upload(store, b"model", honest)
    for job_id in range(2, 2 + 2 * MAX_PROMISES):
        assert store.keep(digest, make_kept(job_id, bounty=1))
    assert honest in store.list_turns()
    assert len(store.list_turns()) == MAX_PROMISES
    for promise in store.list_turns():
        store.change(promise, Need.CONTRACTOR if promise == honest else Need.NOBODY)
    with pytest.raises(StoreFull, match="another relay"):
        upload(store, b"x" * 10, make_kept(50, bounty=10, need=Need.CONTRACTOR))
    assert list_kept(tmp_path / "s") == {digest}


def test_a_promise_of_an_earlier_version_holds_for_its_time_and_matters_least(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "s", 10)
    old = put(store, tmp_path, b"old")
    marker = tmp_path / "s" / f"{old.hex()}.keep"
    marker.touch()
    store = ModelStore(tmp_path / "s", 10)
    assert store.list_turns() == []
    put(store, tmp_path, b"o" * 10)
    assert store.get_path(old) is None
    assert not marker.exists()


TURN = Promise(1, 1, 10, 0.0)


@pytest.mark.parametrize(
    ("need", "job"),
    [
        (Need.COMMITTEE, make_job(state=pb.JOB_STATE_OPEN)),  # a look from before the expiry
        (Need.COMMITTEE, make_job(state=pb.JOB_STATE_TALLY, round=0)),  # from before the turn
        (Need.COMMITTEE, make_job(state=pb.JOB_STATE_REVEAL, round=1)),
        (Need.COMMITTEE, make_job(state=pb.JOB_STATE_VOTE, round=1)),
        (Need.COMMITTEE, make_job(state=pb.JOB_STATE_TALLY, round=1)),
        (Need.CONTRACTOR, make_job(state=pb.JOB_STATE_PAID, round=1)),
        (Need.NOBODY, make_job(state=pb.JOB_STATE_REFUNDED, round=1)),
        (Need.NOBODY, make_job(state=pb.JOB_STATE_REVEAL, round=2)),  # the next candidate's turn
        (Need.NOBODY, make_job(state=pb.JOB_STATE_PAID, round=2)),
    ],
)
def test_who_waits_for_a_model_follows_from_its_job(need: Need, job: pb.Job) -> None:
    assert find_need(job, TURN) is need


def test_a_turn_binds_beyond_the_retention_and_nothing_else_does() -> None:
    promise = make_promise(make_job(id=7, round=2, bounty=5), 1_000, 10.0)
    assert promise == Promise(7, 2, 5, 11.0, Need.COMMITTEE)
    assert not promise.is_over(12.0)
    assert replace(promise, need=Need.CONTRACTOR).is_over(11.0)
    assert not replace(promise, need=Need.CONTRACTOR).is_over(10.5)
