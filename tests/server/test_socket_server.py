"""What only the socket transport can meet: streams cut anywhere, bursts, and peers that misbehave."""

import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server import socket_server
from abci_app.server.dispatch import CODE_INTERNAL, Dispatcher
from abci_app.server.frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from abci_app.server.lanes import PARTS
from abci_app.server.socket_server import MAX_CONNECTIONS, READ_AHEAD_BYTES, READ_BYTES
from tests.server.transports import TIMEOUT_S, RefusedError, RunningServer, SocketClient, encode_request, make_address
from tests.server.trivial import TrivialApplication

BURST = 10_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer("socket", TrivialApplication(), make_address("unix", tmp_path))
    yield running
    running.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[SocketClient]:
    connected = SocketClient(server.address)
    yield connected
    connected.close()


def assert_alive(server: RunningServer) -> None:
    other = SocketClient(server.address)
    assert other.call("echo", abci.RequestEcho(message="alive")).message == "alive"
    other.close()


def test_a_request_split_at_any_byte_is_answered_once(client: SocketClient) -> None:
    frame = encode_request("echo", abci.RequestEcho(message="split"))
    for cut in range(1, len(frame)):
        client.socket.sendall(frame[:cut])
        time.sleep(0.001)  # lets the server read the first part alone
        client.socket.sendall(frame[cut:])
        assert client.receive("echo").message == "split"


def test_a_burst_of_ten_thousand_frames_is_answered_in_order(client: SocketClient) -> None:
    frames = b"".join(encode_request("check_tx", abci.RequestCheckTx(tx=b"k=%d" % i)) for i in range(BURST))
    sender = threading.Thread(target=client.socket.sendall, args=(frames,))
    sender.start()
    logs = [client.receive("check_tx").log for _ in range(BURST)]
    sender.join()
    assert logs == [str(i + 1) for i in range(BURST)]


def test_a_client_that_does_not_read_its_answers_stalls_only_itself(server: RunningServer) -> None:
    client = SocketClient(server.address)
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.socket.sendall(encode_request("echo", abci.RequestEcho(message="x" * 50_000)) * 1_000)
    assert_alive(server)
    client.close()


def test_answers_that_had_to_wait_arrive_whole(client: SocketClient) -> None:
    message = "y" * 3_000_000
    frames = encode_request("echo", abci.RequestEcho(message=message)) * 3
    sender = threading.Thread(target=client.socket.sendall, args=(frames,))
    sender.start()
    time.sleep(0.2)  # the answers exceed the socket's buffer
    assert [client.receive("echo").message for _ in range(3)] == [message] * 3
    sender.join()


def test_a_client_that_goes_away_in_mid_frame_harms_nobody(server: RunningServer) -> None:
    leaving = SocketClient(server.address)
    leaving.socket.sendall(encode_request("echo", abci.RequestEcho(message="gone" * 100))[:50])
    leaving.close()
    assert_alive(server)


def test_a_client_that_resets_the_connection_with_answers_outstanding_harms_nobody(tmp_path: Path) -> None:
    server = RunningServer("socket", TrivialApplication(), make_address("tcp", tmp_path))
    leaving = SocketClient(server.address)
    leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leaving.socket.sendall(encode_request("echo", abci.RequestEcho(message="x" * 100_000)) * 5)
    leaving.close()
    assert_alive(server)
    server.stop()


def test_an_oversized_length_closes_that_connection_with_a_reason(server: RunningServer, client: SocketClient) -> None:
    client.socket.sendall(b"\xff\xff\xff\xff\x0f")
    with pytest.raises(RefusedError, match=f"at most {MAX_FRAME_BYTES}"):
        client.receive("echo")
    with pytest.raises(RefusedError, match="closed the connection"):
        client.receive("echo")
    assert_alive(server)


@pytest.mark.parametrize("content", [b"\xff\xff", b"", b"\x22\x00"], ids=["no protobuf", "no request", "unknown kind"])
def test_what_is_no_request_closes_that_connection_with_a_reason(
    server: RunningServer, client: SocketClient, content: bytes
) -> None:
    client.socket.sendall(encode_frame(content))
    with pytest.raises(RefusedError, match=r"pars|unknown kind"):
        client.receive("echo")
    assert_alive(server)


@pytest.mark.parametrize("start", ["GET /.a........", "HEAD /e....e...."])
def test_a_web_page_commands_nothing(tmp_path: Path, start: str) -> None:
    """To ABCI this address is a Commit: `Z` is its tag, `E` and `e` begin unknown fields of 4 bytes, `a` one of 8."""
    commit = "Z7" + "e...." * 11
    server = RunningServer("socket", TrivialApplication(), make_address("tcp", tmp_path))
    with server.client() as browser:
        assert isinstance(browser, SocketClient)
        browser.socket.sendall(f"{start}{commit} HTTP/1.1\r\n\r\n".encode())
        with pytest.raises(RefusedError, match="unknown kind"):
            browser.receive("commit")
    assert_alive(server)
    server.stop()
    assert server.failure is None


def test_requests_before_a_bad_one_in_the_same_read_are_answered(client: SocketClient) -> None:
    client.socket.sendall(encode_request("echo", abci.RequestEcho(message="good")) + encode_frame(b"\xff"))
    assert client.receive("echo").message == "good"
    with pytest.raises(RefusedError):
        client.receive("echo")


def test_different_answers_to_check_tx_are_not_mixed_up(client: SocketClient) -> None:
    for tx, code in ((b"a=1", 0), (b"a", 2), (b"a=1", 0), (b"broken", CODE_INTERNAL), (b"a", 2)):
        assert client.call("check_tx", abci.RequestCheckTx(tx=tx)).code == code


def test_connections_above_the_limit_are_closed_and_places_become_free_again(server: RunningServer) -> None:
    clients = [SocketClient(server.address) for _ in range(MAX_CONNECTIONS)]
    for connected in clients:
        connected.call("echo", abci.RequestEcho(message="x"))
    surplus = SocketClient(server.address)
    with pytest.raises((RefusedError, ConnectionError)):
        surplus.call("echo", abci.RequestEcho(message="x"))
    surplus.close()
    for connected in clients[1:]:
        connected.close()
    clients[0].call("echo", abci.RequestEcho(message="x"))  # the server learns of it not before it learns of the others
    assert_alive(server)
    clients[0].close()


def test_stop_ends_a_server_with_open_connections(server: RunningServer, client: SocketClient) -> None:
    client.call("echo", abci.RequestEcho(message="x"))
    server.stop()
    with pytest.raises((RefusedError, ConnectionError)):
        client.call("echo", abci.RequestEcho(message="x"))


class Pair:
    """A connection of a server that is not running, so that a test says what happens when, and its peer."""

    def __init__(self) -> None:
        self.peer, own = socket.socketpair()
        self.peer.setblocking(False)
        self.connection = socket_server._Connection(own, Dispatcher(TrivialApplication()))
        self.alive = True
        self._reader = FrameReader()

    def give(self, data: bytes) -> int:
        """Let the connection read some of `data`; return how much."""
        sent = self.peer.send(data[:READ_BYTES])
        self.connection.receive()
        return sent

    def take_all(self) -> list[abci.Response]:
        """Let the connection take turns until nothing waits any more; return its answers."""
        frames: list[bytes] = []
        while self.connection.is_busy:
            self.alive = self.connection.proceed()
            with contextlib.suppress(BlockingIOError):
                frames += self._reader.feed(self.peer.recv(READ_BYTES))
        with contextlib.suppress(BlockingIOError):
            while data := self.peer.recv(READ_BYTES):
                frames += self._reader.feed(data)
        return [abci.Response.FromString(frame) for frame in frames]

    def close(self) -> None:
        self.peer.close()
        self.connection.socket.close()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Its turns are over after one request, so that others wait for theirs."""
    monkeypatch.setattr(socket_server, "TURN_SECONDS", -1.0)
    made = Pair()
    yield made
    made.close()


def test_requests_are_read_ahead_of_their_turns_as_far_as_the_bound(pair: Pair) -> None:
    frame = encode_request("echo", abci.RequestEcho(message="x" * 1_000))
    stream = frame * (2 * READ_AHEAD_BYTES // len(frame))
    sent = 0
    while pair.connection.wanted_events & selectors.EVENT_READ:
        sent += pair.give(stream[sent:])
        pair.connection.proceed()
    assert READ_AHEAD_BYTES <= sent < READ_AHEAD_BYTES + READ_BYTES
    assert len(pair.take_all()) == sent // len(frame)
    assert pair.connection.wanted_events == selectors.EVENT_READ


def test_what_came_before_the_end_is_answered(pair: Pair) -> None:
    pair.give(encode_request("echo", abci.RequestEcho(message="last")) * 3)
    pair.peer.shutdown(socket.SHUT_WR)
    pair.connection.receive()
    assert pair.connection.wanted_events == selectors.EVENT_WRITE
    assert [answer.echo.message for answer in pair.take_all()] == ["last"] * 3
    assert not pair.alive


@pytest.mark.parametrize("message", ["short", "longer than what the socket takes " * 10_000])
def test_what_came_before_something_that_is_no_frame_is_answered_before_that(pair: Pair, message: str) -> None:
    request = encode_request("echo", abci.RequestEcho(message=message))
    while request:
        request = request[pair.give(request) :]
    pair.connection.proceed()
    pair.give(b"\xff" * 5)
    assert pair.connection.wanted_events == selectors.EVENT_WRITE
    first, last = pair.take_all()
    assert first.echo.message == message
    assert last.exception.error.startswith("a frame's length")
    assert not pair.alive


class LongQueries(TrivialApplication):
    """Notes what is asked for, in a time of its own: a query takes as long as five transactions. The first is held."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.order: list[str] = []
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def monotonic(self) -> float:
        return self.now

    def query(self, request: abci.RequestQuery) -> abci.ResponseQuery:
        self.begun.set()
        self.let_go.wait(TIMEOUT_S)
        self.order.append("query")
        self.now += 5.0
        return super().query(request)

    def check_tx(self, request: abci.RequestCheckTx) -> abci.ResponseCheckTx:
        self.order.append("check_tx")
        self.now += 1.0
        return super().check_tx(request)


def test_after_a_long_query_others_have_more_turns_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application, queries, checks = LongQueries(), 3, 8 * PARTS
    monkeypatch.setattr(socket_server, "time", application)
    running = RunningServer("socket", application, make_address("unix", tmp_path))
    try:
        with running.client() as asking, running.client() as checking:
            assert isinstance(checking, SocketClient)
            checking.call("echo", abci.RequestEcho(message="connected"))
            wait = asking.begin("/data", queries)
            assert application.begun.wait(TIMEOUT_S)
            checking.socket.sendall(encode_request("check_tx", abci.RequestCheckTx(tx=b"a=1")) * checks)
            application.let_go.set()
            for _ in range(checks):
                checking.receive("check_tx")
            assert len(wait()) == queries
    finally:
        application.let_go.set()
        running.stop()
    between, last = [len(list(run)) for name, run in itertools.groupby(application.order) if name == "check_tx"]
    assert 5 * PARTS <= between <= 5 * PARTS + 1  # when the rest is over both are ready
    assert between + last == checks
    assert application.order[-1] == "query"  # nobody else waits any more
