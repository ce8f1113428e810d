"""The unmodified light client of CometBFT verifies our records."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from tests.support.cometbft import CHAIN_ID, RpcError, TestNode, make_network, wait_for
from tests.support.ports import reserved_ports
from tests.support.wallets import Wallet

pytestmark = pytest.mark.e2e

WALLETS = tuple(Wallet(f"wallet {number}") for number in range(20))


@pytest.fixture
def node(cometbft: str) -> Iterator[TestNode]:
    with make_network(cometbft, wallets=WALLETS) as network:
        node = network.nodes[0]
        node.start()
        node.wait_for_height(3)
        yield node


@pytest.fixture
def proxy(node: TestNode, tmp_path: Path) -> Iterator[TestNode]:
    """A `cometbft light` that trusts block 2 of the node and knows nothing else."""
    with reserved_ports(1) as (port,):
        trusted = node.rpc("commit", height="2")["signed_header"]["commit"]["block_id"]["hash"]
        command = [str(node.program), "light", CHAIN_ID, "--primary", node.rpc_url, "--witnesses", node.rpc_url]
        command += ["--height", "2", "--hash", trusted, "--home-dir", str(tmp_path)]
        command += [
            "--home",
            str(tmp_path / "home"),
        ]  # of all its commands; without it, it makes one in the user's home
        command += ["--laddr", f"tcp://127.0.0.1:{port}", "--log_level", "error"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        node.started["light"] = process
        behind = TestNode(node.home, node.settings, node.identity, node.program)
        behind.rpc_url = f"http://127.0.0.1:{port}"
        wait_for(lambda: behind.height() > 0, 20, "light proxy")
        yield behind


def test_the_light_proxy_verifies_records_of_every_kind(node: TestNode, proxy: TestNode) -> None:
    paths = [("accounts", keys.account(wallet.address)) for wallet in WALLETS]
    paths += [("chain", keys.PARAMS), ("chain", keys.SUPPLY), ("accounts", keys.standing(WALLETS[0].address))]
    paths += [("validators", keys.validator(node.identity.consensus_key))]
    for store, key in paths:
        answer = proxy.query(f"/store/{store}/key", key, prove=True)
        assert base64.b64decode(answer["key"]) == key
        assert base64.b64decode(answer["value"]) == base64.b64decode(node.query(f"/store/{store}/key", key)["value"])
    supply = base64.b64decode(proxy.query("/store/chain/key", keys.SUPPLY, prove=True)["value"])
    assert pb.Supply.FromString(supply).genesis == 21_100_000_000


def test_the_light_proxy_refuses_what_it_cannot_verify(proxy: TestNode) -> None:
    with pytest.raises(RpcError):
        proxy.query("/chain")
    with pytest.raises(RpcError):
        proxy.query("/store/accounts/key", keys.account(bytes(20)), prove=True)
