"""CometBFT's RPC: what a node answers, and what something that is no node answers."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseServer, UnixStreamServer
from typing import Any, TypeVar

import pytest

from learningchain.client.errors import BadAnswer, NodeUnreachable
from learningchain.client.rpc import CometTransport, RpcError, parse_time_ms, split_address

T = TypeVar("T")
Answer = Callable[[str, dict[str, Any]], object]


def make_handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = answer(request["method"], request["params"])
            data = reply if isinstance(reply, bytes) else json.dumps({"jsonrpc": "2.0", "id": 1, **reply}).encode()  # type: ignore[dict-item]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return Handler


@contextmanager
def serve(answer: Answer, path: Path | None = None) -> Iterator[str]:
    """Serve JSON-RPC on loopback or on a Unix socket and give the node's address."""
    handler = make_handler(answer)
    if path is None:
        http = HTTPServer(("127.0.0.1", 0), handler)
        server: BaseServer = http
        address = f"http://127.0.0.1:{http.server_port}"
    else:
        server, address = UnixStreamServer(str(path), handler), f"unix://{path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(node: str, question: Callable[[CometTransport], Coroutine[Any, Any, T]]) -> T:
    async def work() -> T:
        transport = CometTransport(node)
        try:
            return await question(transport)
        finally:
            await transport.aclose()

    return asyncio.run(work())


def query_result(method: str, params: dict[str, Any]) -> object:
    assert method == "abci_query"
    proof = {"ops": [{"type": "simple:v", "key": base64.b64encode(b"k").decode(), "data": ""}]}
    value = base64.b64encode(bytes.fromhex(params["data"])).decode()
    return {"result": {"response": {"code": 0, "log": "", "height": "7", "value": value, "proofOps": proof}}}


@pytest.mark.parametrize("unix", [False, True])
def test_a_query_comes_back_over_http_and_over_a_unix_socket(tmp_path: Path, unix: bool) -> None:
    with serve(query_result, tmp_path / "rpc.sock" if unix else None) as node:
        answer = ask(node, lambda transport: transport.query("/path", b"data", prove=True))
    assert (answer.code, answer.value, answer.height) == (0, b"data", 7)
    assert [(op.type, op.key, op.data) for op in answer.proof] == [("simple:v", b"k", b"")]


def test_a_transaction_that_is_known_already_is_no_error() -> None:
    def known(method: str, params: dict[str, Any]) -> object:
        del method, params
        return {"error": {"code": -32603, "message": "Internal error", "data": "tx already exists in cache"}}

    with serve(known) as node:
        assert ask(node, lambda transport: transport.broadcast(b"tx")).code == 0


def test_a_full_mempool_says_to_wait() -> None:
    def full(method: str, params: dict[str, Any]) -> object:
        del method, params
        return {"error": {"code": -32603, "message": "Internal error", "data": "mempool is full: number of txs 20000"}}

    with serve(full) as node, pytest.raises(RpcError) as error:
        ask(node, lambda transport: transport.broadcast(b"tx"))
    assert "wait" in error.value.hint


def test_check_txs_code_comes_back() -> None:
    def refuse(method: str, params: dict[str, Any]) -> object:
        assert (method, base64.b64decode(params["tx"])) == ("broadcast_tx_sync", b"tx")
        return {"result": {"code": 26, "log": "wrong_nonce: …", "hash": ""}}

    with serve(refuse) as node:
        assert ask(node, lambda transport: transport.broadcast(b"tx")).code == 26


def test_a_block_comes_with_codes_and_events() -> None:
    event = {"type": "job.settled", "attributes": [{"key": "job_id", "value": "3", "index": True}]}
    answers: dict[str, object] = {
        "block": {
            "block": {
                "header": {"time": "2026-11-23T09:00:00.123999999Z", "height": "5"},
                "data": {"txs": [base64.b64encode(b"one").decode(), base64.b64encode(b"two").decode()]},
            }
        },
        "block_results": {
            "txs_results": [{"code": 0, "events": [event]}, {"code": 102, "events": []}],
            "finalize_block_events": [event],
        },
    }
    with serve(lambda method, _: {"result": answers[method]}) as node:
        block = ask(node, lambda transport: transport.get_block(5))
    assert (block.txs, block.codes) == ([b"one", b"two"], [0, 102])
    assert block.time_ms % 1000 == 123
    assert block.events[0].type == "job.settled"
    assert block.tx_events[0][0].attributes == (("job_id", "3"),)


def test_results_that_do_not_fit_the_block_are_refused() -> None:
    answers: dict[str, object] = {
        "block": {"block": {"header": {"time": "2026-11-23T09:00:00Z"}, "data": {"txs": ["AA=="]}}},
        "block_results": {"txs_results": None, "finalize_block_events": None},
    }
    with (
        serve(lambda method, _: {"result": answers[method]}) as node,
        pytest.raises(BadAnswer, match="1 transactions but 0"),
    ):
        ask(node, lambda transport: transport.get_block(5))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"result":[]}', b"[" * 200_000, b"\xff\xfe"])
def test_something_that_is_no_node_gives_a_bad_answer(content: bytes) -> None:
    with serve(lambda *_: content) as node, pytest.raises(BadAnswer):
        ask(node, lambda transport: transport.get_node_info())


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    for node in ("http://127.0.0.1:1", f"unix://{tmp_path}/none.sock"):
        with pytest.raises(NodeUnreachable, match="cannot be reached"):
            ask(node, lambda transport: transport.get_node_info())


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T00:00:01.0019Z", 1001),
        ("2026-11-23T09:08:07.999999999Z", 1795424887999),
    ],
)
def test_times_are_rounded_down_to_ms(text: str, ms: int) -> None:
    assert parse_time_ms(text) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-23T09:08:07.xZ"])
def test_what_is_no_time_is_a_bad_answer(text: str) -> None:
    with pytest.raises(BadAnswer):
        parse_time_ms(text)


def test_addresses_of_nodes_have_three_forms() -> None:
    assert split_address("http://127.0.0.1:26657/") == ("http://127.0.0.1:26657", None)
    assert split_address("tcp://127.0.0.1:26657") == ("http://127.0.0.1:26657", None)
    assert split_address("unix:///run/rpc.sock") == ("http://localhost", "/run/rpc.sock")
    for wrong in ("127.0.0.1:26657", "unix://relative", "ftp://x", ""):
        with pytest.raises(ValueError, match="not a node address"):
            split_address(wrong)
