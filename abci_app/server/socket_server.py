"""The socket transport: one thread serves CometBFT's four connections in turn.

One read, then its complete frames are answered, then one write: under load a read holds hundreds of CheckTx, so system
calls and wake-ups are shared by many of them. What a connection asks for takes turns with the others: CometBFT hands on
hundreds of queries at once if that many come, and a block must not wait for all of them. Nor must the transactions that
a block waits for: one query may take longer than a turn of theirs by far, so that others then have more turns than one.

Requests are read long before their turn comes. As long as CometBFT's writer of requests waits for room in the socket,
its timer for flushing (`flushThrottleMS`, which is 20 nanoseconds) goes off again and again and takes a whole core.
"""

import contextlib
import selectors
import socket
import time
from collections import deque
from typing import Any, Final, TypeAlias

import structlog
from google.protobuf.message import DecodeError

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.address import Address, UnixAddress
from abci_app.server.dispatch import Dispatcher, NodeFailure, read_query
from abci_app.server.frames import FrameError, FrameReader, cut_only_field, encode_frame, encode_only_field
from abci_app.server.lanes import PARTS
from abci_app.server.listening import get_bound_address, open_listener

LOG = structlog.get_logger("abci.socket")

READ_BYTES: Final = 64 * 1024
"""Bytes taken from a connection at once."""
READ_AHEAD_BYTES: Final = 2 * 1024 * 1024
"""Bytes taken from a connection before all requests among them are answered: about 8 000 transfers. CometBFT waits for
the answers to all it has sent before it commits a block, so with more of them a flood would hold blocks up longer."""
TURN_SECONDS: Final = 0.005
"""How long a connection's requests are answered before the others get their turn; the one under way is finished."""
MAX_CONNECTIONS: Final = 16
"""CometBFT opens four; a restarting one may overlap with its predecessor."""
_NUMBERS: Final = {field.name: field.number for field in abci.Response.DESCRIPTOR.oneofs_by_name["value"].fields}
"""Fields of Response by the name of the method."""
_TAGS: Final = {
    field.name: encode_only_field(field.number, b"")[:-1]
    for field in abci.Request.DESCRIPTOR.oneofs_by_name["value"].fields
}
"""How a request begins, by the name of its method."""
_FLUSH_REQUEST: Final = abci.Request(flush=abci.RequestFlush()).SerializeToString()
_CHECK_TX_TAG: Final = _TAGS["check_tx"][0]
_QUERY_TAG: Final = _TAGS["query"][0]
_FLUSH_FRAME: Final = encode_frame(abci.Response(flush=abci.ResponseFlush()).SerializeToString())
_Ready: TypeAlias = "tuple[selectors.SelectorKey, int]"


class SocketServer:
    """Serves one application over a Unix socket of mode 0600 or a loopback port."""

    def __init__(self, dispatcher: Dispatcher, address: Address) -> None:
        """Listen at `address`. Raises OSError with a reason if that is impossible."""
        self._listener = open_listener(address, MAX_CONNECTIONS)
        self._dispatcher = dispatcher
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._stopping = False
        self._listener.setblocking(False)
        self.address = get_bound_address(self._listener, address)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Answer until `stop` is called. Raises NodeFailure when the application must not go on."""
        try:
            while not self._stopping:
                for key, events in _leave_out_resting(self._selector.select()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.data, _Connection):
                        self._serve_connection(key.data, events)
        finally:
            self._close()

    def stop(self) -> None:
        """Let `serve` return after the call in progress. Safe in signal handlers and from other threads."""
        self._stopping = True
        with contextlib.suppress(OSError):  # full: it wakes up anyway; closed: it has stopped already
            self._wake_write.send(b"\x00")

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._connections) >= MAX_CONNECTIONS:
            LOG.warning("refused a connection: too many are open", limit=MAX_CONNECTIONS)
            connection.close()
            return
        served = _Connection(connection, self._dispatcher)
        self._connections.add(served)
        self._selector.register(connection, selectors.EVENT_READ, served)

    def _serve_connection(self, connection: "_Connection", events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                connection.receive()
            alive = connection.proceed()
        except OSError as error:
            LOG.info("a connection broke", reason=str(error))
            alive = False
        if not alive:
            self._drop(connection)
            return
        wanted = connection.wanted_events
        if wanted != self._selector.get_key(connection.socket).events:
            self._selector.modify(connection.socket, wanted, connection)

    def _drop(self, connection: "_Connection") -> None:
        self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        connection.socket.close()

    def _close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        self._wake_read.close()
        self._wake_write.close()
        if isinstance(self.address, UnixAddress):
            self.address.path.unlink(missing_ok=True)


class _Connection:
    """One connection: its incomplete frame, its requests that wait and its answers that were not written yet."""

    def __init__(self, connection: socket.socket, dispatcher: Dispatcher) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self._dispatcher = dispatcher
        self._reader = FrameReader()
        self._requests: deque[bytes] = deque()
        self._pending = b""
        self._ahead = 0
        self._fault: FrameError | None = None
        self._closing = False
        self.rests_until = time.monotonic()
        """When others have had their part of the time since its last query."""
        self._check_response: abci.ResponseCheckTx | None = None
        self._check_frame = b""

    @property
    def is_busy(self) -> bool:
        """Whether requests wait for their turn, or answers for the peer."""
        return bool(self._pending or self._requests or self._fault)

    @property
    def wanted_events(self) -> int:
        """What to wait for: to go on with what waits, and to read unless enough of that was read already."""
        if not self.is_busy:
            return selectors.EVENT_READ
        if self._closing or self._ahead >= READ_AHEAD_BYTES:
            return selectors.EVENT_WRITE
        return selectors.EVENT_READ | selectors.EVENT_WRITE

    def receive(self) -> None:
        """Read once. What came before the end, or before what is no frame, is answered; nothing after it is read."""
        data = self.socket.recv(READ_BYTES)
        self._ahead += len(data)
        if not data:
            self._closing = True
            if self._reader.has_partial_frame:
                LOG.warning("a client went away in the middle of a frame")
            return
        try:
            self._requests.extend(self._reader.feed(data))
        except FrameError as error:
            self._closing = True
            self._fault = error

    def proceed(self) -> bool:
        """Answer requests for one turn unless answers wait still, and write what the peer takes now.

        Returns False when the connection is over.
        """
        self._pending = self._pending or self._answer_some()
        if self._pending:
            with contextlib.suppress(BlockingIOError):
                self._pending = self._pending[self.socket.send(self._pending) :]
        return self.is_busy or not self._closing

    def _answer_some(self) -> bytes:
        """Return the answers of one turn. Raises NodeFailure, which CometBFT is told first if it still listens."""
        answers: list[bytes] = []
        end = time.monotonic() + TURN_SECONDS
        try:
            while self._requests:
                answers.append(self._answer(self._requests.popleft()))
                if time.monotonic() > end:
                    break
            if not self._requests:
                self._ahead = 0
                if self._fault is not None:
                    raise self._fault
        except (DecodeError, FrameError) as error:
            answers.append(self._refuse(error))
        except NodeFailure as error:
            answers.append(_encode_exception(str(error)))
            with contextlib.suppress(OSError):
                self.socket.send(b"".join(answers))
            raise
        return b"".join(answers)

    def _refuse(self, error: Exception) -> bytes:
        """Return the last answer to a peer that does not speak ABCI."""
        LOG.warning("closed a connection that does not speak ABCI", reason=str(error))
        self._requests.clear()
        self._fault = None
        self._closing = True
        return _encode_exception(str(error))

    def _answer(self, frame: bytes) -> bytes:
        if frame == _FLUSH_REQUEST:
            return _FLUSH_FRAME
        check_tx = cut_only_field(frame, _CHECK_TX_TAG)
        if check_tx is not None:
            return self._answer_check_tx(abci.RequestCheckTx.FromString(check_tx))
        name, request = _read_request(frame)
        begun = time.monotonic()
        response = self._dispatcher.call(name, request)
        if name == "query":
            now = time.monotonic()
            self.rests_until = now + PARTS * (now - begun)
        return encode_frame(encode_only_field(_NUMBERS[name], response.SerializeToString()))

    def _answer_check_tx(self, request: abci.RequestCheckTx) -> bytes:
        """Answer the request that comes by the thousand; a response object that comes again is encoded once."""
        response = self._dispatcher.call("check_tx", request)
        if response is not self._check_response:
            self._check_response = response
            self._check_frame = encode_frame(abci.Response(check_tx=response).SerializeToString())
        return self._check_frame


def _leave_out_resting(ready: list[_Ready]) -> list[_Ready]:
    """Return what can be served without the connections that rest after a query, unless nothing else is there."""
    now = time.monotonic()
    return [one for one in ready if one[0].data is None or one[0].data.rests_until <= now] or ready


def _read_request(frame: bytes) -> tuple[str, Any]:
    """Return the name of a request and the request. Raises DecodeError for what is none.

    What begins with another field is none: at a TCP port a web page in a browser of this machine would else command the
    node. It chooses the address that the browser asks for, but what is sent begins with a method of HTTP.
    """
    query = cut_only_field(frame, _QUERY_TAG)
    if query is not None:
        return "query", read_query(query)
    request = abci.Request.FromString(frame)
    name = request.WhichOneof("value")
    if name is None or not frame.startswith(_TAGS[name]):
        raise DecodeError("a request of an unknown kind")
    return name, getattr(request, name)


def _encode_exception(reason: str) -> bytes:
    return encode_frame(abci.Response(exception=abci.ResponseException(error=reason)).SerializeToString())
