"""Offering transactions to a node faster than it commits them, without ever overflowing its mempool.

Batches of JSON-RPC calls are encoded beforehand; several connections send them, each the transactions of its own
senders in order. Sent and not yet committed are at most WINDOW.
"""

import base64
import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

CONNECTIONS: Final = 4
BATCH: Final = 100
WINDOW: Final = 16_000
"""Transactions on their way: below the mempool's 20 000, and more than three blocks of 1 MiB hold."""
POLL_SECONDS: Final = 0.1
STALL_SECONDS: Final = 60.0


class LoadError(Exception):
    """The node did not take or commit the load."""


@dataclass(frozen=True, slots=True)
class BlockCount:
    """A block: its time in seconds and how many transactions it holds."""

    height: int
    seconds: float
    txs: int


class Rpc:
    """A connection to one node."""

    def __init__(self, port: int) -> None:
        """Connect to loopback."""
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=STALL_SECONDS)

    def post(self, body: bytes) -> bytes:
        """Send a JSON-RPC request, or a batch, and return the answer."""
        self._http.request("POST", "/", body, {"Content-Type": "application/json"})
        return self._http.getresponse().read()

    def call(self, method: str, **params: object) -> Any:
        """Return the result of one call. Raises LoadError."""
        answer = json.loads(
            self.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
        )
        if "error" in answer:
            raise LoadError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def count_blocks(rpc: Rpc, from_height: int) -> list[BlockCount]:
    """Return the blocks from a height on, at most twenty."""
    last = int(rpc.call("status")["sync_info"]["latest_block_height"])
    if last < from_height:
        return []
    top = min(last, from_height + 19)
    metas = rpc.call("blockchain", minHeight=str(from_height), maxHeight=str(top))["block_metas"]
    blocks = [
        BlockCount(int(m["header"]["height"]), _parse_time(m["header"]["time"]), int(m["num_txs"])) for m in metas
    ]
    return sorted(blocks, key=lambda block: block.height)


def _parse_time(text: str) -> float:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


def encode_batches(txs: Sequence[bytes], connection: int) -> list[tuple[int, bytes]]:
    """Return (number of transactions, request) of one connection's share, in order."""
    own = txs[connection::CONNECTIONS]
    out = []
    for start in range(0, len(own), BATCH):
        calls = [
            {"jsonrpc": "2.0", "id": i, "method": "broadcast_tx_async", "params": {"tx": base64.b64encode(tx).decode()}}
            for i, tx in enumerate(own[start : start + BATCH])
        ]
        out.append((len(calls), json.dumps(calls).encode()))
    return out


class Offer:
    """One load, offered to one node."""

    def __init__(self, port: int, txs: Sequence[bytes]) -> None:
        """Encode everything before the clock runs."""
        self._port = port
        self._total = len(txs)
        self._batches = [encode_batches(txs, number) for number in range(CONNECTIONS)]
        self._sent = [0] * CONNECTIONS
        self._committed = 0
        self._failures: list[str] = []

    def run(self) -> list[BlockCount]:
        """Send everything, wait until all of it is in blocks, and return the blocks that hold it."""
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CONNECTIONS)]
        rpc = Rpc(self._port)
        height = int(rpc.call("status")["sync_info"]["latest_block_height"]) + 1
        for thread in threads:
            thread.start()
        blocks: list[BlockCount] = []
        progress = time.monotonic()
        while self._committed < self._total and not self._failures:
            found = count_blocks(rpc, height)
            if any(block.txs for block in found):
                progress = time.monotonic()
            blocks += found
            height += len(found)
            self._committed += sum(block.txs for block in found)
            if time.monotonic() - progress > STALL_SECONDS:
                self._failures.append(f"{self._total - self._committed} transactions were never committed")
            time.sleep(POLL_SECONDS)
        for thread in threads:
            thread.join()
        rpc.close()
        if self._failures:
            raise LoadError("; ".join(self._failures))
        return [block for block in blocks if block.txs]

    def _send(self, number: int) -> None:
        rpc = Rpc(self._port)
        try:
            for count, body in self._batches[number]:
                while sum(self._sent) - self._committed > WINDOW and not self._failures:
                    time.sleep(0.005)
                if self._failures:
                    return
                if b'"error"' in rpc.post(body):
                    self._failures.append("the node refused a transaction: its mempool overflowed")
                self._sent[number] += count
        except (OSError, http.client.HTTPException) as error:
            self._failures.append(f"the connection broke: {error}")
        finally:
            rpc.close()


def compute_rate(blocks: Sequence[BlockCount]) -> float:
    """Return committed transactions per second between the first and the last block with transactions."""
    seconds = blocks[-1].seconds - blocks[0].seconds
    if seconds <= 0:
        raise LoadError("the load fitted into one block: offer more")
    return sum(block.txs for block in blocks[1:]) / seconds
