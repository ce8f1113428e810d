"""What was announced by hand in a worker's home."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.claims import Claim, Claims
from tests.support.market import SALT
from tests.worker.fleet import Fleet, play, start_checkers, submit
from worker.models.store import ModelStore


def claim_by_hand(fleet: Fleet, job_id: int, model: bytes) -> Path:
    """Announce as `lc job announce` does in the home of worker0, and return the model's file."""
    home = fleet.folder / "worker0"
    path = home / "claims" / "a.model"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(model)
    digest = hashlib.sha256(model).digest()
    account = fleet.chain.address("worker0")
    Claims(home).save(Claim(fleet.chain.tag, job_id, account, digest, len(model), SALT, 400_000_000, str(path)))
    fleet.chain.must("worker0", fleet.chain.announcement("worker0", job_id, 400_000_000, digest=digest))
    return path


def test_what_was_announced_by_hand_in_a_workers_home_is_revealed_and_paid(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        job_id = submit(fleet)
        claim_by_hand(fleet, job_id, b"0.4")
        fleet.start("worker0", (b"0.5",))  # it trains the job too, and reaches nothing better
        await fleet.wait_for(fleet.has_relays)
        job = await fleet.settle(job_id)
        promise = tmp_path / "worker0" / "models" / f"{hashlib.sha256(b'0.4').hexdigest()}.keep"
        retention = fleet.transport.chain.params.model_retention_ms / 1000
        assert promise.stat().st_mtime > time.time() + retention - 60
        assert (job.outcome, job.winner) == (pb.OUTCOME_ACCEPTED, fleet.chain.address("worker0"))
        assert job.announcements == 1

    play(tmp_path, script)


def test_a_claim_whose_model_has_changed_is_not_taken_over_and_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes copied with each block would leave no time to look at the chain, and take the room of other models."""
    copied: list[Path] = []
    add_file = ModelStore.add_file

    def count(store: ModelStore, path: Path, max_bytes: int) -> bytes:
        copied.append(path)
        return add_file(store, path, max_bytes)

    monkeypatch.setattr(ModelStore, "add_file", count)

    async def script(fleet: Fleet) -> None:
        job_id = submit(fleet)
        path = claim_by_hand(fleet, job_id, b"0.4")
        path.write_bytes(b"0.9")
        fleet.start("worker0")
        job = await fleet.settle(job_id)
        assert job.state == pb.JOB_STATE_REFUNDED
        assert fleet.count_sent("reveal", "worker0") == 0
        assert copied.count(path) == 1

    play(tmp_path, script)


def test_a_claim_that_others_may_read_ends_no_worker_and_is_used_when_that_is_corrected(tmp_path: Path) -> None:
    """A backup that was played back gives such files."""

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        job_id = submit(fleet)
        claim_by_hand(fleet, job_id, b"0.4")
        (claim,) = (tmp_path / "worker0" / "claims").glob("*.json")
        claim.chmod(0o644)
        fleet.start("worker0")
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height + 5)
        claim.chmod(0o600)
        assert (await fleet.settle(job_id)).outcome == pb.OUTCOME_ACCEPTED

    play(tmp_path, script)


def test_a_claim_whose_model_is_put_right_is_taken_over(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        job_id = submit(fleet)
        path = claim_by_hand(fleet, job_id, b"0.4")
        path.write_bytes(b"0.9")
        fleet.start("worker0")
        wrong = tmp_path / "worker0" / "models" / hashlib.sha256(b"0.9").hexdigest()
        await fleet.wait_for(wrong.exists)
        path.write_bytes(b"0.4")
        os.utime(path, (1, 1))  # both were perhaps written at the same time, as far as the file system can tell
        await fleet.wait_for(fleet.has_relays)
        assert (await fleet.settle(job_id)).outcome == pb.OUTCOME_ACCEPTED

    play(tmp_path, script)
