"""Connections of their own to the engine, for streams that must be cut off from another thread or before their end.

The SDK keeps the sockets of its streams to itself: an abandoned one holds the engine's lock on the container.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlencode

from worker.sandbox.types import OwnFailureError

CHUNK = 1 << 16


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class EngineStream:
    """One request to the engine and its answer, read piece by piece. `cut` may come from any thread."""

    status: int
    _response: http.client.HTTPResponse

    def __init__(
        self,
        url: str,
        seconds: float | None,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        has_body: bool = False,
    ) -> None:
        """Send the request; `seconds` is the longest silence, None for any. Raises OwnFailureError.

        With `has_body` it is to be followed by `upload`.
        """
        self._connection = _UnixConnection(url.removeprefix("unix://"), seconds)
        self._what = f"{method} {path}"
        self._closing = contextlib.ExitStack()
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"} if path.endswith("/attach") else {}
        if has_body:
            headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        try:
            with self._guarded():
                body = b"" if has_body else None  # the library adds no length then, and sends nothing
                self._connection.request(method, f"{path}?{urlencode(query)}", body, headers, encode_chunked=False)
                self._socket = self._connection.sock
        except OwnFailureError:
            self._connection.close()
            raise

    def upload(self, chunks: Iterable[bytes]) -> None:
        """Send the body. An engine that wants no more of it says why in its answer. Raises OwnFailureError."""
        with self._guarded(), contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for chunk in chunks:
                self._connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self._connection.send(b"0\r\n\r\n")

    def begin(self) -> "EngineStream":
        """Wait for the beginning of the answer and return it. Raises OwnFailureError, and is closed then."""
        try:
            with self._guarded():
                self._response = self._connection.getresponse()
        except OwnFailureError:
            self.cut()
            self._connection.close()
            raise
        self._closing.callback(self._response.close)
        self.status = self._response.status
        return self

    def __enter__(self) -> "EngineStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_header(self, name: str) -> str:
        """Return a header of the answer, empty when it is not there."""
        return self._response.getheader(name, "")

    def read_chunks(self) -> Iterator[bytes]:
        """Give the answer's body. Raises OwnFailureError."""
        with self._guarded():
            while chunk := self._response.read1(CHUNK):
                yield chunk

    def read_lines(self) -> Iterator[dict[str, object]]:
        """Give the JSON objects of a body with one in each line. Raises OwnFailureError."""
        with self._guarded():
            for line in self._response:
                if line.strip():
                    yield json.loads(line)

    def receive(self) -> bytes:
        """Return the next raw bytes behind an upgraded answer; empty at the end, whatever ended it."""
        try:
            return self._socket.recv(CHUNK)
        except OSError:
            return b""

    def wait_forever(self) -> None:
        """Have no limit for silence any more."""
        self._socket.settimeout(None)

    def cut(self) -> None:
        """End the stream: a blocked read returns, and the engine gives up what it was doing. May be called again."""
        with contextlib.suppress(OSError):  # it ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut it and free the socket; only when no thread reads any more."""
        self.cut()
        self._closing.close()
        self._connection.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OwnFailureError(f"the engine broke off {self._what}: {error}") from error
