"""What only the socket transport can meet: streams cut anywhere, bursts, and peers that misbehave."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.dispatch import CODE_INTERNAL
from abci_app.server.frames import MAX_FRAME_BYTES, encode_frame
from abci_app.server.socket_server import MAX_CONNECTIONS
from tests.server.transports import RefusedError, RunningServer, SocketClient, encode_request, make_address
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
