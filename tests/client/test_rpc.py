"""CometBFT's RPC: what a node answers, and what something that is no node answers."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseServer, UnixStreamServer
from typing import Any, TypeVar

import httpx2
import pytest

from learningchain.client import Client, connect, rpc
from learningchain.client.errors import BadAnswer, ClientClosed, NodeUnreachable, WaitTimeout
from learningchain.client.rpc import CometTransport, RpcError, parse_time_ms, split_address
from tests.support import virtual_time
from tests.support.slow_server import CHUNKED, HEAD, drip, serve_pieces

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
        assert ask(node, lambda transport: transport.broadcast(b"tx")) == 0


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
        assert ask(node, lambda transport: transport.broadcast(b"tx")) == 26


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
        ask(node, lambda transport: transport.is_catching_up())


WRONG: tuple[object, ...] = ("x", [5], [[]], {"a": 1}, 1.5, 1e400, True, 10**30, "9" * 25, "\u00e9", "\ud800")
"""What no field of any answer may be, if it is not text."""


def get_whole(method: str) -> dict[str, Any]:
    """Return a sound answer of CometBFT to a call."""
    event = {"type": "t", "attributes": [{"key": "k", "value": "v"}]}
    block = {"header": {"time": "2026-01-01T00:00:00Z", "app_hash": "00"}, "data": {"txs": ["AA=="]}}
    answers: dict[str, dict[str, Any]] = {
        "abci_query": {
            "response": {"code": 0, "height": "7", "value": "", "proofOps": {"ops": [{"key": "", "data": ""}]}}
        },
        "broadcast_tx_sync": {"code": 0},
        "status": {"node_info": {}, "sync_info": {}},
        "block": {"block": block},
        "block_results": {"txs_results": [{"code": 0, "events": [event]}], "finalize_block_events": [event]},
        "blockchain": {"block_metas": [{"header": {"height": "5"}, "num_txs": "1"}]},
        "header": {"header": block["header"]},
    }
    return answers[method]


def list_places(value: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from list_places(inner, (*place, key))


def replace(value: Any, place: tuple[Any, ...], wrong: object) -> Any:
    if not place:
        return wrong
    changed = value.copy()
    changed[place[0]] = replace(value[place[0]], place[1:], wrong)
    return changed


CALLS: dict[str, Callable[[CometTransport], Coroutine[Any, Any, object]]] = {
    "abci_query": lambda node: node.query("/chain"),
    "broadcast_tx_sync": lambda node: node.broadcast(b"tx"),
    "status": lambda node: node.is_catching_up(),
    "block": lambda node: node.get_block(5),
    "block_results": lambda node: node.get_block(5),
    "blockchain": lambda node: node.count_txs(1, 9),
    "header": lambda node: node.get_app_hash(5),
}


@pytest.mark.parametrize("method", sorted(CALLS))
def test_whatever_stands_in_an_answer_is_read_or_is_a_bad_answer(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: dict[str, Any] = {}

    async def fetch(*_: object, **body: Any) -> bytes:
        asked = body["json"]["method"]
        return json.dumps({"result": changed if asked == method else get_whole(asked)}).encode()

    async def ask_all() -> None:
        nonlocal changed
        transport = CometTransport("http://127.0.0.1:1")
        changed = get_whole(method)
        await CALLS[method](transport)
        for place in list_places(get_whole(method)):
            for wrong in WRONG:
                changed = replace(get_whole(method), place, wrong)
                with suppress(BadAnswer):
                    await CALLS[method](transport)
        await transport.aclose()

    monkeypatch.setattr(rpc, "fetch", fetch)
    asyncio.run(ask_all())


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    for node in ("http://127.0.0.1:1", f"unix://{tmp_path}/none.sock"):
        with pytest.raises(NodeUnreachable, match="cannot be reached"):
            ask(node, lambda transport: transport.is_catching_up())


def test_a_line_that_broke_is_named_although_the_http_client_says_nothing_of_it() -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("", request=request)

    async def ask_once() -> None:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(fail)) as http:
            await rpc.fetch(http, "GET", "http://127.0.0.1:1/status", 1)

    with pytest.raises(ConnectionError, match="ReadError"):
        asyncio.run(ask_once())


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


@pytest.mark.parametrize(
    "node",
    [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:abc",
        "http://[::1",
        "http://",
        "http://:80",
        "http://h:0",
        "http://256.1.1.1",
        "http://h\n",
    ],
)
def test_an_address_without_a_possible_host_and_port_is_refused_before_any_call(node: str) -> None:
    with pytest.raises(ValueError, match="not a node address"):
        connect(node)


LATE_S = 0.4
"""Stands for TIMEOUT_S."""


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "TIMEOUT_S", LATE_S)


@pytest.mark.parametrize("start", [b"", HEAD, CHUNKED, HEAD + b"Content-Length: 1000\r\n\r\n"])
def test_a_node_that_sends_a_byte_now_and_then_is_given_up(late: None, start: bytes) -> None:
    def pieces(over: threading.Event) -> Iterator[bytes]:
        yield start
        yield from drip((b"" if start else HEAD) + b"1\r\n \r\n" * 100, LATE_S / 4)(over)

    with serve_pieces(pieces) as node, pytest.raises(NodeUnreachable, match="did not answer within"):
        ask(node, lambda transport: transport.call("status"))


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_ANSWER_BYTES", 1 << 20)
    sent = []

    def pieces(over: threading.Event) -> Iterator[bytes]:
        yield CHUNKED
        while not over.is_set():
            yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sent.append(0x10000)

    with serve_pieces(pieces) as node, pytest.raises(BadAnswer, match="more than 1048576 bytes"):
        ask(node, lambda transport: transport.call("status"))
    assert sum(sent) < 32 << 20  # what the buffers of two sockets take besides


def test_a_large_answer_has_time_for_its_bytes(late: None) -> None:
    filling, parts = 1 << 16, 12
    body = json.dumps({"result": {"text": "x" * (filling * parts)}}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode())
        for begin in range(0, len(body), filling):
            writer.write(body[begin : begin + filling])
            await asyncio.sleep(LATE_S / 4)
        writer.close()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        transport = CometTransport(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        begin = loop.time()
        result = await transport.call("status")
        assert len(result["text"]) == filling * parts
        assert loop.time() - begin > 2 * LATE_S
        await transport.aclose()
        server.close()
        await asyncio.sleep(1)  # until its connection is closed too

    virtual_time.run(work())


def test_waiting_for_a_block_ends_in_time_though_the_node_is_silent() -> None:
    async def work(node: str) -> None:
        client = Client(CometTransport(node))
        try:
            await client.wait_for_block(1, 0.1)
        finally:
            await client.aclose()

    with serve_pieces(drip(HEAD, 60)) as node, pytest.raises(WaitTimeout, match="no block after 1"):
        asyncio.run(work(node))


def test_a_closed_client_says_so() -> None:
    async def work() -> None:
        client = connect("http://127.0.0.1:1")
        await client.aclose()
        with pytest.raises(ClientClosed, match="closed"):
            await client.get_supply()
        with pytest.raises(ClientClosed, match="closed"):
            await client.wait_for_block(1, 1)
        with pytest.raises(ClientClosed):
            await client.broadcast(b"tx")

    asyncio.run(work())
