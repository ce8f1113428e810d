"""The client and the command line against a real node: CometBFT without indexer, over HTTP and over a Unix socket."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from learningchain.cli.node import build_founding_genesis
from learningchain.client import FileJournal, Sender, SyncClient, connect, register
from learningchain.client.errors import TxRefused, WaitTimeout
from learningchain.client.rpc import CometTransport
from learningchain.node import start_node
from learningchain.node_home import NodeHome, NodeSettings, create_home, write_genesis
from learningchain.wallet import Keystore, SecretKey
from tests.support.ports import reserved_ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
READY_S = 30.0


@dataclass(frozen=True)
class Place:
    """A running node: its RPC address, the home of its founder and the founder's key."""

    node: str
    home: Path
    founder: SecretKey


@contextmanager
def run_node(folder: Path, cometbft: str, unix: bool) -> Iterator[Place]:
    founder = SecretKey.generate()
    entry = Keystore(folder / "keys").add("founder", founder, None)
    home = NodeHome(folder / "node")
    with reserved_ports(2) as (rpc_port, p2p_port):
        rpc = folder / "rpc.sock"
        overrides = (("rpc.laddr", f"unix://{rpc}"),) if unix else ()
        settings = NodeSettings("devnet", rpc_port=rpc_port, p2p_port=p2p_port, overrides=overrides)
        identity = create_home(home, settings, Path(cometbft))
        write_genesis(home, build_founding_genesis("real-chain", "devnet", entry, identity))
        running = start_node(home, Path(cometbft))
        node = f"unix://{rpc}" if unix else f"http://127.0.0.1:{rpc_port}"
        try:
            wait_until_ready(node)
            yield Place(node, folder, founder)
        finally:
            running.stop()


def wait_until_ready(node: str) -> None:
    from learningchain.client.errors import ClientError

    async def wait() -> None:
        client = connect(node)
        end = asyncio.get_running_loop().time() + READY_S
        try:
            while True:
                try:
                    await client.wait_for_block(2, 1)
                    return
                except (ClientError, WaitTimeout):
                    assert asyncio.get_running_loop().time() < end, "the node makes no blocks"
                    await asyncio.sleep(0.2)
        finally:
            await client.aclose()

    asyncio.run(wait())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cometbft: str) -> Iterator[Place]:
    with run_node(tmp_path_factory.mktemp("node"), cometbft, unix=False) as running:
        yield running


@pytest.fixture(scope="module")
def unix_place(tmp_path_factory: pytest.TempPathFactory, cometbft: str) -> Iterator[Place]:
    with run_node(tmp_path_factory.mktemp("unix"), cometbft, unix=True) as running:
        yield running


def lc(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "learningchain.cli", *words, "--home", str(place.home), "--node", place.node]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize("kind", ["http", "unix"])
def test_an_account_is_registered_paid_and_read_back_with_proof(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    place: Place = request.getfixturevalue("place" if kind == "http" else "unix_place")

    async def work() -> None:
        client = connect(place.node)
        newcomer = SecretKey.generate()
        try:
            await register(client, newcomer)
            chain = await client.get_chain()
            journal = FileJournal(tmp_path / "journal", chain.chain_tag, place.founder.public_key)
            sender = Sender(client, place.founder, journal=journal)
            result = await sender.send(tx_pb2.Transfer(to=newcomer.address, amount=5 * UCREDIT))
            assert [event.type for event in result.events] == ["credits.transferred"]
            assert journal.read() == []
            view = await client.get_account(newcomer.address)
            assert view is not None
            assert view.account.balance == 5 * UCREDIT
            await client.wait_for_block(result.height + 1, 10)
            proved = await client.get_record(keys.account(newcomer.address))
            assert proved == view.account.SerializeToString(deterministic=True)
            assert await client.get_record(keys.account(bytes(20))) is None
            assert result.height in await client.list_filled_blocks(1, result.height)
            assert (await client.get_block_events(result.height)).events == result.events
            params = await client.get_record(keys.PARAMS)
            assert params == get_params("devnet").SerializeToString(deterministic=True)
            assert pb.Params.FromString(params) == chain.params
        finally:
            await client.aclose()

    asyncio.run(work())


def test_many_transactions_of_one_account_wait_in_the_mempool(place: Place) -> None:
    with SyncClient(connect(place.node)) as client:
        sender = client.sender(place.founder)
        pending = [sender.submit(tx_pb2.Bond(amount=(1 + number) * UCREDIT)) for number in range(20)]
        results = [sender.wait(entry) for entry in pending]
        assert all(result.code == 0 for result in results)
        again = client.broadcast(pending[-1].tx)
        assert again == pending[-1].tx_hash
        with pytest.raises(TxRefused) as refused:
            sender.send(tx_pb2.Unbond(amount=10**15))
        assert refused.value.name


def test_new_blocks_wake_up_by_subscription(place: Place) -> None:
    async def work() -> None:
        client = connect(place.node)
        transport = client._transport
        assert isinstance(transport, CometTransport)
        height = (await client.get_status()).height
        for _ in range(6):
            height = await client.wait_for_block(height, 10)
        assert transport._follower.subscribed
        await client.aclose()

    asyncio.run(work())


def test_the_command_line_pays_and_curl_broadcasts_what_it_signed(place: Place) -> None:
    other = SecretKey.generate()
    Keystore(place.home / "keys").add("other", other, None)
    assert lc(place, "tx", "register", "--from", "other").returncode == 0
    to = encode_address(other.address)
    paid = lc(place, "tx", "transfer", to, "2", "--from", "founder", "-o", "json")
    assert json.loads(paid.stdout)["code"] == 0, paid.stderr
    signed = lc(place, "tx", "transfer", to, "3", "--from", "founder", "--generate-only", "-o", "json")
    shown = json.loads(signed.stdout)
    sent = subprocess.run(["sh", "-c", shown["curl"]], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(sent.stdout)["result"]["code"] == 0
    with closing(SyncClient(connect(place.node))) as client:
        client.wait_for_block(client.get_status().height + 1, 10)
    found = lc(place, "query", "tx", shown["tx_hash"], "-o", "json")
    assert json.loads(found.stdout)["code"] == 0, found.stderr
    account = json.loads(lc(place, "query", "account", to, "-o", "json").stdout)
    assert account["account"]["balance"] == str(5 * UCREDIT)
    status = json.loads(lc(place, "node", "status", "-o", "json").stdout)
    assert status["chain_id"] == "real-chain"
    assert int(status["height"]) > 0


def test_a_dry_run_sends_nothing(place: Place) -> None:
    with SyncClient(connect(place.node)) as client:
        prepared = client.sender(place.founder).prepare(tx_pb2.Unjail())
        check = client.check_tx(prepared.tx)
        assert check.stage == "message"
        client.wait_for_block(client.get_status().height, 10)
        assert client.find_tx(prepared.tx_hash, 1, client.get_status().height) is None
