"""The load of `make bench`: no transaction may get lost unseen, and no rate may come from a load that was too small."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tools.bench import load
from tools.bench.load import BlockCount, LoadError, Offer, compute_full_share, compute_rate

TXS = [b"tx%04d" % number for number in range(1_000)]
BLOCK_TXS = 300


class Node:
    """A node as the load's maker sees it: a mempool that may drop or refuse, and blocks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.mempool: list[str] = []
        self.most_waiting = 0
        self.blocks: list[list[str]] = []
        self.drop: set[int] = set()
        self.refuse: set[int] = set()
        self.seen = self.seen_before = 0

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            return {"id": call["id"], **getattr(self, call["method"])(**call["params"])}

    def broadcast_tx_async(self, tx: str) -> dict[str, Any]:
        self.seen += 1
        if self.seen in self.refuse:
            return {"error": "mempool is full"}
        if self.seen not in self.drop:
            self.mempool.append(tx)
        self.most_waiting = max(self.most_waiting, len(self.mempool))
        return {"result": {}}

    def num_unconfirmed_txs(self) -> dict[str, Any]:
        return {"result": {"total": str(len(self.mempool))}}

    def status(self) -> dict[str, Any]:
        paused = len(self.mempool) >= load.BACKLOG and self.seen == self.seen_before
        if self.mempool and (paused or self.seen == len(TXS)):
            self.blocks.append(self.mempool[:BLOCK_TXS])
            del self.mempool[:BLOCK_TXS]
        self.seen_before = self.seen
        return {"result": {"sync_info": {"latest_block_height": str(len(self.blocks))}}}

    def blockchain(self, minHeight: str, maxHeight: str) -> dict[str, Any]:  # noqa: N803
        metas = [
            {
                "header": {"height": str(height), "time": f"2026-01-01T00:00:{height:02}.5Z"},
                "num_txs": str(len(self.blocks[height - 1])),
            }
            for height in range(int(minHeight), int(maxHeight) + 1)
        ]
        return {"result": {"block_metas": metas}}


@contextmanager
def serving(node: Node) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece: two would wait for a delayed acknowledgement

        def do_POST(self) -> None:
            calls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers = [node.answer(call) for call in calls] if isinstance(calls, list) else node.answer(calls)
            body = json.dumps(answers).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(load, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(load, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(load, "BACKLOG", 2 * BLOCK_TXS)
    monkeypatch.setattr(load, "BATCH", 20)
    return Node()


def test_every_transaction_is_found_in_a_block(node: Node) -> None:
    with serving(node) as port:
        blocks = Offer(port, TXS).run()
    assert sum(block.txs for block in blocks) == len(TXS)
    assert len({tx for block in node.blocks for tx in block}) == len(TXS)


def test_the_load_waits_before_the_mempool_overflows(node: Node) -> None:
    with serving(node) as port:
        Offer(port, TXS).run()
    assert load.BACKLOG <= node.most_waiting <= load.BACKLOG + load.CONNECTIONS * load.BATCH


def test_a_transaction_that_was_dropped_in_silence_is_missed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count()

    def tell_time() -> float:
        """The clock goes on when nothing can come any more."""
        return float(next(now)) if node.seen == len(TXS) and not node.mempool else 0.0

    monkeypatch.setattr(load, "STALL_SECONDS", 2.0)
    monkeypatch.setattr(load, "time", SimpleNamespace(monotonic=tell_time, sleep=time.sleep))
    node.drop = {17, 400}
    with serving(node) as port, pytest.raises(LoadError, match="of 1000, 998 were committed, 0 wait, 2 were dropped"):
        Offer(port, TXS).run()


def test_a_refused_transaction_ends_the_load(node: Node) -> None:
    node.refuse = {5}
    with serving(node) as port, pytest.raises(LoadError, match="refused: mempool is full"):
        Offer(port, TXS).run()


def test_a_node_that_went_away_is_named(node: Node) -> None:
    with serving(node) as port:
        offer = Offer(port, TXS)
    with pytest.raises(OSError, match="refused"):
        offer.run()


def test_the_rate_leaves_out_the_first_and_the_last_block() -> None:
    blocks = [BlockCount(7, 10.0, 50), BlockCount(8, 10.5, 400), BlockCount(9, 11.5, 400), BlockCount(10, 12.5, 90)]
    assert compute_rate(blocks) == 400.0
    with pytest.raises(LoadError, match="offer more"):
        compute_rate(blocks[:2])


def test_the_share_of_full_blocks_shows_a_load_that_was_too_small() -> None:
    txs = [10, 400, 399, 200, 400, 3]
    assert compute_full_share([BlockCount(height, float(height), count) for height, count in enumerate(txs)]) == 0.75
