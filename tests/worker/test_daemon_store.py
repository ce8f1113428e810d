"""What a worker keeps in its model store, and what gives room to others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MIB
from tests.support.fake_sandbox import FakeSandbox, FakeTraining
from tests.support.market import SALT
from tests.worker.claims import DIGEST
from tests.worker.fleet import RACE_MS, Fleet, play, start_checkers, submit
from worker import events as ev
from worker.journal import Journal, JournalError
from worker.models.keeping import Promise
from worker.models.store import ModelStore
from worker.sandbox import TrainingSpec, TrainingState, TrainingStatus
from worker.state import Memory

LOSSES = (b"0.9", b"0.8", b"0.7", b"0.6", b"0.5", b"0.4")
BLANKS = b" " * (3 * MIB // 10)


@dataclass
class PacedTraining(FakeTraining):
    """Writes its next model when the one before has been announced."""

    count: Callable[[], int] = lambda: 0

    def status(self) -> TrainingStatus:
        if self.published > self.count():
            return TrainingStatus(TrainingState.RUNNING, 1.0)
        return super().status()


@dataclass
class PacedSandbox(FakeSandbox):
    count: Callable[[], int] = field(default=lambda: 0)

    def start_training(self, spec: TrainingSpec, *rest: Any) -> FakeTraining:
        training = PacedTraining(spec, list(self.checkpoints), count=self.count)
        self.trainings.append(training)
        return training


def test_a_model_that_a_better_announcement_replaced_makes_room(tmp_path: Path) -> None:
    """Else the store is full after some announcements: nothing is trained any more, and no winner is checked."""

    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        job_id = fleet.chain.submit(expiry_ms=fleet.chain.time_ms + 30 * RACE_MS)
        models = tuple(BLANKS + loss for loss in LOSSES)
        fleet.sandboxes["worker0"] = PacedSandbox(models, count=lambda: fleet.chain.job(job_id).announcements)
        fleet.start("worker0", max_size=1)
        await fleet.wait_for(lambda: fleet.chain.job(job_id).announcements == len(LOSSES))
        files = [path.stat().st_size for path in (tmp_path / "worker0" / "models").iterdir()]
        assert sum(files) <= MIB

    play(tmp_path, script)


async def stop(fleet: Fleet, name: str) -> Memory:
    """Stop a worker and return what it remembers."""
    fleet.stops[name].set()
    await fleet.tasks.pop(name)
    journal = Journal(fleet.folder / name / "journal.sqlite", fleet.chain.tag, fleet.chain.address(name))
    memory = journal.restore()
    journal.close()
    return memory


def test_of_a_training_nothing_is_left_but_that_its_job_was_taken_up(tmp_path: Path) -> None:
    """What it would resume from can be gigabytes. The job counts as taken up for ever."""

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5",))
        sandbox = fleet.sandboxes["worker0"]
        job_id = fleet.chain.submit(expiry_ms=fleet.chain.time_ms + 30 * RACE_MS)
        await fleet.wait_for(lambda: any(training.closed for training in sandbox.trainings))
        await stop(fleet, "worker0")
        sandbox.kept_attempts = None
        fleet.start("worker0")
        await fleet.wait_for(lambda: sandbox.kept_attempts == [])
        fleet.chain.expire(job_id)
        await fleet.settle(job_id)
        await fleet.wait_for(lambda: sandbox.forgotten_attempts == [sandbox.trainings[0].spec.attempt])
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height)  # not before the worker knows that it was forgotten
        assert (await stop(fleet, "worker0")).taken == {job_id: ""}

    play(tmp_path, script)


def test_only_a_job_that_the_node_knows_to_be_over_is_forgotten(tmp_path: Path) -> None:
    """What opens a commitment is lost otherwise, by one look at a node that was set back."""

    async def script(fleet: Fleet) -> None:
        over = fleet.chain.submit()
        fleet.chain.expire(over)
        home = tmp_path / "worker0"
        home.mkdir()
        journal = Journal(home / "journal.sqlite", fleet.chain.tag, fleet.chain.address("worker0"))
        memory = Memory(fleet.chain.tag)
        for job_id in (over, over + 1):
            memory.announced[job_id, DIGEST] = ev.Announced(job_id, DIGEST, SALT, 5)
        journal.save(memory)
        journal.close()
        fleet.start("worker0")
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height + 20)
        assert list((await stop(fleet, "worker0")).announced) == [(over + 1, DIGEST)]

    play(tmp_path, script)


def test_a_second_worker_in_a_home_touches_nothing_of_the_first(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        await fleet.wait_for(lambda: bool(fleet.count_sent("set_profile", "checker0")))
        first = fleet.tasks.pop("checker0"), fleet.stops["checker0"]
        incoming = tmp_path / "checker0" / "models" / f"{'ab' * 16}.part"
        incoming.write_bytes(b"half a model")
        fleet.start("checker0", checks=True)
        with pytest.raises(JournalError, match="stop it first"):
            await fleet.tasks.pop("checker0")
        assert incoming.exists()
        assert fleet.count_sent("set_profile", "checker0") == 1
        fleet.tasks["checker0"], fleet.stops["checker0"] = first

    play(tmp_path, script)


def test_a_model_to_check_that_made_room_while_it_waited_for_its_turn_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = ModelStore.keep
    evicted: list[Path] = []

    async def script(fleet: Fleet) -> None:
        def evict(store: ModelStore, digest: bytes, promise: Promise) -> bool:
            """In VOTE a checker that has the model keeps it: it is about to wait for its turn."""
            is_vote = fleet.chain.job(promise.job_id).state == pb.JOB_STATE_VOTE
            path = store.get_path(digest) if is_vote and not evicted else None
            if path is None or "worker0" in path.parts:
                return keep(store, digest, promise)
            path.unlink()
            evicted.append(path)
            return False

        monkeypatch.setattr(ModelStore, "keep", evict)
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5",))
        await fleet.wait_for(fleet.has_relays)
        job = await fleet.settle(submit(fleet))
        assert job.outcome == pb.OUTCOME_ACCEPTED
        assert evicted

    play(tmp_path, script)
    assert "failed_unexpectedly" not in capsys.readouterr().out
