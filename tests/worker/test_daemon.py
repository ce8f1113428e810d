"""The whole worker over a chain in memory and a sandbox in memory: several workers, real HTTP between them."""

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.limits import UCREDIT
from learningchain.claims import Claim, Claims
from learningchain.client import Client
from learningchain.wallet import SecretKey
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import IMAGE, SALT, Market
from tests.support.memory_client import MemoryTransport
from worker import events as ev
from worker.cli import app as worker_commands
from worker.journal import Journal
from worker.sandbox import Evaluation, EvaluationLimits, OwnFailureError
from worker.service import run_with
from worker.settings import Jobs, Models, Resources, WorkerSettings
from worker.state import Memory

BLOCK_SECONDS = 0.05
BLOCK_MS = 500
RACE_MS = 20_000


@dataclass
class HeldSandbox(FakeSandbox):
    """Evaluates nothing before the event."""

    held_until: threading.Event = field(default_factory=threading.Event)

    def evaluate(self, image: str, model: Path, limits: EvaluationLimits) -> Evaluation:
        self.held_until.wait(60)
        raise OwnFailureError("the worker was killed meanwhile")


@dataclass
class Fleet:
    """A market whose blocks come by themselves, and the workers started on it."""

    chain: Market
    transport: MemoryTransport
    folder: Path
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    stops: dict[str, asyncio.Event] = field(default_factory=dict)
    sandboxes: dict[str, FakeSandbox] = field(default_factory=dict)

    def start(
        self, name: str, checkpoints: tuple[bytes, ...] = (), *, checks: bool = False, loopback: bool = True
    ) -> None:
        """Start a worker in the folder of its name: a training one, or one that checks and relays."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        models = Models(allow_loopback=loopback)
        if checks:
            listen = f"127.0.0.1:{find_port()}"
            models = Models(allow_loopback=True, listen=listen, endpoint=f"http://{listen}")
        settings = WorkerSettings(
            check=checks, jobs=Jobs(train=not checks, checkpoint_every=1, min_time_left=1),
            resources=Resources(), models=models,
        )  # fmt: skip
        sandbox = self.sandboxes.setdefault(name, FakeSandbox(checkpoints=checkpoints))
        stop = self.stops[name] = asyncio.Event()
        key = SecretKey(hashlib.sha256(name.encode()).digest())
        client = Client(self.transport)
        self.tasks[name] = asyncio.create_task(run_with(home, settings, key, client, sandbox, stop))

    async def kill(self, name: str) -> None:
        """End a worker in the middle of whatever it does, as `kill -9` would."""
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def wait_for(self, is_true: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait for something; a worker that ended fails the test with its error."""
        async with asyncio.timeout(seconds):
            while not is_true():
                for task in self.tasks.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    def has_relays(self) -> bool:
        """Tell whether every checker has published where it serves models."""
        addresses = [self.chain.address(f"checker{number}") for number in range(5)]
        return all(self.chain.get(keys.profile(address), pb.Profile) for address in addresses)

    async def settle(self, job_id: int) -> pb.Job:
        """Wait for the end of a job."""
        await self.wait_for(lambda: self.chain.job(job_id).state >= pb.JOB_STATE_PAID)
        return self.chain.job(job_id)

    def count_sent(self, kind: str, name: str) -> int:
        """Return how many different transactions of a kind an account broadcast."""
        sent = set(self.transport.broadcasts)
        parsed = [self.chain.cache.parse(tx) for tx in sent]
        return sum(tx.kind == kind and tx.account == self.chain.address(name) for tx in parsed)


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@asynccontextmanager
async def running_fleet(folder: Path) -> AsyncIterator[Fleet]:
    chain = Market()
    transport = MemoryTransport(chain)
    fleet = Fleet(chain, transport, folder)

    async def tick() -> None:
        while True:
            await asyncio.sleep(BLOCK_SECONDS)
            transport.make_block(BLOCK_MS)

    ticker = asyncio.create_task(tick())
    try:
        yield fleet
        for stop in fleet.stops.values():
            stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*fleet.tasks.values())
    finally:
        for task in [ticker, *fleet.tasks.values()]:
            task.cancel()
        await asyncio.gather(ticker, *fleet.tasks.values(), return_exceptions=True)


def play(folder: Path, script: Callable[[Fleet], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running_fleet(folder) as fleet:
            await script(fleet)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _fast_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.training.POLL_SECONDS", 0.05)


def submit(fleet: Fleet) -> int:
    """Publish a job in a block of its own and return its id."""
    return fleet.chain.submit(expiry_ms=fleet.chain.time_ms + RACE_MS)


def test_the_best_of_two_workers_without_inbound_port_is_checked_and_paid(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
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
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
        await fleet.wait_for(fleet.has_relays)
        fleet.start("worker0", (b"0.5",), loopback=False)
        job = await fleet.settle(submit(fleet))
        assert len(fleet.sandboxes["worker0"].evaluated) == 3
        assert (job.state, job.announcements) == (pb.JOB_STATE_EXPIRED, 0)

    play(tmp_path, script)


def test_a_worker_killed_after_announcing_reveals_after_its_restart_and_announces_nothing_twice(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
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


def test_a_checker_killed_between_commit_and_reveal_still_reveals_its_vote(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
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
        promise = tmp_path / "worker0" / "models" / f"{hashlib.sha256(b'0.4').hexdigest()}.keep"
        await fleet.wait_for(promise.exists)
        retention = fleet.transport.chain.params.model_retention_ms / 1000
        assert promise.stat().st_mtime > time.time() + retention  # counted from the expiry, not from now
        job = await fleet.settle(job_id)
        assert (job.outcome, job.winner) == (pb.OUTCOME_ACCEPTED, fleet.chain.address("worker0"))
        assert job.announcements == 1

    play(tmp_path, script)


def test_a_claim_whose_model_has_changed_is_not_taken_over(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        job_id = submit(fleet)
        path = claim_by_hand(fleet, job_id, b"0.4")
        path.write_bytes(b"0.9")
        fleet.start("worker0")
        job = await fleet.settle(job_id)
        assert job.state == pb.JOB_STATE_REFUNDED
        assert fleet.count_sent("reveal", "worker0") == 0

    play(tmp_path, script)


def start_checkers(fleet: Fleet) -> None:
    for number in range(5):
        fleet.start(f"checker{number}", checks=True)


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


def test_a_worker_ends_at_once_when_it_is_told_to_while_it_looks_for_a_model(tmp_path: Path) -> None:
    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        job_id = fleet.chain.open_vote()
        status = tmp_path / "checker0" / "status.json"
        await fleet.wait_for(lambda: status.exists() and f"Check {job_id}" in status.read_text())
        fleet.stops["checker0"].set()
        async with asyncio.timeout(3):
            await fleet.tasks["checker0"]

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


def test_workers_go_on_after_their_node_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.daemon.RECONNECT_SECONDS", 0.05)

    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
        fleet.start("worker0", (b"0.5", b"0.4"))
        job_id = submit(fleet)
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)
        fleet.transport.failing = True
        await asyncio.sleep(0.5)
        fleet.transport.failing = False
        job = await fleet.settle(job_id)
        assert job.state == pb.JOB_STATE_PAID

    play(tmp_path, script)


def test_a_model_that_scores_worse_than_announced_convicts_its_worker(tmp_path: Path) -> None:
    """The worker's own sandbox lies to it: what it announces is not what the checkers measure."""

    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True)
        fleet.sandboxes["worker0"] = BoastfulSandbox(checkpoints=(b"0.5",))
        fleet.start("worker0")
        job = await fleet.settle(submit(fleet))
        assert job.state == pb.JOB_STATE_REFUNDED
        assert job.outcome == pb.OUTCOME_CONVICTED
        assert fleet.chain.account("worker0").banned

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
