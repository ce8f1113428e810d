"""The two transports behind one face: a server of an application in a thread, and clients that speak to it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.pb.tendermint.abci.types_pb2_grpc import ABCIStub
from abci_app.server.address import Address, TcpAddress, UnixAddress, parse_address
from abci_app.server.base import BaseApplication
from abci_app.server.dispatch import Dispatcher, NodeFailure
from abci_app.server.frames import FrameReader, encode_frame, encode_only_field
from abci_app.server.grpc_server import SERVICE, GrpcServer
from abci_app.server.socket_server import SocketServer

TIMEOUT_S = 20.0
_QUERY_FIELD = abci.Request.DESCRIPTOR.fields_by_name["query"].number


class Client(Protocol):
    """A client of either transport."""

    def call(self, name: str, request: Any) -> Any: ...
    def ask(self, query: bytes) -> abci.ResponseQuery: ...
    def begin(self, path: str, times: int) -> Callable[[], list[abci.ResponseQuery]]: ...
    def close(self) -> None: ...


class RefusedError(Exception):
    """The server answered with an exception, or not at all."""


class SocketClient:
    """Speaks the socket protocol, with access to the raw bytes."""

    def __init__(self, address: Address) -> None:
        if isinstance(address, UnixAddress):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(str(address.path))
        else:
            self.socket = socket.create_connection((address.host, address.port))
        self.socket.settimeout(TIMEOUT_S)
        self._reader = FrameReader()
        self._frames: list[bytes] = []

    def call(self, name: str, request: Any) -> Any:
        self.send(name, request)
        return self.finish(name)

    def send(self, name: str, request: Any) -> None:
        """Begin a call."""
        self.socket.sendall(encode_request(name, request) + encode_request("flush", abci.RequestFlush()))

    def finish(self, name: str) -> Any:
        """Wait for the response of the call that was begun."""
        response = self.receive(name)
        self.receive("flush")
        return response

    def ask(self, query: bytes) -> abci.ResponseQuery:
        """Send an encoded RequestQuery, whatever it holds."""
        self.socket.sendall(encode_frame(encode_only_field(_QUERY_FIELD, query)))
        response: abci.ResponseQuery = self.receive("query")
        return response

    def begin(self, path: str, times: int) -> Callable[[], list[abci.ResponseQuery]]:
        """Ask for a path many times at once; what is returned waits for the answers."""
        self.socket.sendall(encode_request("query", abci.RequestQuery(path=path)) * times)
        return lambda: [self.receive("query") for _ in range(times)]

    def receive(self, name: str) -> Any:
        """Return the next response, which must be of this kind."""
        while not self._frames:
            data = self.socket.recv(65_536)
            if not data:
                raise RefusedError("the server closed the connection")
            self._frames = self._reader.feed(data)
        response = abci.Response.FromString(self._frames.pop(0))
        kind = response.WhichOneof("value")
        if kind == "exception":
            raise RefusedError(response.exception.error)
        assert kind == name
        return getattr(response, name)

    def close(self) -> None:
        self.socket.close()


class GrpcClient:
    """Speaks gRPC through the generated stub."""

    def __init__(self, address: Address) -> None:
        own_connection = (("grpc.use_local_subchannel_pool", 1),)  # as CometBFT's clients
        self._channel = grpc.insecure_channel(str(address).removeprefix("tcp://"), own_connection)
        self._stub = ABCIStub(self._channel)
        self._ask = self._channel.unary_unary(f"/{SERVICE}/Query", None, abci.ResponseQuery.FromString)

    def call(self, name: str, request: Any) -> Any:
        method = getattr(self._stub, "".join(word.capitalize() for word in name.split("_")))
        try:
            return method(request, timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            raise RefusedError(str(error)) from error

    def ask(self, query: bytes) -> abci.ResponseQuery:
        """Send an encoded RequestQuery, whatever it holds."""
        try:
            response: abci.ResponseQuery = self._ask(query, timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            raise RefusedError(str(error)) from error
        return response

    def begin(self, path: str, times: int) -> Callable[[], list[abci.ResponseQuery]]:
        """Ask for a path many times at once; what is returned waits for the answers."""
        calls = [self._stub.Query.future(abci.RequestQuery(path=path), timeout=TIMEOUT_S) for _ in range(times)]
        return lambda: [call.result() for call in calls]

    def close(self) -> None:
        self._channel.close()


class RunningServer:
    """A server in a thread. `failure` is what `serve` raised."""

    def __init__(self, transport: str, application: BaseApplication, address: Address) -> None:
        self.application = application
        self.dispatcher = Dispatcher(application)
        kind: type[SocketServer | GrpcServer] = SocketServer if transport == "socket" else GrpcServer
        self.server = kind(self.dispatcher, address)
        self.transport = transport
        self.address = self.server.address
        self.failure: NodeFailure | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.server.serve()
        except NodeFailure as error:
            self.failure = error

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        client = SocketClient(self.address) if self.transport == "socket" else GrpcClient(self.address)
        try:
            yield client
        finally:
            client.close()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()


def make_address(kind: str, folder: Path) -> Address:
    """Return an address of the kind `unix` or `tcp`."""
    return parse_address(f"unix://{folder}/a.sock") if kind == "unix" else TcpAddress("127.0.0.1", 0)


def encode_request(name: str, request: Any) -> bytes:
    """Return the frame of a request."""
    return encode_frame(abci.Request(**{name: request}).SerializeToString())
