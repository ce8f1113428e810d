"""Nodes that were away: a validator whose application was killed, and one that joins late and is killed while it syncs.

CometBFT replays to each the blocks that it missed and compares every app hash; the tests compare them once more.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from learningchain.node import get_status
from learningchain.node_home import write_settings
from tests.support.cometbft import TestNetwork, TestNode, make_network, wait_for
from tests.support.wallets import Wallet

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

ALICE, BOB = Wallet("alice"), Wallet("bob")
QUICK = {
    "consensus.timeout_commit": "400ms",
    "consensus.timeout_propose": "500ms",  # waited for whenever the validator that is away should propose
    "consensus.timeout_prevote": "200ms",
    "consensus.timeout_precommit": "200ms",
}
AWAY_BLOCKS = 15
"""Blocks that the others make meanwhile, each with a transfer. Who misses more than 50 of 100 would be jailed."""
SLOW_BYTES_PER_S = 16_000
"""Rate of the joining node, so that it can be killed halfway: a few blocks per second, above CometBFT's least."""


def pay_until(network: TestNetwork, node: TestNode, nonces: Callable[[], int], height: int) -> None:
    """Offer a transfer for each block until the chain has this height."""
    while (before := node.height()) < height:
        assert node.broadcast(network.sign(ALICE, tx_pb2.Transfer(to=BOB.address, amount=1), nonces(), 900)) == 0
        node.wait_for_height(before + 1)


def set_receive_rate(node: TestNode, rate: int) -> None:
    settings = node.settings
    peers = tuple(node.home.config_toml.read_text().split('persistent_peers = "', 1)[1].split('"', 1)[0].split(","))
    overrides = (*settings.overrides, ("p2p.recv_rate", rate))
    write_settings(node.home, replace(settings, persistent_peers=peers, overrides=overrides))


def kill_application(node: TestNode) -> None:
    """Kill the application; CometBFT is stopped with it."""
    running = node.running
    assert running is not None
    running.app.kill()
    ended = running.wait(lambda: False)
    assert ended is not None
    assert ended.startswith("abci_app was ended by SIGKILL")


def wait_for_the_end_of_its_sync(node: TestNode) -> None:
    wait_for(lambda: not get_status(node.rpc_url).catching_up, 60, "end of the sync")


def signs(node: TestNode, height: int, address: str) -> bool:
    commit = node.rpc("commit", height=str(height))["signed_header"]["commit"]
    return address in {signature["validator_address"] for signature in commit["signatures"]}


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_nodes_that_were_away_catch_up_and_agree(cometbft: str, transport: str) -> None:
    with make_network(cometbft, 4, (ALICE, BOB), transport, overrides=QUICK, observers=1) as network:
        away, first, *others, joining = network.nodes
        nonces = itertools.count(1).__next__
        for node in (away, first, *others):
            node.start()
        pay_until(network, first, nonces, first.wait_for_height(2) + 3)
        address = away.rpc("status")["validator_info"]["address"]
        wait_for(lambda: signs(first, first.height() - 1, address), 30, "signature of all four")
        kill_application(away)
        left = first.height()
        pay_until(network, first, nonces, left + AWAY_BLOCKS)
        assert not signs(first, first.height() - 1, address)
        away.start()

        set_receive_rate(joining, SLOW_BYTES_PER_S)
        joining.start()
        halfway = joining.wait_for_height(3)
        kill_application(joining)
        assert halfway < left + AWAY_BLOCKS  # else it was not in the middle of its sync
        set_receive_rate(joining, 20_480_000)
        joining.start()
        pay_until(network, first, nonces, first.height() + 3)
        height = first.height()
        for node in (away, joining):
            node.wait_for_height(height)
            wait_for_the_end_of_its_sync(node)
        wait_for(lambda: signs(first, first.height() - 1, address), 30, "signature of the one that came back")
        expected = first.app_hashes(height)
        assert len(set(expected.values())) > AWAY_BLOCKS // 2
        assert away.app_hashes(height) == joining.app_hashes(height) == expected
