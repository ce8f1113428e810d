"""`kill -9` of the application or of CometBFT at any moment: the node continues, and computes what others compute.

CometBFT itself halts a node whose app hash differs from the header's, so a node that goes on agrees with the chain. The
hashes are compared nevertheless, with a node that was never disturbed and with an empty application that replays all.
"""

import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from tests.support.cometbft import RpcError, TestNetwork, TestNode, make_network, wait_for
from tests.support.wallets import Wallet

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("LC_CRASH_KILLS", "5"))
"""Kills over each transport."""
FAIL_INDEXES = range(int(os.environ["LC_FAIL_SWEEP"])) if "LC_FAIL_SWEEP" in os.environ else (3, 5, 6, 7, 8)
"""CometBFT's crash points: 11 in each height. The default ones lie around FinalizeBlock and Commit of the first."""
WALLETS = tuple(Wallet(f"payer {number}") for number in range(20))


@dataclass
class Load:
    """Keeps transfers coming, whatever happens to the node it offers them to."""

    network: TestNetwork
    node: TestNode
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        chosen = random.Random(1)
        while not self.stopping.wait(0.01):
            try:
                self.offer(chosen)
            except (OSError, RpcError, AssertionError, ValueError):
                self.stopping.wait(0.1)  # the node is down at the moment: that is what these tests are about

    def offer(self, chosen: random.Random) -> None:
        sender, recipient = chosen.sample(WALLETS, 2)
        nonce = self.node.account(sender).keys[0].nonce + 1
        message = tx_pb2.Transfer(to=recipient.address, amount=chosen.randint(1, 1_000))
        self.node.broadcast(self.network.sign(sender, message, nonce, self.node.height() + 900))


@contextmanager
def load(network: TestNetwork, node: TestNode) -> Iterator[None]:
    running = Load(network, node)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield
    finally:
        running.stopping.set()
        thread.join()


def start(node: TestNode) -> None:
    node.start_app()
    node.wait_for_app()
    node.start_cometbft()


def crash(node: TestNode, *names: str) -> None:
    """Kill these processes; CometBFT is stopped with its application, as `lc node start` does."""
    for name in names:
        node.kill(name)
    if "cometbft" not in names:
        node.kill("cometbft")
    if "abci_app" in names:
        node.start_app()
        node.wait_for_app()
    node.start_cometbft()


def count_states(node: TestNode) -> int:
    """Return how many different app hashes the chain has: transfers make them different."""
    return len(set(node.app_hashes(node.height()).values()))


def replay_with_an_empty_application(node: TestNode, app_hashes: dict[int, str]) -> None:
    """Let a fresh application compute all blocks again, and compare."""
    node.stop()
    shutil.rmtree(node.home.app / "state")
    start(node)
    reached = wait_for(node.height, 60, "height after the replay")
    node.wait_for_height(max(reached, *app_hashes) + 2)
    replayed = node.app_hashes(max(app_hashes) + 1)
    assert {height: replayed[height] for height in app_hashes} == app_hashes
    assert int(node.view("/chain")["height"]) > max(app_hashes)


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_validator_killed_at_random_moments_agrees_with_an_undisturbed_node(cometbft: str, transport: str) -> None:
    chosen = random.Random(f"kills over {transport}")
    with make_network(cometbft, wallets=WALLETS, transport=transport, observers=1) as network:
        validator, observer = network.nodes
        start(validator)
        start(observer)
        observer.wait_for_height(2)
        with load(network, observer):
            for number in range(KILLS):
                threading.Event().wait(0.3 + chosen.random())
                victims = (("abci_app",), ("cometbft",), ("cometbft", "abci_app"))[number % 3]
                crash(validator, *victims)
                observer.wait_for_height(observer.height() + 2, 60)
            wait_for(lambda: count_states(observer) > KILLS, 60, "blocks with transfers")
        height = wait_for(lambda: min(validator.height(), observer.height()), 60, "answer of both nodes")
        app_hashes = observer.app_hashes(height)
        assert validator.app_hashes(height) == app_hashes
        replay_with_an_empty_application(validator, app_hashes)


def test_a_crash_at_any_of_cometbfts_own_crash_points_is_healed(cometbft: str) -> None:
    with make_network(cometbft, wallets=WALLETS) as network:
        (node,) = network.nodes
        start(node)
        node.wait_for_height(2)
        with load(network, node):
            for index in FAIL_INDEXES:
                node.kill("cometbft")
                failing = node.start_cometbft(FAIL_TEST_INDEX=str(index))
                assert failing.wait(60) == 1
                crash(node, *(("cometbft", "abci_app") if index % 2 else ("cometbft",)))
                height = wait_for(node.height, 60, "node that came back")
                node.wait_for_height(height + 2, 60)
            wait_for(lambda: count_states(node) > 2, 60, "blocks with transfers")
        app_hashes = node.app_hashes(wait_for(node.height, 60, "answer of the node"))
        replay_with_an_empty_application(node, app_hashes)
