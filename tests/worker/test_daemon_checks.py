"""Workers that check: what they vote about winners, images and models."""

import hashlib
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import MIB, UCREDIT
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import IMAGE
from tests.worker.fleet import RACE_MS, Fleet, play, start_checkers, submit
from tests.worker.model_nodes import dripping


@pytest.mark.parametrize("fault", ["broken", "sampleless", "dark"])
def test_an_image_that_does_not_run_is_unrunnable_also_when_nobody_has_the_model(tmp_path: Path, fault: str) -> None:
    """Else a contractor could have honest winners rejected with an image that nobody can evaluate."""

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        job_id = fleet.chain.open_vote(image=IMAGE.replace("/job@", f"/{fault}@"))
        job = await fleet.settle(job_id)
        assert (job.state, job.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_FAULTY_JOB)
        votes = fleet.chain.round(job_id, 0).votes
        assert {vote.finding for vote in votes} == {tx_pb2.FINDING_UNRUNNABLE}

    play(tmp_path, script)


def test_a_model_that_nobody_has_is_unavailable_and_holds_up_no_other_check(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        missing = fleet.chain.open_vote("worker1", bounty=50 * UCREDIT)  # a higher bounty: it is begun first
        fleet.start("worker0", (b"0.5",))
        good = await fleet.settle(submit(fleet))
        assert good.outcome == pb.OUTCOME_ACCEPTED
        assert fleet.chain.job(missing).state == pb.JOB_STATE_VOTE
        lost = await fleet.settle(missing)
        assert lost.outcome == pb.OUTCOME_REJECTED
        votes = fleet.chain.round(missing, 0).votes
        assert {vote.finding for vote in votes} == {tx_pb2.FINDING_UNAVAILABLE}

    play(tmp_path, script)


def test_jobs_of_less_bounty_do_not_keep_the_places_of_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has cheap jobs without models in VOTE would else have whatever it announced in a large one paid unchecked."""
    monkeypatch.setattr("worker.state.MAX_CHECKS", 1)

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        missing = fleet.chain.open_vote("worker1", bounty=UCREDIT)
        fleet.start("worker0", (b"0.5",))
        good = await fleet.settle(submit(fleet))
        assert fleet.chain.job(missing).state == pb.JOB_STATE_VOTE
        assert good.outcome == pb.OUTCOME_ACCEPTED

    play(tmp_path, script)


def test_models_of_less_bounty_that_drip_do_not_fill_the_store(tmp_path: Path) -> None:
    """Else no relay would have room for the model of a large job, and no checker could fetch it."""

    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True, max_size=1)
        await fleet.wait_for(fleet.has_relays)
        cheap = fleet.chain.submit(bounty=UCREDIT)
        fleet.chain.announce("worker1", cheap, 0)
        fleet.chain.expire(cheap)
        async with dripping() as source:
            fleet.chain.must("worker1", fleet.chain.revelation("worker1", cheap, size=800_000, locations=[source]))
            fleet.start("worker0", (b" " * (3 * MIB // 10) + b"0.5",))
            good = submit(fleet)
            await fleet.wait_for(lambda: fleet.chain.job(good).state == pb.JOB_STATE_REVEAL)
            window = fleet.chain.job(good)
            await fleet.wait_for(lambda: fleet.chain.job(good).state != pb.JOB_STATE_REVEAL)
            assert fleet.chain.time_ms < (window.window_opened_ms + window.deadline_ms) // 2  # a relay had room at once
            assert (await fleet.settle(good)).outcome == pb.OUTCOME_ACCEPTED

    play(tmp_path, script)


@pytest.mark.parametrize("name", ["job", "dark", "drip"])
def test_a_checker_that_comes_late_does_not_say_what_it_had_no_time_to_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Else checkers that were away together, or busy, would have an honest winner rejected."""
    monkeypatch.setattr("worker.measuring.FETCH_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("worker.measuring.IMAGE_LOOK_SECONDS", 0.05)

    async def script(fleet: Fleet) -> None:
        job_id = fleet.chain.open_vote(image=IMAGE.replace("/job@", f"/{name}@"))
        job = fleet.chain.job(job_id)
        late = job.deadline_ms - (job.deadline_ms - job.window_opened_ms) // 4
        await fleet.wait_for(lambda: fleet.chain.time_ms > late)
        start_checkers(fleet)
        first = job.deadline_ms
        await fleet.wait_for(lambda: fleet.chain.job(job_id).state != pb.JOB_STATE_VOTE or fleet.chain.time_ms > first)
        assert fleet.chain.job(job_id).renewed  # nobody spoke; now there is time

    play(tmp_path, script)


def test_a_location_that_no_client_can_ask_for_is_one_where_the_model_is_not(tmp_path: Path) -> None:
    locations = ["http://8。8。8。8/m", "http://8.8.8.8 /m", "http://[", "é"]

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        job_id = fleet.chain.submit()
        fleet.chain.announce("worker0", job_id, 0)
        fleet.chain.expire(job_id)
        fleet.chain.must("worker0", fleet.chain.revelation("worker0", job_id, locations=locations))
        job = await fleet.settle(job_id)
        assert job.outcome == pb.OUTCOME_REJECTED
        assert {vote.finding for vote in fleet.chain.round(job_id, 0).votes} == {tx_pb2.FINDING_UNAVAILABLE}

    play(tmp_path, script)


def test_a_size_that_is_not_the_model_s_makes_it_unavailable_also_to_those_who_have_it(tmp_path: Path) -> None:
    """Nobody could fetch it from them: a candidate would choose which checkers are outvoted and get no pay."""
    digest = hashlib.sha256(b"0.4").digest()
    for number in range(3):
        models = tmp_path / f"checker{number}" / "models"
        models.mkdir(parents=True)
        (models / digest.hex()).write_bytes(b"0.4")

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        job_id = fleet.chain.submit()
        fleet.chain.must("worker0", fleet.chain.announcement("worker0", job_id, 400_000_000, digest=digest))
        fleet.chain.expire(job_id)
        fleet.chain.must("worker0", fleet.chain.revelation("worker0", job_id, model_digest=digest, size=4))
        job = await fleet.settle(job_id)
        assert job.outcome == pb.OUTCOME_REJECTED
        assert {vote.finding for vote in fleet.chain.round(job_id, 0).votes} == {tx_pb2.FINDING_UNAVAILABLE}

    play(tmp_path, script)


def test_a_relay_that_no_client_can_ask_for_stops_neither_winner_nor_checkers(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.chain.must("checker4", tx_pb2.SetProfile(name="x", endpoint="http://8。8。8。8"))
        for number in range(4):
            fleet.start(f"checker{number}", checks=True)
        fleet.start("worker0", (b"0.5",))
        job = await fleet.settle(submit(fleet))
        assert job.outcome == pb.OUTCOME_ACCEPTED

    play(tmp_path, script)


class BoastfulSandbox(FakeSandbox):
    """Measures 0.1 whatever the model says."""

    def evaluate(self, image, model, limits):  # type: ignore[no-untyped-def]
        original = model.read_bytes()
        fake = model.with_name("boast")
        fake.write_bytes(b"0.1")
        try:
            assert original != b"0.1"
            return super().evaluate(image, fake, limits)
        finally:
            fake.unlink()


def test_a_model_that_scores_worse_than_announced_convicts_its_worker(tmp_path: Path) -> None:
    """The worker's own sandbox lies to it: what it announces is not what the checkers measure."""

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        fleet.sandboxes["worker0"] = BoastfulSandbox(checkpoints=(b"0.5",))
        fleet.start("worker0")
        job = await fleet.settle(submit(fleet))
        assert job.state == pb.JOB_STATE_REFUNDED
        assert job.outcome == pb.OUTCOME_CONVICTED
        assert fleet.chain.account("worker0").banned

    play(tmp_path, script)


def test_an_image_that_drips_is_unrunnable_when_only_the_time_of_an_evaluation_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the checkers silent instead, its contractor could have a confederate paid without a vote."""
    monkeypatch.setattr("worker.measuring.FETCH_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("worker.measuring.IMAGE_LOOK_SECONDS", 0.05)

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        job_id = fleet.chain.open_vote(image=IMAGE.replace("/job@", "/drip@"))
        job = await fleet.settle(job_id)
        assert (job.state, job.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_FAULTY_JOB)
        votes = fleet.chain.round(job_id, 0).votes
        assert {vote.finding for vote in votes} == {tx_pb2.FINDING_UNRUNNABLE}

    play(tmp_path, script)


def test_a_job_whose_image_drips_gives_its_place_back_when_it_closes(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        fleet.start("worker0", (b"0.5",))
        sandbox = fleet.sandboxes["worker0"]
        slow = fleet.chain.submit(image=IMAGE.replace("/job@", "/drip@"), expiry_ms=fleet.chain.time_ms + RACE_MS)
        await fleet.wait_for(lambda: any("drip" in image for image in sandbox.prepared))
        await fleet.settle(slow)
        good = await fleet.settle(submit(fleet))
        assert (good.state, good.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_ACCEPTED)

    play(tmp_path, script)


def test_an_eval_image_that_drips_holds_up_the_evaluations_of_no_other_job(tmp_path: Path) -> None:
    """Neither does it hold up the end of the worker."""

    async def script(fleet: Fleet) -> None:
        start_checkers(fleet)
        await fleet.wait_for(fleet.has_relays)
        fleet.start("worker0", (b"0.5",), max_parallel=2)
        sandbox = fleet.sandboxes["worker0"]
        fleet.chain.submit(
            eval_image=IMAGE.replace("/job@", "/drip@"),
            expiry_ms=fleet.chain.time_ms + 20 * RACE_MS,
            bounty=50 * UCREDIT,
        )
        await fleet.wait_for(lambda: any("drip" in image for image in sandbox.prepared))
        good = await fleet.settle(submit(fleet))
        assert (good.state, good.outcome) == (pb.JOB_STATE_PAID, pb.OUTCOME_ACCEPTED)

    play(tmp_path, script)
