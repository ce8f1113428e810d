"""What both transports must do alike."""

import contextlib
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.address import UnixAddress
from abci_app.server.dispatch import CODE_INTERNAL, METHODS
from abci_app.server.query import QUERY_INTERNAL
from tests.server.transports import RefusedError, RunningServer, SocketClient, make_address
from tests.server.trivial import TrivialApplication


class RecordingApplication(TrivialApplication):
    """Remembers in which threads it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def echo(self, request: abci.RequestEcho) -> abci.ResponseEcho:
        self.threads.add(threading.get_ident())
        return super().echo(request)


@pytest.fixture(params=[("socket", "unix"), ("socket", "tcp"), ("grpc", "unix"), ("grpc", "tcp")], ids="-".join)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    transport, kind = request.param
    running = RunningServer(transport, RecordingApplication(), make_address(kind, tmp_path))
    yield running
    running.stop()


def get_application(server: RunningServer) -> RecordingApplication:
    assert isinstance(server.application, RecordingApplication)
    return server.application


def make_block(height: int, txs: list[bytes]) -> dict[str, Any]:
    return {"finalize_block": abci.RequestFinalizeBlock(height=height, txs=txs), "commit": abci.RequestCommit()}


def commit_block(client: Any, height: int, txs: list[bytes]) -> bytes:
    answers = {name: client.call(name, request) for name, request in make_block(height, txs).items()}
    return bytes(answers["finalize_block"].app_hash)


def test_every_method_is_answered_with_its_own_response(server: RunningServer) -> None:
    with server.client() as client:
        client.call("finalize_block", abci.RequestFinalizeBlock(height=1))
        for name in METHODS:
            kind = type(getattr(abci.Request(), name))
            response = client.call(name, kind())
            assert type(response).__name__ == kind.__name__.replace("Request", "Response")


def test_echo_returns_the_message(server: RunningServer) -> None:
    with server.client() as client:
        for message in ("", "hello", "λ" * 40_000):
            assert client.call("echo", abci.RequestEcho(message=message)).message == message


def test_a_block_is_computed_and_committed(server: RunningServer) -> None:
    with server.client() as client:
        app_hash = commit_block(client, 1, [b"a=1", b"b=2"])
        info = client.call("info", abci.RequestInfo())
        assert (info.last_block_height, info.last_block_app_hash) == (1, app_hash)
        assert client.call("query", abci.RequestQuery(data=b"b")).value == b"2"


def test_a_block_of_several_mebibytes_passes_in_both_directions(server: RunningServer) -> None:
    txs = [bytes([65 + i % 26]) * 10_000 + b"=" for i in range(300)]
    with server.client() as client:
        response = client.call("prepare_proposal", abci.RequestPrepareProposal(txs=txs, max_tx_bytes=4_000_000))
        assert list(response.txs) == txs


def test_several_clients_are_served_side_by_side_from_one_thread(server: RunningServer) -> None:
    answers: list[str] = []

    def talk(number: int) -> None:
        with server.client() as client:
            texts = [f"{number}-{i}" for i in range(50)]
            answers.extend(client.call("echo", abci.RequestEcho(message=text)).message for text in texts)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"{number}-{i}" for number in range(4) for i in range(50))
    assert len(get_application(server).threads) == 1


def test_a_defect_in_check_tx_or_query_is_answered_with_a_code_and_the_node_goes_on(server: RunningServer) -> None:
    with server.client() as client:
        assert client.call("check_tx", abci.RequestCheckTx(tx=b"broken")).code == CODE_INTERNAL
        assert client.call("query", abci.RequestQuery(path="/broken")).code == QUERY_INTERNAL
        assert client.call("check_tx", abci.RequestCheckTx(tx=b"a=1")).code == 0
    assert server.failure is None


def test_a_query_that_cannot_be_decoded_is_one_for_a_path_that_there_is_not(server: RunningServer) -> None:
    with server.client() as client:
        for content in (b"\x12\x01\xff", b"\x12\x05/chain", b"\xff"):  # path is field 2
            assert client.ask(content).log == "asked for \ufffd"
        assert client.ask(abci.RequestQuery(path="/chain").SerializeToString()).log == "asked for /chain"
    assert server.failure is None


@pytest.mark.parametrize("server", [("socket", "unix"), ("socket", "tcp")], ids="-".join, indirect=True)
def test_a_block_does_not_wait_for_all_the_queries_that_came_before_it(server: RunningServer) -> None:
    """For gRPC see test_lanes.py."""
    flood, blocks = 200, 10
    slow_queries = get_application(server).slow_queries
    with server.client() as asking, server.client() as deciding:
        assert isinstance(deciding, SocketClient)
        deciding.call("echo", abci.RequestEcho(message="connected"))
        asking.call("echo", abci.RequestEcho(message="connected"))
        wait = asking.begin("/slow", flood)
        try:
            for height in range(1, blocks + 1):
                for name, request in make_block(height, [b"a=1"]).items():
                    deciding.send(name, request)
                    slow_queries.release(2)  # the one under way, and one whose turn may come first
                    deciding.finish(name)
        finally:
            slow_queries.release(flood)
        assert [response.log for response in wait()] == ["asked for /slow"] * flood


def test_a_failure_in_a_consensus_method_stops_the_server_with_its_reason(server: RunningServer) -> None:
    with server.client() as client, pytest.raises(RefusedError, match="Commit without FinalizeBlock"):
        client.call("commit", abci.RequestCommit())
    server.thread.join(10)
    assert not server.thread.is_alive()
    assert "Commit without FinalizeBlock" in str(server.failure)


def test_an_unexpected_exception_in_a_consensus_method_stops_the_server(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: abci.RequestProcessProposal) -> abci.ResponseProcessProposal:
        raise KeyError("x")

    monkeypatch.setitem(server.dispatcher._methods, "process_proposal", fail)
    with server.client() as client, pytest.raises(RefusedError, match="process_proposal failed: KeyError"):
        client.call("process_proposal", abci.RequestProcessProposal())
    server.thread.join(10)
    assert "process_proposal failed: KeyError" in str(server.failure)


def test_a_unix_socket_belongs_to_its_user_alone_and_is_removed_at_the_end(server: RunningServer) -> None:
    if not isinstance(server.address, UnixAddress):
        assert server.address.host == "127.0.0.1"
        return
    assert stat.S_IMODE(server.address.path.stat().st_mode) == 0o600
    server.stop()
    assert not server.address.path.exists()


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_second_server_at_the_same_socket_is_refused(transport: str, tmp_path: Path) -> None:
    address = make_address("unix", tmp_path)
    first = RunningServer(transport, TrivialApplication(), address)
    try:
        with pytest.raises(OSError, match="another process serves"):
            RunningServer(transport, TrivialApplication(), address)
        with first.client() as client:
            assert client.call("echo", abci.RequestEcho(message="still here")).message == "still here"
    finally:
        first.stop()


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_socket_whose_server_accepts_nothing_any_more_is_served_by_another(transport: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stuck, contextlib.ExitStack() as waiting:
        stuck.bind(str(tmp_path / "a.sock"))
        stuck.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(tmp_path / "a.sock"))
        with pytest.raises(OSError, match="another process serves"):
            RunningServer(transport, TrivialApplication(), make_address("unix", tmp_path))


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_the_socket_file_of_a_killed_server_is_taken_over(transport: str, tmp_path: Path) -> None:
    address = make_address("unix", tmp_path)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "a.sock"))
    stale.close()
    running = RunningServer(transport, TrivialApplication(), address)
    try:
        with running.client() as client:
            assert client.call("echo", abci.RequestEcho(message="x")).message == "x"
    finally:
        running.stop()


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_a_file_that_is_no_socket_is_left_alone(transport: str, tmp_path: Path) -> None:
    (tmp_path / "a.sock").write_text("precious")
    with pytest.raises(FileExistsError, match="is no socket"):
        RunningServer(transport, TrivialApplication(), make_address("unix", tmp_path))
    assert (tmp_path / "a.sock").read_text() == "precious"
