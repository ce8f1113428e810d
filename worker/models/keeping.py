"""What a store keeps for others, and which of it gives way when not all fits: see ADR 0014.

First come the models of turns that go on, of them those with the most bounty for a byte. Then come those of winners: a
bounty counts less the nearer the end of the retention is, so that a new model is not lost at once to an old one of a
larger bounty. Nobody waits for the rest.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from abci_app.pb.learningchain.v1 import state_pb2 as pb

MAX_PROMISES = 8
"""Jobs for which one model is kept: the same bytes may be announced in several, and what each needs counts."""
SUFFIX = ".keep"


class Need(IntEnum):
    """Who waits for a model: nobody any more, the contractor of a job that it won, or a job's committee."""

    NOBODY = 0
    CONTRACTOR = 1
    COMMITTEE = 2


class Rank(NamedTuple):
    """How much a model matters: lower ones give way."""

    need: Need
    worth: float


@dataclass(frozen=True, slots=True)
class Promise:
    """That a model is kept for a candidate's turn in a job. `bounty` in ucredit, `until` in seconds since 1970."""

    job_id: int
    round: int
    bounty: int
    until: float
    need: Need = Need.COMMITTEE

    @property
    def turn(self) -> tuple[int, int]:
        """The candidate's turn: its job and the number of its round. What is uploaded for it is one model."""
        return self.job_id, self.round

    def is_over(self, now: float) -> bool:
        """Tell whether it binds no more: the retention is over, and the turn too."""
        return self.need is not Need.COMMITTEE and self.until <= now

    def get_rank(self, size: int, now: float) -> Rank:
        """Return what a model of `size` bytes is worth for it."""
        for_a_byte = self.bounty / max(1, size)
        left = self.until - now
        worth = {Need.COMMITTEE: for_a_byte, Need.CONTRACTOR: for_a_byte * left, Need.NOBODY: left}
        return Rank(self.need, worth[self.need])


def make_promise(job: pb.Job, retention_ms: int, now: float) -> Promise:
    """Return the promise for the model of a job's present turn."""
    return Promise(job.id, job.round, job.bounty, now + retention_ms / 1000)


def find_need(job: pb.Job, promise: Promise) -> Need:
    """Return who waits for the model of a turn of a job; a look at the job from before the turn changes nothing."""
    if job.round < promise.round or job.state == pb.JOB_STATE_OPEN:
        return promise.need
    if job.round > promise.round:
        return Need.NOBODY
    if job.state in (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY):
        return Need.COMMITTEE
    return Need.CONTRACTOR if job.state == pb.JOB_STATE_PAID else Need.NOBODY


class Promises:
    """The promises of one store, each in a file beside its model. Whoever uses them holds the store's lock."""

    def __init__(self, folder: Path) -> None:
        """Read what a folder of models has; files without a model are of one that somebody or a crash took away."""
        self._folder = folder
        self._promises: dict[bytes, tuple[Promise, ...]] = {}
        for path in folder.glob(f"*{SUFFIX}"):
            if path.with_suffix("").exists():
                self._promises[bytes.fromhex(path.stem)] = _read(path)
            else:
                path.unlink()

    def add(self, digest: bytes, promise: Promise, size: int, now: float) -> None:
        """Write down one more promise for a model. Raises OSError; then it is not given.

        One that was given for the same turn is not renewed: whoever may upload can ask for it many times a second,
        and each would wait for the disk.
        """
        given = [old for old in self._list(digest, now) if (old.turn, old.need) == (promise.turn, promise.need)]
        if any(old.until <= promise.until for old in given):
            return
        others = [old for old in self._list(digest, now) if old.turn != promise.turn]
        ranked = sorted([*others, promise], key=lambda entry: entry.get_rank(size, now), reverse=True)
        self._write(digest, ranked[:MAX_PROMISES])

    def drop(self, digest: bytes) -> None:
        """Take back all promises for a model."""
        (self._folder / f"{digest.hex()}{SUFFIX}").unlink(missing_ok=True)
        self._promises.pop(digest, None)

    def find_rank(self, digest: bytes, size: int, now: float) -> Rank | None:
        """Return what a model is kept for, None if nothing binds it any more."""
        ranks = [promise.get_rank(size, now) for promise in self._list(digest, now)]
        if not ranks and digest in self._promises:
            self.drop(digest)
        return max(ranks, default=None)

    def list_turns(self) -> list[Promise]:
        """Return the promises for turns that were not over when they were looked at last."""
        everything = {promise: None for promises in self._promises.values() for promise in promises}
        return [promise for promise in everything if promise.need is Need.COMMITTEE]

    def change(self, promise: Promise, need: Need) -> None:
        """Write down who waits for the model of a turn now. Raises OSError; then it stays as it was."""
        for digest, promises in list(self._promises.items()):
            if promise in promises:
                self._write(digest, [replace(old, need=need) if old == promise else old for old in promises])

    def _list(self, digest: bytes, now: float) -> list[Promise]:
        return [promise for promise in self._promises.get(digest, ()) if not promise.is_over(now)]

    def _write(self, digest: bytes, promises: Iterable[Promise]) -> None:
        path = self._folder / f"{digest.hex()}{SUFFIX}"
        part = path.with_suffix(f"{SUFFIX}.part")
        kept = tuple(promises)
        with part.open("w", encoding="ascii") as file:
            json.dump([asdict(promise) for promise in kept], file)
            file.flush()
            os.fsync(file.fileno())
        until = max(promise.until for promise in kept)
        os.utime(part, (until, until))
        part.replace(path)
        self._promises[digest] = kept


def _read(path: Path) -> tuple[Promise, ...]:
    """Return the promises of a file. One of an earlier version says by its time how long it holds, and no more."""
    try:
        entries = json.loads(path.read_text(encoding="ascii"))
        return tuple(Promise(**{**entry, "need": Need(entry["need"])}) for entry in entries)
    except (ValueError, TypeError, KeyError):
        return (Promise(0, 0, 0, path.stat().st_mtime, Need.NOBODY),)
