"""A node of real CometBFT and the real application: both transports, both orders of start, two lives tied together."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors
from abci_app.server.query import QUERY_CODESPACE, UNKNOWN_PATH
from learningchain.node import get_status, run_node, start_node
from learningchain.node_home import NodeError, NodeHome
from tests.support.cometbft import TestNetwork, TestNode, make_network, wait_for
from tests.support.wallets import Wallet

pytestmark = pytest.mark.e2e

ALICE, BOB = Wallet("alice"), Wallet("bob")
WITH_INDEX = {"tx_index.indexer": "kv"}


def pay(network: TestNetwork, nonce: int, amount: int = 7) -> bytes:
    return network.sign(ALICE, tx_pb2.Transfer(to=BOB.address, amount=amount), nonce)


@pytest.fixture
def network(cometbft: str) -> Iterator[TestNetwork]:
    with make_network(cometbft, wallets=(ALICE, BOB), overrides=WITH_INDEX) as made:
        yield made


@pytest.fixture
def node(network: TestNetwork) -> TestNode:
    return network.nodes[0]


@pytest.mark.parametrize(
    ("version", "transport"),
    [("cometbft", "socket"), ("cometbft", "grpc"), ("cometbft_040", "socket"), ("cometbft_040", "grpc")],
    ids=lambda value: value,
)
def test_a_chain_runs_over_either_transport_and_version(
    request: pytest.FixtureRequest, version: str, transport: str
) -> None:
    program = request.getfixturevalue(version)
    with make_network(program, wallets=(ALICE, BOB), transport=transport, overrides=WITH_INDEX) as network:
        node = network.nodes[0]
        node.start()
        node.wait_for_height(1)
        txs = [pay(network, nonce) for nonce in (1, 2, 3)]
        assert [node.broadcast(tx) for tx in txs] == [0, 0, 0]
        assert node.broadcast(pay(network, 9)) == errors.WrongNonce.code
        assert [node.wait_for_tx(tx)["code"] for tx in txs] == [0, 0, 0]
        assert node.account(BOB).balance == 1_000_000_021
        node.stop()
        node.start()  # the handshake compares app hash and height
        height = node.wait_for_height(1)
        node.wait_for_height(height + 2)
        assert node.broadcast(pay(network, 4)) == 0
        assert node.account(BOB).balance >= 1_000_000_021


@pytest.mark.parametrize("transport", ["socket", "grpc"])
@pytest.mark.parametrize("first", ["app", "cometbft"])
def test_the_two_processes_may_be_started_by_hand_in_either_order(cometbft: str, transport: str, first: str) -> None:
    with make_network(cometbft, wallets=(ALICE,), transport=transport) as network:
        node = network.nodes[0]
        starts = [node.start_app, node.start_cometbft]
        for start in starts if first == "app" else reversed(starts):
            start()
        assert node.wait_for_height(2) >= 2


def test_status_says_where_the_node_stands(node: TestNode) -> None:
    with pytest.raises(NodeError, match="no node answers"):
        get_status(node.rpc_url)
    node.start()
    height = node.wait_for_height(2)
    status = get_status(node.rpc_url)
    assert status.height >= height
    assert (status.chain_id, status.moniker, status.peers) == ("e2e-test", "node0", 0)


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_path_that_is_no_text_is_unknown_and_the_node_goes_on(cometbft: str, transport: str) -> None:
    with make_network(cometbft, transport=transport) as network:
        node = network.nodes[0]
        node.start()
        height = node.wait_for_height(2)
        with urllib.request.urlopen(f"{node.rpc_url}/abci_query?path=0xff", timeout=10) as answer:  # bytes in hex
            response = json.load(answer)["result"]["response"]
        assert (response["code"], response["codespace"]) == (UNKNOWN_PATH, QUERY_CODESPACE)
        assert node.wait_for_height(height + 2)


def test_the_end_of_the_application_ends_cometbft(node: TestNode) -> None:
    running = node.start()
    node.wait_for_height(1)
    running.app.kill()
    ended = running.wait(lambda: False)
    assert ended is not None
    assert ended.startswith("abci_app was ended by SIGKILL; from ")
    assert running.cometbft.poll() is not None


def test_the_end_of_cometbft_ends_the_application(node: TestNode) -> None:
    running = node.start()
    node.wait_for_height(1)
    running.cometbft.kill()
    ended = running.wait(lambda: False)
    assert ended is not None
    assert ended.startswith("cometbft was ended by SIGKILL; from ")
    assert running.app.poll() is not None


def test_a_node_whose_disk_takes_no_more_of_consensus_ends(node: TestNode) -> None:
    """CometBFT stops making blocks and runs on: a validator would be missed, and jailed, until somebody looks."""
    running = node.start()
    wal = node.home.cometbft / "data" / "cs.wal" / "wal"
    wait_for(lambda: node.height() and wal.stat().st_size > 64 << 10, 60, "blocks")
    most = (wal.stat().st_size, resource.RLIM_INFINITY)
    resource.prlimit(running.cometbft.pid, resource.RLIMIT_FSIZE, most)  # no file may grow beyond it
    end = time.monotonic() + 60
    ended = running.wait(lambda: time.monotonic() > end)
    assert ended is not None
    assert ended.startswith("cometbft makes no blocks any more: look at the disk's free space")
    assert running.cometbft.poll() is not None
    assert running.app.poll() is not None


RUN = """
import sys
from pathlib import Path
from learningchain.node import run_node
from learningchain.node_home import NodeHome
run_node(NodeHome(Path(sys.argv[1])))
"""


def start_supervisor(node: TestNode) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LC_COMETBFT": str(node.program)}
    process = subprocess.Popen([sys.executable, "-c", RUN, str(node.home.root)], env=environment)
    node.started["supervisor"] = process
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_node_in_the_foreground_cleanly(node: TestNode, number: int) -> None:
    supervisor = start_supervisor(node)
    node.wait_for_height(1)
    supervisor.send_signal(number)
    assert supervisor.wait(20) == 0
    assert node.height() == 0
    assert "stopped" in node.log("abci_app").splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_node_that_does_not_run_yet(
    node: TestNode, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    command = ["sh", "-c", f"kill -{number} $PPID; exec sleep 1000"]  # an application with a large store
    monkeypatch.setattr("learningchain.node.get_module_command", lambda *_: command)
    run_node(node.home, node.program)
    assert not (node.home.logs / "cometbft.log").exists()


def test_a_killed_supervisor_takes_both_processes_with_it(node: TestNode) -> None:
    supervisor = start_supervisor(node)
    node.wait_for_height(1)
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: node.height() == 0, 20, "end of CometBFT")
    wait_for(lambda: "stopped" in node.log("abci_app").splitlines()[-1], 20, "end of the application")


def test_a_folder_without_a_node_is_refused_with_what_to_do(tmp_path: Path, cometbft: str) -> None:
    with pytest.raises(NodeError, match="lc node init"):
        start_node(NodeHome(tmp_path), Path(cometbft))


@pytest.mark.parametrize(
    ("setting", "broken"),
    [
        ("recheck = true", "recheck = false"),
        ("create_empty_blocks = true", "create_empty_blocks = false"),
        ('create_empty_blocks_interval = "0s"', 'create_empty_blocks_interval = "30s"'),
        ('type = "flood"', 'type = "nop"'),
    ],
)
def test_settings_that_the_chain_cannot_work_with_are_refused(node: TestNode, setting: str, broken: str) -> None:
    path = node.home.config_toml
    text = path.read_text()
    assert text.count(f"\n{setting}\n") == 1
    path.write_text(text.replace(f"\n{setting}\n", f"\n{broken}\n"))
    with pytest.raises(NodeError, match=setting.split(" ")[0]):
        node.start()


def test_a_second_application_over_the_same_store_is_refused(node: TestNode) -> None:
    node.start()
    node.wait_for_height(1)
    second = node.start_app()
    assert second.wait(60) == 1
    assert "in use by process" in node.log("abci_app")
    assert node.wait_for_height(node.height() + 1)


def test_a_genesis_that_does_not_fit_stops_the_node_with_its_reason(
    node: TestNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application finds it by itself too: not all nodes are started by the command."""
    monkeypatch.setattr("learningchain.node._check_genesis", lambda _: None)
    text = node.home.genesis.read_text()
    node.home.genesis.write_text(text.replace('"registration_bits": "4"', '"registration_bits": "999"'))
    running = node.start()
    ended = running.wait(lambda: False)
    assert ended is not None
    assert ended.startswith("abci_app ended with code 3")  # CometBFT ended as well, often before it
    assert "registration_bits is 999 bits; it must lie from 0 to 64" in ended


def test_a_full_disk_at_the_start_is_named(node: TestNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        with pytest.raises(NodeError, match=r"cannot be locked \(No space left on device\): check free space"):
            node.start()
    node.start()


def test_a_node_that_runs_is_not_started_again(node: TestNode) -> None:
    node.start()
    height = node.wait_for_height(1)
    log = node.log("cometbft")
    with pytest.raises(NodeError, match=f"runs already, as process {os.getpid()}: stop that one first"):
        start_node(node.home, node.program)
    assert node.wait_for_height(height + 2)
    assert node.log("cometbft") == log
    node.stop()
    node.start()


def test_a_node_whose_application_somebody_else_runs_is_not_started(
    node: TestNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learningchain.node.FREE_SECONDS", 0.5)
    node.start_app()
    node.wait_for_app()
    with pytest.raises(NodeError, match="another process serves unix:"):
        node.start()


def test_an_application_that_is_stuck_does_not_hold_up_who_looks_for_it(
    node: TestNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learningchain.node.FREE_SECONDS", 0.5)
    monkeypatch.setattr("learningchain.node.POLL_SECONDS", 0.01)  # more looks than connections that may wait
    stuck = node.start_app()
    node.wait_for_app()
    stuck.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(NodeError, match="another process serves unix:"):
            node.start()
    finally:
        stuck.send_signal(signal.SIGCONT)


def change_genesis(home: NodeHome) -> None:
    text = home.genesis.read_text()
    home.genesis.write_text(text.replace('"registration_bits": "4"', '"registration_bits": "5"'))


def name_another_chain(home: NodeHome) -> None:
    home.genesis.write_text(home.genesis.read_text().replace('"e2e-test"', '"another"'))


def lose_blocks(home: NodeHome) -> None:
    shutil.rmtree(home.cometbft / "data")
    (home.cometbft / "data").mkdir()


def break_genesis(home: NodeHome) -> None:
    home.genesis.write_text("{")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (change_genesis, "is that of the chain 'e2e-test' with the tag "),
        (name_another_chain, "describes 'another' with the tag "),
        (lose_blocks, "CometBFT has lost its blocks"),
        (break_genesis, "is no genesis file of this software"),
    ],
)
def test_two_folders_that_do_not_belong_together_are_refused(
    node: TestNode, harm: Callable[[NodeHome], None], words: str
) -> None:
    node.start()
    node.wait_for_height(2)
    node.stop()
    harm(node.home)
    with pytest.raises(NodeError, match=words) as raised:
        node.start()
    assert "ready" not in raised.value.hint  # only what this start has written


def test_a_folder_that_was_moved_goes_on_where_it_is(node: TestNode, tmp_path: Path) -> None:
    """As a backup that is put back elsewhere: its settings name the socket of the folder before."""
    node.start()
    height = node.wait_for_height(2)
    node.stop()
    shutil.move(node.home.root, tmp_path / "moved")
    node.home = NodeHome(tmp_path / "moved")
    node.start()
    assert node.wait_for_height(height + 2)


def test_a_node_whose_disk_fills_up_is_stopped_and_says_so(node: TestNode, monkeypatch: pytest.MonkeyPatch) -> None:
    running = node.start()
    node.wait_for_height(1)
    with monkeypatch.context() as full:
        full.setattr("learningchain.node.LEAST_FREE_MIB", 2**40)
        end = time.monotonic() + 60
        ended = running.wait(lambda: time.monotonic() > end)
        assert ended is not None
        assert f"MiB are free on the disk of {node.home.root}: make it at least " in ended
        assert node.height() == 0
        with pytest.raises(NodeError, match="MiB are free on the disk"):
            node.start()
    node.start()
    assert node.wait_for_height(2)
