"""What a worker keeps in its model store, and what gives room to others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abci_app.protocol.limits import MIB
from tests.support.fake_sandbox import FakeSandbox, FakeTraining
from tests.worker.fleet import RACE_MS, Fleet, play
from worker.sandbox import TrainingSpec, TrainingState, TrainingStatus

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
