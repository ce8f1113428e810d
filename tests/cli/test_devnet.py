"""`lc devnet` without processes; the tests with real ones are in tests/e2e."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from learningchain.devnet import commands, supervisor
from learningchain.devnet.create import _make_trainer
from learningchain.devnet.network import RunningDevnet
from learningchain.devnet.plan import DevnetError, DevnetHome, DevnetPlan, make_plan, save_plan
from learningchain.terms import TRAINING_DISK_MIB, TRAINING_MEMORY_MIB, TRAINING_MILLI_CPUS
from tests.cli.terminal import Terminal
from worker.settings import load_settings

SLEEPER = "import time; time.sleep(60)  # learningchain.devnet.supervisor"


@pytest.fixture
def plan(terminal: Terminal) -> DevnetPlan:
    """A devnet that was made and does not run."""
    made = make_plan("lc-devnet-x", 2, 1)
    terminal.home.mkdir()
    save_plan(DevnetHome(terminal.home), made)
    return made


def test_a_network_that_is_ready_is_told_as_data(
    terminal: Terminal, plan: DevnetPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "detach", lambda *_: plan)
    done = terminal.json("devnet", "up", "--detach")
    assert done.code == 0
    assert done.data == {"chain_id": "lc-devnet-x", "node": plan.get_node_url(0), "home": str(terminal.home)}
    assert f"lc devnet down --home {terminal.home}" in done.err


def test_a_devnet_that_does_not_run_is_shown(terminal: Terminal, plan: DevnetPlan) -> None:
    shown = terminal.json("devnet", "status").data
    assert shown["running"] is False
    assert [node["height"] for node in shown["nodes"]] == [None, None]
    shown = terminal.run("devnet", "status").out
    assert "not running" in shown
    assert "None" not in shown


def test_what_a_worker_does_and_refuses_is_shown(terminal: Terminal, plan: DevnetPlan) -> None:
    folder = DevnetHome(terminal.home).get_worker("ada")
    folder.mkdir(parents=True)
    refused = {"2": {"filter": "resources", "reason": "needs 9 GPUs, 0 are allowed"}}
    status = {"account": "lc1x", "doing": ["Train 1"], "refused": refused}
    (folder / "status.json").write_text(json.dumps(status))
    shown = terminal.json("devnet", "status").data["workers"][0]
    assert (shown["account"], shown["doing"], shown["refused"]) == ("lc1x", ["Train 1"], refused)
    assert "Train 1; refuses job 2: needs 9 GPUs, 0 are allowed" in terminal.run("devnet", "status").out


@pytest.mark.parametrize("rest", [b"", b'{"acc', b"\xff"])
def test_a_status_that_a_power_cut_left_short_is_none(terminal: Terminal, plan: DevnetPlan, rest: bytes) -> None:
    folder = DevnetHome(terminal.home).get_worker("ada")
    folder.mkdir(parents=True)
    (folder / "status.json").write_bytes(rest)
    assert terminal.json("devnet", "status").data["workers"][0]["doing"] is None


def test_ending_what_does_not_run_is_no_failure(terminal: Terminal) -> None:
    done = terminal.json("devnet", "down")
    assert (done.code, done.data["ended"]) == (0, False)


def test_training_workers_take_jobs_of_default_needs(tmp_path: Path) -> None:
    home = DevnetHome(tmp_path)
    _make_trainer(home, make_plan("x", 1, 1), 0, "ada")
    settings = load_settings(home.get_worker("ada"))
    policy = settings.make_policy()
    assert settings.make_sandbox_settings(tmp_path).allow_loopback
    assert policy.milli_cpus >= TRAINING_MILLI_CPUS
    assert policy.memory_mib >= TRAINING_MEMORY_MIB
    assert policy.disk_mib >= TRAINING_DISK_MIB


class Parts(RunningDevnet):
    """A devnet of no processes that is told to stop as soon as it is ready."""

    def __init__(self, home: DevnetHome) -> None:
        super().__init__(home, make_plan("x", 1, 0), Path("cometbft"))
        self.seen: list[str] = []

    def start_nodes(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self.seen.append(self.home.pid_file.read_text())

    def start_workers(self) -> None:
        """There are none."""

    def is_served(self) -> bool:
        return True

    def check(self) -> None:
        self.seen.append(self.home.pid_file.read_text())
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_starting_devnet_can_be_found_and_is_ready_only_later(tmp_path: Path) -> None:
    devnet = Parts(DevnetHome(tmp_path))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        supervisor.run(devnet, lambda _: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert devnet.seen == [f"{os.getpid()}\n", f"{os.getpid()} ready\n"]
    assert not devnet.home.pid_file.exists()


class Dying(Parts):
    """A devnet whose workers find no container engine and end before they serve anything."""

    def is_served(self) -> bool:
        return False

    def check(self) -> None:
        raise DevnetError("the worker of val1 ended with code 1")


def test_a_devnet_whose_workers_end_at_once_is_never_ready(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(DevnetError, match="the worker of val1 ended"):
            supervisor.run(Dying(DevnetHome(tmp_path)), lambda _: pytest.fail("it said that it is ready"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_devnet_is_served_when_every_validators_worker_listens(tmp_path: Path) -> None:
    devnet = RunningDevnet(DevnetHome(tmp_path), make_plan("x", 1, 0), Path("cometbft"))
    assert not devnet.is_served()
    with socket.create_server(("127.0.0.1", devnet.plan.validators[0].relay_port)):
        assert devnet.is_served()


def test_an_interrupt_while_a_detached_devnet_starts_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupt(_home: DevnetHome, process: subprocess.Popen[bytes]) -> None:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "_wait_until_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        supervisor.detach(DevnetHome(tmp_path / "d"), 1, 0)
    assert started[0].poll() is not None


def test_a_devnet_that_ends_while_it_starts_gives_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DevnetError, match="a devnet has 1 to 16 validators"):
        supervisor.detach(DevnetHome(tmp_path / "d"), 99, 0)


def test_a_running_devnet_is_ended(terminal: Terminal, plan: DevnetPlan) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    try:
        DevnetHome(terminal.home).pid_file.write_text(f"{process.pid} ready\n")
        while supervisor.find_running(DevnetHome(terminal.home)) is None:
            time.sleep(0.01)  # until it is the program that it will be
        assert terminal.json("devnet", "status").data["running"] is True
        done = terminal.run("devnet", "up")
        assert "runs already" in done.err
    finally:
        process.terminate()
        process.wait()
    assert terminal.json("devnet", "status").data["running"] is False
