"""The gRPC transport. Every call runs in one and the same thread: LMDB's write transactions belong to a thread.

Queries wait for all other calls, so that a flood of them holds up no block.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import grpc

from abci_app.pb.tendermint.abci import types_pb2 as abci
from abci_app.server.address import Address, TcpAddress, UnixAddress
from abci_app.server.dispatch import METHODS, Dispatcher, NodeFailure, read_query
from abci_app.server.frames import MAX_FRAME_BYTES
from abci_app.server.lanes import OneThread
from abci_app.server.listening import private_umask, remove_stale_socket

SERVICE: Final = "tendermint.abci.ABCI"
_POLL_SECONDS: Final = 0.1
"""How often it is looked whether to stop. A lock would not do: a signal may come to a thread of grpc, and then wakes up
nobody who waits for one; or while another signal's handler holds it."""
_STOP_SECONDS: Final = 5.0
"""How long a call in progress may take to end when the server stops."""


class GrpcServer:
    """Serves one application over gRPC on a Unix socket of mode 0600 or a loopback port."""

    def __init__(self, dispatcher: Dispatcher, address: Address) -> None:
        """Listen at `address`. Raises OSError with a reason if that is impossible."""
        self._dispatcher = dispatcher
        self._stopping = False
        self._failure: NodeFailure | None = None
        self.pool = OneThread("abci")
        self._server = grpc.server(
            self.pool,
            handlers=(grpc.method_handlers_generic_handler(SERVICE, self._make_handlers()),),
            options=(("grpc.max_receive_message_length", MAX_FRAME_BYTES), ("grpc.so_reuseport", 0)),
        )
        self.address = self._listen(address)

    def serve(self) -> None:
        """Answer until `stop` is called. Raises NodeFailure when the application must not go on."""
        self._server.start()
        while not self._stopping:
            time.sleep(_POLL_SECONDS)
        self._server.stop(_STOP_SECONDS).wait()
        self.pool.shutdown(wait=True)
        if isinstance(self.address, UnixAddress):
            self.address.path.unlink(missing_ok=True)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let `serve` return after the call in progress. Safe in signal handlers and from other threads."""
        self._stopping = True

    def _listen(self, address: Address) -> Address:
        if isinstance(address, TcpAddress):
            return TcpAddress(address.host, self._add_port(str(address).removeprefix("tcp://"), address))
        remove_stale_socket(address)
        with private_umask():
            self._add_port(f"unix:{address.path}", address)
        return address

    def _add_port(self, target: str, address: Address) -> int:
        try:
            return int(self._server.add_insecure_port(target))
        except RuntimeError as error:
            raise OSError(f"cannot listen at {address}: {error}") from error

    def _make_handlers(self) -> dict[str, Any]:
        handlers = {}
        service = abci.DESCRIPTOR.services_by_name["ABCI"]
        for method in service.methods:
            name = _NAMES[method.name]
            request_type: Any = getattr(abci, method.input_type.name)
            response_type: Any = getattr(abci, method.output_type.name)
            read = read_query if name == "query" else request_type.FromString
            call: Any = self._make_call(name)
            if name == "query":  # anybody's, through a node's RPC: blocks do not wait for them
                call.experimental_thread_pool = self.pool.later
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(call, read, response_type.SerializeToString)
        return handlers

    def _make_call(self, name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if self._failure is not None:  # calls that were queued behind the one that failed
                context.abort(grpc.StatusCode.INTERNAL, str(self._failure))
            try:
                return self._dispatcher.call(name, request)
            except NodeFailure as error:
                self._failure = error
                self.stop()
                context.abort(grpc.StatusCode.INTERNAL, str(error))

        return call


_NAMES: Final = {"".join(word.capitalize() for word in name.split("_")): name for name in METHODS}
"""Names of the service's methods to those of the application."""
