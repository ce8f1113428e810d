"""A block filled to its last byte: we count protobuf's overhead as CometBFT does, no byte more and none less."""

import base64
import time

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.protocol.genesis import MAX_BLOCK_BYTES
from tests.support.cometbft import RpcError, TestNetwork, TestNode, make_network, wait_for
from tests.support.market import TERMS
from tests.support.wallets import Wallet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WALLETS = tuple(Wallet(f"contractor {number}") for number in range(12))
JOBS_EACH = 60
ABOUT_BYTES = 512
AT_ONCE = 240
"""Jobs offered in one request, of at most 1 MB: all of them are to be there before the second block."""
DATA_BYTES = MAX_BLOCK_BYTES - 11 - 626 - (94 + 111)
"""What is left for transactions without evidence and with the commit of one validator (types.MaxDataBytes)."""


def make_jobs(network: TestNetwork, now_ms: int, shorten: int = 0) -> list[bytes]:
    """Return signed jobs of equal size, but for the first ones, which are shorter by so many bytes in all."""
    jobs = []
    for number in range(len(WALLETS) * JOBS_EACH):
        cut = min(shorten, ABOUT_BYTES // 2)
        shorten -= cut
        long_image = "r" * 400 + TERMS["image"]
        terms = {**TERMS, "bounty": 1_000_000, "verify_fee": 1_500_000, "expiry_ms": now_ms + 3_600_000}
        changed = {"image": long_image, "eval_image": long_image, "about": "a" * (ABOUT_BYTES - cut)}
        message = tx_pb2.SubmitJob(**{**terms, **changed})
        jobs.append(network.sign(WALLETS[number // JOBS_EACH], message, number % JOBS_EACH + 1))
    return jobs


def count_bytes(*txs: bytes) -> int:
    """Return the size of transactions as a repeated field of protobuf, by protobuf itself."""
    return abci.ResponsePrepareProposal(txs=txs).ByteSize()


def get_codes(node: TestNode, height: int) -> list[int]:
    """Return the codes of a block's transactions, nothing while it is being applied."""
    try:
        return [int(result["code"]) for result in node.rpc("block_results", height=str(height))["txs_results"]]
    except RpcError:
        return []


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_block_is_filled_to_exactly_its_largest_size(cometbft: str, transport: str) -> None:
    overrides: dict[str, str | int | bool] = {"consensus.timeout_commit": "20s", "rpc.max_request_batch_size": AT_ONCE}
    with make_network(cometbft, 1, WALLETS, transport, overrides=overrides) as network:
        (node,) = network.nodes
        now_ms = int(time.time() * 1000)
        size = count_bytes(make_jobs(network, now_ms)[0])
        fitting = -(-DATA_BYTES // size)
        jobs = make_jobs(network, now_ms, fitting * size - DATA_BYTES)
        assert count_bytes(*jobs[:fitting]) == DATA_BYTES
        assert fitting < len(jobs)
        offers = [{"tx": base64.b64encode(tx).decode()} for tx in jobs]
        node.start()
        node.wait_for_height(1)
        wait_for(lambda: not node.query("/chain").get("code"), 30, "first block in the application")
        for start in range(0, len(offers), AT_ONCE):
            answers = node.rpc_batch("broadcast_tx_sync", offers[start : start + AT_ONCE])
            assert {answer["code"] for answer in answers} == {0}
        assert node.height() == 1  # all of them wait

        node.wait_for_height(2)
        block = [base64.b64decode(tx) for tx in node.rpc("block", height="2")["block"]["data"]["txs"]]
        assert block == jobs[:fitting]
        assert wait_for(lambda: get_codes(node, 2), 30, "results") == [0] * fitting
        rest = str(len(jobs) - fitting)  # CometBFT shows results before it takes their transactions out of the mempool
        wait_for(lambda: node.rpc("num_unconfirmed_txs")["n_txs"] == rest, 15, f"mempool of {rest} transactions")
