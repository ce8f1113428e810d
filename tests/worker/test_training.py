"""How a training ends, and what becomes of its checkpoints when this machine fails."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from tests.support.fake_sandbox import FakeSandbox, FakeTraining
from tests.worker.fleet import RACE_MS, Fleet, play, submit
from worker.events import Happening, Instruction, TrainingEnded
from worker.journal import Journal
from worker.models.store import ModelStore, StoreFull
from worker.sandbox import (
    OwnFailureError,
    StopReason,
    TrainingLimits,
    TrainingSpec,
    TrainingState,
    TrainingStatus,
)
from worker.state import Memory, WorkerState
from worker.training import get_scratch_name, is_end_of_training

LIMITS = TrainingLimits(milli_cpus=500, memory_mib=96, state_mib=4, image_mib=8, model_mib=4, seconds=60)


def stopped(reason: StopReason, seconds: float = 5.0) -> TrainingStatus:
    return TrainingStatus(TrainingState.STOPPED, seconds, 137, reason)


@pytest.mark.parametrize(
    ("status", "is_end"),
    [
        (TrainingStatus(TrainingState.ENDED, 5.0, 0), True),
        (TrainingStatus(TrainingState.ENDED, 5.0, 1), True),
        (stopped(StopReason.MEMORY), True),
        (stopped(StopReason.TIME, 60.1), True),
        (stopped(StopReason.TIME, 59.9), False),  # the deadline by this machine's clock: the chain decides
        (stopped(StopReason.KILLED), False),
    ],
)
def test_only_an_end_that_another_start_would_repeat_is_one(status: TrainingStatus, is_end: bool) -> None:
    assert is_end_of_training(status, LIMITS) == is_end


class KilledTraining(FakeTraining):
    """Ends as if the machine had no memory left."""

    def status(self) -> TrainingStatus:
        return stopped(StopReason.KILLED)


@dataclass
class KillingSandbox(FakeSandbox):
    """Its first training is killed from outside."""

    def start_training(self, spec: TrainingSpec, *rest: Any) -> FakeTraining:
        training = super().start_training(spec, *rest)
        if len(self.trainings) == 1:
            self.trainings[0] = training = KilledTraining(spec, [])
        return training


def test_a_training_that_was_killed_from_outside_goes_on(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        sandbox = fleet.sandboxes["worker0"] = KillingSandbox(checkpoints=(b"0.5",))
        fleet.start("worker0")
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        first, second = sandbox.trainings
        assert (first.spec.attempt, first.forgotten) == (second.spec.attempt, False)

    play(tmp_path, script)


class UselessSandbox(FakeSandbox):
    """Of a machine on which no training starts."""

    def start_training(self, spec: TrainingSpec, *rest: Any) -> FakeTraining:
        raise OwnFailureError("the registry does not answer")


def test_a_training_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.sandboxes["worker0"] = UselessSandbox()
        with capture_logs() as logs:
            fleet.start("worker0")
            job_id = submit(fleet)
            shown = tmp_path / "worker0" / "status.json"
            await fleet.wait_for(lambda: shown.exists() and "the registry does not answer" in shown.read_text())
        assert json.loads(shown.read_text())["refused"][str(job_id)]["filter"] == "not_now"
        found = {(line["event"], line.get("job"), line.get("reason")) for line in logs}
        assert ("training_not_started", job_id, "the registry does not answer") in found

    play(tmp_path, script)


def test_a_checkpoint_that_the_store_cannot_take_yet_is_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container gives each of them once."""
    add_file = ModelStore.add_file
    refused: list[Path] = []

    def refuse_once(store: ModelStore, path: Path, max_bytes: int) -> bytes:
        if not refused:
            refused.append(path)
            raise StoreFull("the disk is full")
        return add_file(store, path, max_bytes)

    monkeypatch.setattr(ModelStore, "add_file", refuse_once)

    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        fleet.start("worker0", (b"0.5",))
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        assert len(fleet.sandboxes["worker0"].trainings) == 1
        assert refused
        assert not refused[0].exists()
        assert fleet.chain.job(job_id).state == pb.JOB_STATE_OPEN

    play(tmp_path, script)


def test_a_checkpoint_is_in_the_journal_before_its_copy_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker killed in between takes the copy at its next start."""
    save = Journal.save
    seen: list[bool] = []

    def look(journal: Journal, memory: Memory) -> None:
        scratch = tmp_path / "worker0" / "scratch"
        seen.extend((scratch / get_scratch_name(job_id)).exists() for job_id in memory.fresh)
        save(journal, memory)

    monkeypatch.setattr(Journal, "save", look)

    async def script(fleet: Fleet) -> None:
        fleet.start("worker0", (b"0.5",))
        submit(fleet)
        await fleet.wait_for(lambda: bool(seen))
        assert seen[0]

    play(tmp_path, script)


@pytest.mark.parametrize("name", ["good", "broken"])
def test_a_training_that_will_not_go_on_keeps_nothing_on_the_disk(tmp_path: Path, name: str) -> None:
    """Its state is as large as the worker lets it be, and the job may be open for months."""

    async def script(fleet: Fleet) -> None:
        fleet.start("worker0", checkpoints=(b"0.5",))
        sandbox = fleet.sandboxes["worker0"]
        image = f"registry.example/{name}@sha256:{'0' * 64}"
        fleet.chain.submit(expiry_ms=fleet.chain.time_ms + 10 * RACE_MS, image=image)
        await fleet.wait_for(lambda: bool(sandbox.forgotten_attempts or any(t.forgotten for t in sandbox.trainings)))

    play(tmp_path, script)


class EndlessTraining(FakeTraining):
    """Runs until it is stopped."""

    def status(self) -> TrainingStatus:
        return super().status() if self.stopped else TrainingStatus(TrainingState.RUNNING, 1.0)


@dataclass
class EndlessSandbox(FakeSandbox):
    """None of its trainings ends by itself."""

    def start_training(self, spec: TrainingSpec, *rest: Any) -> FakeTraining:
        self.trainings.append(EndlessTraining(spec, []))
        return self.trainings[-1]


def test_a_training_that_is_stopped_is_closed_before_its_job_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the attempt to forget it fails, since it is running, and comes again some blocks later."""
    sandbox = EndlessSandbox()
    handle = WorkerState.handle
    closed: list[bool] = []

    def look(state: WorkerState, happening: Happening) -> list[Instruction]:
        if isinstance(happening, TrainingEnded):
            closed.append(sandbox.trainings[0].closed)
        return handle(state, happening)

    monkeypatch.setattr(WorkerState, "handle", look)

    async def script(fleet: Fleet) -> None:
        fleet.sandboxes["worker0"] = sandbox
        fleet.start("worker0")
        await fleet.settle(submit(fleet))
        await fleet.wait_for(lambda: bool(sandbox.forgotten_attempts))
        assert closed == [True]

    play(tmp_path, script)


def test_what_is_kept_of_an_attempt_goes_when_its_job_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was not running then, but waiting to be tried again."""
    monkeypatch.setattr("worker.state.RETRY_BLOCKS", 1000)

    async def script(fleet: Fleet) -> None:
        sandbox = fleet.sandboxes["worker0"] = KillingSandbox()
        fleet.start("worker0")
        await fleet.settle(submit(fleet))
        await fleet.wait_for(lambda: bool(sandbox.forgotten_attempts))
        (training,) = sandbox.trainings
        assert (sandbox.forgotten_attempts, training.forgotten) == ([training.spec.attempt], False)

    play(tmp_path, script)
