"""A worker that is killed in the middle of something goes on with it after its restart."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment
from learningchain.client import errors
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import SALT
from tests.support.virtual_time import wait_for_test
from tests.worker.fleet import Fleet, play, start_checkers, submit
from worker import events as ev
from worker.actions import Actions
from worker.journal import Journal
from worker.sandbox import Evaluation, EvaluationLimits, OwnFailureError
from worker.state import Memory


@dataclass
class HeldSandbox(FakeSandbox):
    """Evaluates nothing before the event."""

    held_until: threading.Event = field(default_factory=threading.Event)

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        wait_for_test(self.held_until)
        raise OwnFailureError("the worker was killed meanwhile")


def test_a_worker_killed_after_announcing_reveals_after_its_restart_and_announces_nothing_twice(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5",))
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        await fleet.kill("worker0")
        await fleet.wait_for(lambda: fleet.chain.job(job_id).state == pb.JOB_STATE_REVEAL)
        fleet.start("worker0")
        job = await fleet.settle(job_id)
        assert job.state == pb.JOB_STATE_PAID
        assert job.announcements == 1
        assert fleet.count_sent("announce", "worker0") == 1

    play(tmp_path, script)


def test_a_worker_killed_before_it_has_evaluated_its_last_model_does_so_after_its_restart(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        killed = threading.Event()
        sandbox = fleet.sandboxes["worker0"] = HeldSandbox(checkpoints=(b"0.5",), held_until=killed)
        fleet.start("worker0")
        job_id = submit(fleet)
        await fleet.wait_for(lambda: any(training.closed for training in sandbox.trainings))
        await fleet.kill("worker0")
        killed.set()
        fleet.sandboxes["worker0"] = again = FakeSandbox(checkpoints=())
        fleet.start("worker0")
        job = await fleet.settle(job_id)
        assert (job.outcome, job.winner) == (pb.OUTCOME_ACCEPTED, fleet.chain.address("worker0"))
        assert again.trainings == []

    play(tmp_path, script)


def test_an_announcement_that_a_crash_interrupted_is_repeated_with_the_same_commitment(tmp_path: Path) -> None:
    """The first one may still land: with another salt it could not be opened any more."""

    async def script(fleet: Fleet) -> None:
        job_id, account, model = submit(fleet), fleet.chain.address("worker0"), b"0.5"
        digest = hashlib.sha256(model).digest()
        home = tmp_path / "worker0"
        (home / "models").mkdir(parents=True)
        (home / "models" / digest.hex()).write_bytes(model)
        memory = Memory(
            fleet.chain.tag, evaluated={(job_id, digest): ev.Evaluated(job_id, digest, (500_000_000,) * 3, 1)}
        )
        memory.announced[job_id, digest] = ev.Announced(job_id, digest, SALT, 500_000_000)
        journal = Journal(home / "journal.sqlite", fleet.chain.tag, account)
        journal.save(memory)
        journal.close()
        fleet.start("checker0", checks=True)
        fleet.start("worker0")
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        expected = compute_model_commitment(fleet.chain.tag, job_id, account, digest, SALT)
        assert fleet.chain.job(job_id).candidates[0].commitment == expected

    play(tmp_path, script)


@pytest.mark.parametrize("left", [None, b"0.9"])
def test_a_model_that_is_not_in_the_store_any_more_or_damaged_keeps_no_other_from_being_announced(
    tmp_path: Path, left: bytes | None
) -> None:
    async def script(fleet: Fleet) -> None:
        job_id, account, models = submit(fleet), fleet.chain.address("worker0"), (b"0.2", b"0.3")
        home = tmp_path / "worker0"
        (home / "models").mkdir(parents=True)
        gone, held = (hashlib.sha256(model).digest() for model in models)
        (home / "models" / held.hex()).write_bytes(models[1])
        if left is not None:
            (home / "models" / gone.hex()).write_bytes(left)
        memory = Memory(fleet.chain.tag)
        memory.evaluated[job_id, gone] = ev.Evaluated(job_id, gone, (200_000_000,) * 3, 1)
        memory.evaluated[job_id, held] = ev.Evaluated(job_id, held, (300_000_000,) * 3, 1)
        journal = Journal(home / "journal.sqlite", fleet.chain.tag, account)
        journal.save(memory)
        journal.close()
        fleet.start("checker0", checks=True)
        await fleet.wait_for(lambda: bool(fleet.count_sent("set_profile", "checker0")))
        fleet.start("worker0")
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        assert fleet.chain.job(job_id).candidates[0].loss == 300_000_000
        await fleet.kill("worker0")
        restored = Journal(home / "journal.sqlite", fleet.chain.tag, account)
        assert (job_id, gone) not in restored.restore().evaluated
        restored.close()

    play(tmp_path, script)


def test_a_winner_keeps_its_model_though_it_did_not_see_its_reveal_in_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Actions._send

    async def lose_sight(actions: Actions, message: Message) -> None:
        await send(actions, message)
        if isinstance(message, tx_pb2.Reveal):
            raise errors.NodeUnreachable("the node went away meanwhile")

    monkeypatch.setattr(Actions, "_send", lose_sight)

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5",))
        await fleet.wait_for(fleet.has_relays)
        job = await fleet.settle(submit(fleet))
        assert job.state == pb.JOB_STATE_PAID
        assert list((tmp_path / "worker0" / "models").glob("*.keep"))

    play(tmp_path, script)


def test_a_checker_killed_between_commit_and_reveal_still_reveals_its_vote(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.start("worker0", (b"0.5",))
        job_id = submit(fleet)

        def has_committed() -> bool:
            job = fleet.chain.job(job_id)
            if job.state not in (pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY):
                return False
            votes = fleet.chain.round(job_id, job.round).votes
            return any(vote.account == fleet.chain.address("checker0") and vote.commitment for vote in votes)

        await fleet.wait_for(has_committed)
        await fleet.kill("checker0")
        fleet.start("checker0", checks=True)
        job = await fleet.settle(job_id)
        assert job.outcome == pb.OUTCOME_ACCEPTED
        assert fleet.chain.standing("checker0").votes_missed == 0
        assert fleet.count_sent("commit_vote", "checker0") == 1

    play(tmp_path, script)
