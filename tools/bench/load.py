"""Offering transactions to a node faster than it commits them, without ever overflowing its mempool.

Requests are encoded beforehand; several connections send them, each the transactions of its own senders in order.
`broadcast_tx_async` costs the load's maker least, but answers before CheckTx and never says that a transaction was
dropped because the mempool was full. So every request also asks how many wait, and a connection pauses while that are
BACKLOG or more. (Counting what was sent and not yet committed would overflow it: a block is in the block store, and so
in the answer of `status`, before its transactions leave the mempool.)
"""

import base64
import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

CONNECTIONS: Final = 4
BATCH: Final = 100
BACKLOG: Final = 9_000
"""Waiting transactions that are enough: more than two blocks of 1 MiB hold, and the mempool's 20 000 leave room for
the batches of all connections and what CometBFT queues before CheckTx."""
PAUSE_SECONDS: Final = 0.02
POLL_SECONDS: Final = 0.2
STALL_SECONDS: Final = 60.0
FULL: Final = 0.95
"""A block of at least this share of the largest one is a full one."""


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

    def post(self, body: bytes) -> Any:
        """Send an encoded JSON-RPC request, or a batch, and return the decoded answer."""
        self._http.request("POST", "/", body, {"Content-Type": "application/json"})
        return json.loads(self._http.getresponse().read())

    def call(self, method: str, **params: object) -> Any:
        """Return the result of one call. Raises LoadError."""
        answer = self.post(json.dumps(_make_call(1, method, params)).encode())
        if "error" in answer:
            raise LoadError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def _make_call(number: int, method: str, params: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


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
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def encode_requests(txs: Sequence[bytes], connection: int) -> list[bytes]:
    """Return the requests of one connection's share, in order; each ends by asking how many transactions wait."""
    own = txs[connection::CONNECTIONS]
    requests = []
    for start in range(0, len(own), BATCH):
        calls = [
            _make_call(number, "broadcast_tx_async", {"tx": base64.b64encode(tx).decode()})
            for number, tx in enumerate(own[start : start + BATCH])
        ]
        requests.append(json.dumps([*calls, _make_call(BATCH, "num_unconfirmed_txs", {})]).encode())
    return requests


class Offer:
    """One load, offered to one node."""

    def __init__(self, port: int, txs: Sequence[bytes]) -> None:
        """Encode everything before the clock runs."""
        self._port = port
        self._total = len(txs)
        self._requests = [encode_requests(txs, number) for number in range(CONNECTIONS)]
        self._failures: list[str] = []
        self._stopping = threading.Event()

    def run(self) -> list[BlockCount]:
        """Send everything, wait until all of it is in blocks, and return these.

        Raises LoadError, with the numbers, if a single transaction was refused or lost.
        """
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CONNECTIONS)]
        rpc = Rpc(self._port)
        height = int(rpc.call("status")["sync_info"]["latest_block_height"]) + 1
        for thread in threads:
            thread.start()
        try:
            return self._follow(rpc, height)
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()
            rpc.close()

    def _follow(self, rpc: Rpc, height: int) -> list[BlockCount]:
        blocks: list[BlockCount] = []
        committed = 0
        progress = time.monotonic()
        while committed < self._total:
            if self._failures:
                raise LoadError("; ".join(self._failures))
            found = count_blocks(rpc, height)
            height += len(found)
            blocks += [block for block in found if block.txs]
            if any(block.txs for block in found):
                progress = time.monotonic()
            committed = sum(block.txs for block in blocks)
            if time.monotonic() - progress > STALL_SECONDS:
                waiting = int(rpc.call("num_unconfirmed_txs")["total"])
                lost = self._total - committed - waiting
                raise LoadError(f"of {self._total}, {committed} were committed, {waiting} wait, {lost} were dropped")
            time.sleep(POLL_SECONDS)
        return blocks

    def _send(self, number: int) -> None:
        rpc = Rpc(self._port)
        try:
            for body in self._requests[number]:
                *answers, unconfirmed = rpc.post(body)
                for answer in answers:
                    if "error" in answer:
                        raise LoadError(f"a transaction was refused: {answer['error']}")
                waiting = int(unconfirmed["result"]["total"])
                while waiting >= BACKLOG and not self._stopping.wait(PAUSE_SECONDS):
                    waiting = int(rpc.call("num_unconfirmed_txs")["total"])
                if self._stopping.is_set():
                    return
        except (OSError, http.client.HTTPException) as error:
            self._failures.append(f"the connection broke: {error}")
        except LoadError as error:
            self._failures.append(str(error))
        finally:
            rpc.close()


def compute_rate(blocks: Sequence[BlockCount]) -> float:
    """Return committed transactions per second, without the first block and the last one, which are not of full load.

    The time in a header is that of the votes for the block before, so between the headers of two blocks lies the time
    of the first and of those between them. Raises LoadError for less than three blocks.
    """
    steady = blocks[1:]
    if len(steady) < 2:
        raise LoadError("the load fitted into two blocks: offer more")
    return sum(block.txs for block in steady[:-1]) / (steady[-1].seconds - steady[0].seconds)


def compute_full_share(blocks: Sequence[BlockCount]) -> float:
    """Return the share of full blocks among all but the first and the last: 1 if always more waited than one holds."""
    most = max(block.txs for block in blocks)
    inner = blocks[1:-1]
    return sum(block.txs >= FULL * most for block in inner) / len(inner)
