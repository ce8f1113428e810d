"""Pulls through the engine on a connection of its own, so that a pull can be cut off from another thread."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from worker.sandbox.reference import Reference
from worker.sandbox.types import BrokenImageError, OwnFailureError

SILENCE_SECONDS = 300.0  # the engine reports nothing while it unpacks a large file
LOOK_SECONDS = 0.25
API_VERSION = "v1.41"

# Words of the engine that blame the image's content, which is the same everywhere.
_BROKEN = ("archive/tar", "invalid tar header", "verification failed", "gzip: invalid", "zlib: invalid", "max depth")


class _EngineConnection(http.client.HTTPConnection):
    """HTTP over the engine's Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SILENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def cut(self) -> None:
        """End the connection under a thread that reads from it: the engine then cancels the pull."""
        with contextlib.suppress(OSError):  # it ended by itself
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


def pull(engine_url: str, reference: Reference, seconds: float, check: Callable[[], None]) -> None:
    """Let the engine pull; `check` is called again and again meanwhile and stops the pull by raising OwnFailureError.

    Raises BrokenImageError when the content cannot be unpacked, OwnFailureError for everything else.
    """
    connection = _EngineConnection(engine_url.removeprefix("unix://"))
    guard = _Guard(connection.cut, seconds, check)
    try:
        query = urlencode({"fromImage": reference.repository, "tag": reference.digest, "platform": "linux/amd64"})
        connection.request("POST", f"/{API_VERSION}/images/create?{query}")
        response = connection.getresponse()
        guard.start()
        error = _read(response)
    except (OSError, http.client.HTTPException, ValueError) as failure:
        guard.stop()
        raise OwnFailureError(f"the engine broke off the pull of {reference}: {failure}") from failure
    finally:
        connection.close()
    guard.stop()
    if error:
        _raise(reference, error)


class _Guard:
    """Thread that cuts a pull off at its deadline or when the check fails."""

    def __init__(self, cut: Callable[[], None], seconds: float, check: Callable[[], None]) -> None:
        self._cut = cut
        self._deadline = time.monotonic() + seconds
        self._check = check
        self._ended = threading.Event()
        self._failure: OwnFailureError | None = None
        self._thread = threading.Thread(target=self._look, name="sandbox-pull", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it. Raises what it stopped the pull for."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._check()
                if time.monotonic() > self._deadline:
                    raise OwnFailureError("the pull took too long: see pull_seconds")
            except OwnFailureError as failure:
                self._failure = failure
                self._cut()
                return


def _read(response: http.client.HTTPResponse) -> str:
    """Return the engine's error, empty when the pull went well."""
    if response.status != 200:
        return response.read(4096).decode("utf-8", "replace")
    for record in _parse_lines(response):
        if "error" in record:
            return str(record["error"])
    return ""


def _parse_lines(response: http.client.HTTPResponse) -> Iterator[dict[str, object]]:
    for line in response:
        if line.strip():
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _raise(reference: Reference, error: str) -> None:
    if any(words in error for words in _BROKEN):
        raise BrokenImageError(f"{reference} cannot be unpacked: {error}")
    raise OwnFailureError(f"the engine failed to pull {reference}: {error}")
