"""The whole worker: a race, what it refuses and reports, and how it ends."""

import asyncio
import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import IMAGE
from tests.support.virtual_time import wait_for_test
from tests.worker.fleet import RACE_MS, Fleet, play, start_checkers, submit
from worker.cli import app as worker_commands
from worker.daemon import RECONNECT_SECONDS
from worker.sandbox import Evaluation, EvaluationLimits
from worker.state import RETRY_BLOCKS


def test_a_node_that_is_away_is_told_of_once_and_that_it_is_back(tmp_path: Path) -> None:
    """Each look would else be a line: tens of thousands a day."""

    async def script(fleet: Fleet) -> None:
        fleet.start("worker0")
        await fleet.wait_for(lambda: (tmp_path / "worker0" / "status.json").exists())
        for _ in range(2):
            with capture_logs() as logs:
                fleet.transport.failing = True
                await asyncio.sleep(10 * RECONNECT_SECONDS)
                fleet.transport.failing = False
                await asyncio.sleep(2 * RECONNECT_SECONDS)
            told = [line["event"] for line in logs if line["event"].startswith("node_of")]
            assert told == ["node_of_no_use", "node_of_use_again"]

    play(tmp_path, script)


def test_the_best_of_two_workers_without_inbound_port_is_checked_and_paid(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5", b"0.3", b"0.2"))
        fleet.start("worker1", (b"0.4", b"0.25"))
        await fleet.wait_for(fleet.has_relays)
        job = await fleet.settle(submit(fleet))
        assert job.state == pb.JOB_STATE_PAID
        assert job.outcome == pb.OUTCOME_ACCEPTED
        assert job.winner == fleet.chain.address("worker0")
        assert job.winning_loss == 200_000_000
        assert fleet.chain.balance("worker0") >= 10 * UCREDIT
        assert all(fleet.chain.standing(f"checker{i}").votes_missed == 0 for i in range(5))

    play(tmp_path, script)


def test_a_model_that_cannot_lead_is_run_once_and_one_that_leads_as_often_as_an_announcement_needs(
    tmp_path: Path,
) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        job_id = fleet.chain.submit(expiry_ms=fleet.chain.time_ms + 30 * RACE_MS)
        fleet.start("worker0", (b"0.2",))
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        fleet.start("worker1", (b"0.3",))
        status = tmp_path / "worker1" / "status.json"
        await fleet.wait_for(lambda: status.exists() and '"300000000"' in status.read_text())
        assert [model for _, model in fleet.sandboxes["worker0"].evaluated] == [b"0.2"] * 3
        assert [model for _, model in fleet.sandboxes["worker1"].evaluated] == [b"0.3"]

    play(tmp_path, script)


@dataclass
class FirstHeldSandbox(FakeSandbox):
    """Evaluates with the image named `first` only after the event."""

    held_until: threading.Event = field(default_factory=threading.Event)

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        if "first" in image:
            wait_for_test(self.held_until)
        return super().evaluate(image, model, limits)


def test_a_model_whose_job_closed_while_it_waited_for_its_turn_is_not_measured(tmp_path: Path) -> None:
    """An evaluation may take an hour, and all others would wait for it."""

    async def script(fleet: Fleet) -> None:
        sandbox = fleet.sandboxes["worker0"] = FirstHeldSandbox((b"0.5",))
        fleet.start("checker0", checks=True)
        fleet.start("worker0", max_parallel=2)
        images = {name: IMAGE.replace("/job@", f"/{name}@") for name in ("first", "second")}
        long = fleet.chain.time_ms + 30 * RACE_MS
        first = fleet.chain.submit(image=images["first"], expiry_ms=long, bounty=20 * UCREDIT)
        await fleet.wait_for(lambda: any(training.closed for training in sandbox.trainings))
        second = fleet.chain.submit(image=images["second"], expiry_ms=fleet.chain.time_ms + RACE_MS)
        await fleet.wait_for(lambda: images["second"] in sandbox.prepared[1:])
        await fleet.settle(second)
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height + 2)
        sandbox.held_until.set()
        await fleet.wait_for(lambda: len(fleet.chain.job(first).candidates) == 1)
        assert {image for image, _ in sandbox.evaluated} == {images["first"]}

    play(tmp_path, script)


def test_a_model_that_could_not_be_measured_as_the_machine_was_too_slow_is_measured_later(tmp_path: Path) -> None:
    """It may be the last one of a training, which then ends."""

    async def script(fleet: Fleet) -> None:
        fleet.sandboxes["worker0"] = FakeSandbox(checkpoints=(b"0.5",), slow_samples=2)
        fleet.start("checker0", checks=True)
        fleet.start("worker0")
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)

    play(tmp_path, script)


def test_a_checkpoint_that_cannot_be_copied_is_missed_and_the_training_goes_on(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.sandboxes["worker0"] = FakeSandbox(checkpoints=(b"0.5", b"0.3"), failing_checkpoints=1)
        fleet.start("checker0", checks=True)
        fleet.start("worker0")
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        assert fleet.chain.job(job_id).candidates[0].loss == 300_000_000
        assert [training.failures for training in fleet.sandboxes["worker0"].trainings] == [0]

    play(tmp_path, script)


def test_a_worker_that_could_not_deliver_a_win_announces_nothing(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        fleet.start("worker0", (b"0.5",), loopback=False)
        job = await fleet.settle(submit(fleet))
        assert len(fleet.sandboxes["worker0"].evaluated) == 3
        assert (job.state, job.announcements) == (pb.JOB_STATE_EXPIRED, 0)

    play(tmp_path, script)


class SurprisingSandbox(FakeSandbox):
    """Fails in a way that nobody thought of when it is to evaluate the model `surprise`."""

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        found = super().evaluate(image, model, limits)
        if model.read_bytes() == b"7":
            raise RuntimeError("nobody thought of \x1b[31m this")
        return found


def test_a_failure_that_nobody_thought_of_ends_one_action_which_is_tried_again_after_a_pause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(fleet: Fleet) -> None:
        sandbox = fleet.sandboxes["worker0"] = SurprisingSandbox(checkpoints=(b"7",))
        fleet.start("worker0")
        submit(fleet)
        await fleet.wait_for(lambda: len(sandbox.evaluated) == 1)
        begun = fleet.chain.height
        await fleet.wait_for(lambda: len(sandbox.evaluated) == 3)
        assert fleet.chain.height - begun >= 2 * RETRY_BLOCKS - 1
        assert not fleet.tasks["worker0"].done()

    play(tmp_path, script)
    logged = [line for line in capsys.readouterr().out.splitlines() if "failed_unexpectedly" in line]
    assert len(logged) >= 2
    assert all("RuntimeError" in line and "nobody thought of" in line and "Evaluate" in line for line in logged)
    assert all(hashlib.sha256(b"7").hexdigest() in line for line in logged)
    assert "\x1b[31m this" not in "".join(logged)


def test_a_worker_ends_at_once_when_it_is_told_to_while_it_looks_for_a_model(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        job_id = fleet.chain.open_vote()
        status = tmp_path / "checker0" / "status.json"
        await fleet.wait_for(lambda: status.exists() and f"Check {job_id}" in status.read_text())
        fleet.stops["checker0"].set()
        async with asyncio.timeout(3):
            await fleet.tasks["checker0"]
        shown = json.loads(status.read_text())
        assert (shown["state"], shown["doing"]) == ("stopped", [])

    play(tmp_path, script)


def test_the_status_names_the_filter_that_refused_each_job(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("worker0")
        dear = fleet.chain.submit(bounty=101 * UCREDIT)
        large = fleet.chain.submit(needs=tx_pb2.TrainingNeeds(memory_mib=10_000))
        status = tmp_path / "worker0" / "status.json"
        await fleet.wait_for(lambda: status.exists() and f'"{large}"' in status.read_text())
        shown = CliRunner().invoke(worker_commands, ["status", "--home", str(tmp_path / "worker0"), "--output", "json"])
        refused = json.loads(shown.stdout)["refused"]
        reason = "bounty 101.000000 is more than 100.000000 and what it paid out before"
        assert refused[str(dear)] == {"filter": "contractor_trust", "reason": reason}
        assert refused[str(large)]["filter"] == "resources"

    play(tmp_path, script)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        (tmp_path / "worker0" / "status.part").mkdir(parents=True)
        fleet.start("worker0", (b"0.5",))
        submit(fleet)
        await fleet.wait_for(lambda: len(fleet.sandboxes["worker0"].evaluated) == 3)

    play(tmp_path, script)


def test_workers_go_on_after_their_node_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.daemon.RECONNECT_SECONDS", 0.05)

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5", b"0.4"))
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        fleet.transport.failing = True
        await asyncio.sleep(0.5)
        fleet.transport.failing = False
        job = await fleet.settle(job_id)
        assert job.state == pb.JOB_STATE_PAID

    play(tmp_path, script)
