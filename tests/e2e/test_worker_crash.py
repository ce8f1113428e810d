"""`kill -9` of worker processes, on a real chain and a real engine: nothing is announced twice, nothing is forgotten.

The trainer has no inbound port: it brings its model to relays, and is paid.
"""

import base64
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
import tomlkit
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from learningchain.client import SyncClient, connect
from learningchain.processes import start_process, stop_process
from learningchain.wallet import Keystore, SecretKey
from tests.support.cometbft import TestNode, make_network, wait_for
from tests.support.ports import reserved_ports
from tests.support.wallets import Wallet
from worker.sandbox.host import get_owner
from worker.sandbox.spec import OWNER_LABEL

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(400)]

CONTRACTOR, SECOND, OPERATOR, TRAINER = Wallet("contractor"), Wallet("second"), Wallet("operator 0"), Wallet("trainer")
OPEN_SECONDS = 60
LAST_SECONDS = 2.0
"""So long before the expiry the trainer is killed for the last time."""


@dataclass
class Process:
    """A worker that can be killed and started again in its home."""

    home: Path
    running: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "worker", "start", "--home", str(self.home)]
        self.running = start_process(command, self.home / "worker.log")

    def kill(self) -> None:
        """End it as a power cut would; its guard lives."""
        assert self.running is not None
        assert self.running.poll() is None, self.log()
        self.running.kill()
        self.running.wait()
        self.kills += 1

    def log(self) -> str:
        """Return what it said last."""
        return (self.home / "worker.log").read_text(errors="replace")[-3_000:]

    @property
    def owner(self) -> str:
        """The label's value of its containers."""
        return f"{OWNER_LABEL}={get_owner((self.home / 'sandbox').resolve())}"


@dataclass
class Scene:
    """One node, the contractor's client, and workers."""

    node: TestNode
    engine: docker.APIClient
    root: Path
    client: SyncClient
    held: ExitStack
    workers: dict[str, Process] = field(default_factory=dict)

    def add(self, wallet: Wallet, *, checks: bool) -> Process:
        """Make a worker's home: a checker that relays models, or a trainer that nobody can connect to."""
        home = self.root / wallet.name.replace(" ", "-")
        home.mkdir(mode=0o700)
        listen = f"127.0.0.1:{self.held.enter_context(reserved_ports(1))[0]}"
        served = {"listen": listen, "endpoint": f"http://{listen}"} if checks else {}
        settings = {
            "node": self.node.rpc_url, "check": checks,
            "jobs": {"train": not checks, "checkpoint_every": 2, "min_time_left": 3},
            "resources": {"milli_cpus": 500, "memory": 512, "disk": 128},
            "models": {"allow_loopback": True, **served},
        }  # fmt: skip
        (home / "worker.toml").write_text(tomlkit.dumps(settings))
        Keystore(home / "keys").add("worker", SecretKey(wallet.seed), password=None)
        self.workers[wallet.name] = Process(home)
        return self.workers[wallet.name]

    def send(self, wallet: Wallet, message: Message) -> None:
        """Send a transaction and wait for its success."""
        self.client.sender(SecretKey(wallet.seed)).send(message, timeout_s=30)

    def job(self) -> pb.Job:
        """Return the only job."""
        found = self.client.get_job(1)
        assert found is not None
        return found.job

    def left_seconds(self) -> float:
        """Return how long the job's deadline is away."""
        return (self.job().deadline_ms - self.client.get_status().time_ms) / 1000

    def containers(self, worker: Process) -> list[str]:
        """Return the containers of a worker, dead ones too."""
        return [entry["Id"] for entry in self.engine.containers(all=True, filters={"label": worker.owner})]

    def votes(self) -> dict[bytes, pb.Vote]:
        """Return the seats of the present round by account."""
        current = self.client.get_round(1, self.job().round)
        return {} if current is None else {vote.account: vote for vote in current.votes}

    def wait(self, is_true: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
        """Wait for something; says what the workers said if it does not happen."""
        try:
            wait_for(is_true, seconds, what)
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{worker.log()}" for name, worker in self.workers.items() if worker.running)
            raise AssertionError(f"{error}\n{logs}") from None

    def read_sent(self, wallet: Wallet) -> list[tx_pb2.TxBody]:
        """Return all transactions of an account that are in blocks, failed ones too."""
        bodies = []
        for height in range(1, self.node.height() + 1):
            for tx in self.node.rpc("block", height=str(height))["block"]["data"]["txs"]:
                body = tx_pb2.TxBody.FromString(tx_pb2.SignedTx.FromString(base64.b64decode(tx)).body_bytes)
                if body.account == wallet.address:
                    bodies.append(body)
        return bodies


@contextmanager
def open_scene(cometbft: str, docker_host: str) -> Iterator[Scene]:
    root = Path(tempfile.mkdtemp(prefix="lcw-"))
    engine = docker.APIClient(base_url=docker_host, version="auto", timeout=60)
    try:
        with ExitStack() as held, make_network(cometbft, wallets=(CONTRACTOR, SECOND), set_name="devnet") as network:
            node = network.nodes[0]
            node.start()
            node.wait_for_height(2)
            scene = Scene(node, engine, root, SyncClient(connect(node.rpc_url)), held)
            try:
                yield scene
            finally:
                for worker in scene.workers.values():
                    if worker.running is not None:
                        stop_process(worker.running)
                scene.client.close()
    finally:
        engine.close()
        shutil.rmtree(root)


def submit(scene: Scene, image: str) -> None:
    params = scene.client.get_chain().params
    terms = tx_pb2.SubmitJob(
        image=image, title="digits", metric="log-loss", bounty=20 * UCREDIT, free_places=1,
        verify_fee=params.classes[0].min_verify_fee, reveal_window_ms=30_000, tolerance=1_000, ban_margin=10_000_000,
        min_improvement=1_000_000, loss_ceiling=3_000_000_000,
        expiry_ms=scene.client.get_status().time_ms + 1000 * OPEN_SECONDS,
        needs=tx_pb2.TrainingNeeds(milli_cpus=500, memory_mib=256, disk_mib=64),
    )  # fmt: skip
    scene.send(CONTRACTOR, terms)


def kill_the_trainer_while_it_trains_and_before_its_turn(scene: Scene, trainer: Process) -> None:
    scene.wait(lambda: scene.containers(trainer), "training")
    trainer.kill()
    scene.wait(lambda: not scene.containers(trainer), "end of the training container without a worker")
    trainer.start()
    scene.wait(lambda: scene.job().candidates, "first announcement")
    trainer.kill()
    trainer.start()
    scene.wait(lambda: scene.left_seconds() < LAST_SECONDS, "expiry", 2 * OPEN_SECONDS)
    trainer.kill()
    scene.wait(lambda: scene.job().state == pb.JOB_STATE_REVEAL, "turn of the trainer")
    trainer.start()
    scene.wait(lambda: scene.job().state == pb.JOB_STATE_VOTE, "reveal after the restart")


def kill_the_checker_while_it_evaluates_and_before_it_reveals(scene: Scene, checker: Process) -> None:
    scene.wait(lambda: scene.containers(checker), "evaluation")
    checker.kill()
    checker.start()
    scene.wait(lambda: scene.votes()[OPERATOR.address].commitment, "commitment after the restart")
    checker.kill()
    assert not scene.votes()[OPERATOR.address].finding


def test_killed_workers_announce_nothing_twice_and_forget_no_reveal_and_no_vote(
    cometbft: str, docker_host: str, digits_image: str
) -> None:
    with open_scene(cometbft, docker_host) as scene:
        scene.send(SECOND, tx_pb2.Bond(amount=900 * UCREDIT))
        scene.send(SECOND, tx_pb2.SetChecker(enabled=True))
        trainer, checker = scene.add(TRAINER, checks=False), scene.add(OPERATOR, checks=True)
        for worker in (trainer, checker):
            worker.start()
        scene.wait(lambda: scene.client.get_account(TRAINER.address) and scene.client.list_relays(), "workers")
        submit(scene, digits_image)
        kill_the_trainer_while_it_trains_and_before_its_turn(scene, trainer)
        assert set(scene.votes()) == {OPERATOR.address, SECOND.address}
        kill_the_checker_while_it_evaluates_and_before_it_reveals(scene, checker)
        # Only now does the other seat vote: until then the window for votes stays open.
        scene.add(SECOND, checks=True).start()
        checker.start()
        scene.wait(lambda: scene.job().state >= pb.JOB_STATE_PAID, "end of the job")
        check_outcome(scene)
        for worker in scene.workers.values():
            assert worker.running is not None
            stop_process(worker.running)
            assert scene.containers(worker) == []
            assert list((worker.home / "sandbox" / "runs").glob("*/lc-*")) == []
        assert (trainer.kills, checker.kills) == (3, 2)


def check_outcome(scene: Scene) -> None:
    job = scene.job()
    assert (job.state, job.outcome, job.winner) == (pb.JOB_STATE_PAID, pb.OUTCOME_ACCEPTED, TRAINER.address)
    account = scene.client.get_account(TRAINER.address)
    assert account is not None
    assert account.account.balance == 20 * UCREDIT
    assert all(vote.finding == tx_pb2.FINDING_MEASURED for vote in scene.votes().values())
    for wallet in (OPERATOR, SECOND):
        found = scene.client.get_account(wallet.address)
        assert found is not None
        assert (found.standing.votes_agreed, found.standing.votes_missed) == (1, 0)
    sent = scene.read_sent(TRAINER)
    announced = [body.announce for body in sent if body.HasField("announce")]
    assert announced
    losses = [entry.loss for entry in announced]
    assert losses == sorted(set(losses), reverse=True), "each announcement is lower than the one before"
    assert len({entry.commitment for entry in announced}) == len(announced)
    revealed = [body.reveal for body in sent if body.HasField("reveal")]
    assert [list(entry.locations) for entry in revealed] == [[]]
    for wallet in (OPERATOR, SECOND):
        kinds = [body.WhichOneof("message") for body in scene.read_sent(wallet)]
        assert (kinds.count("commit_vote"), kinds.count("reveal_vote")) == (1, 1)
