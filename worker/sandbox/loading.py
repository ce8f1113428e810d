"""Gives an image to the engine, on a connection of its own that can be cut off from another thread."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from worker.sandbox.apart import LOOK_SECONDS
from worker.sandbox.connection import EngineStream
from worker.sandbox.engine import REASON_CHARACTERS, Engine
from worker.sandbox.output import sanitise
from worker.sandbox.types import EngineRefusedError, OwnFailureError

log = structlog.get_logger()

# Last words of the engine for trouble of this machine; before them may be names of files, which the image chose.
_OWN: Final = ("no space left on device", "quota exceeded", "input/output error", "read-only file system")
_NOT_UNPACKED: Final = "Error unpacking image "


def load(engine: Engine, archive: Iterator[bytes], seconds: float, check: Callable[[], None]) -> None:
    """Upload an archive; `check` is called again and again meanwhile and ends it by raising OwnFailureError.

    Raises EngineRefusedError when the engine does not take it, which may be the image's doing; OwnFailureError for
    everything else, also after `seconds`. The engine may have the image all the same.
    """
    check()
    with engine.load() as stream:
        guard = _Guard(stream.cut, seconds, check)
        guard.start()
        try:
            stream.upload(archive)
            error = _read(stream.begin())
        finally:
            guard.stop()  # its reason is better than that of the stream, which it cut
    if error:
        raise_for(error)


class _Guard:
    """Thread that cuts a stream off at its deadline or when the check fails."""

    def __init__(self, cut: Callable[[], None], seconds: float, check: Callable[[], None]) -> None:
        self._cut = cut
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._check = check
        self._ended = threading.Event()
        self._failure: OwnFailureError | None = None
        self._thread = threading.Thread(target=self._look, name="sandbox-load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it. Raises what it cut the stream for."""
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._check()
                if time.monotonic() > self._deadline:
                    raise OwnFailureError(f"the engine did not unpack an image within {self._seconds:.0f} s")
            except OwnFailureError as failure:
                return self._fail(failure)
            except Exception as error:
                # Nobody else looks at its deadline and at the disk: whatever happened here, it must not go on.
                log.exception("load_not_watched")
                return self._fail(OwnFailureError(f"an image's way to the engine could not be watched: {error!r}"))
        return None

    def _fail(self, failure: OwnFailureError) -> None:
        self._failure = failure
        self._cut()


def _read(stream: EngineStream) -> str:
    """Return the engine's error, empty when all went well."""
    if stream.status != 200:
        return b"".join(itertools.islice(stream.read_chunks(), 1)).decode("utf-8", "replace")
    return next(filter(None, [_get_error(record) for record in stream.read_lines()]), "")


def _get_error(record: dict[str, object]) -> str:
    """Return the error of a line of the answer; with containerd's store one about unpacking is no error by name."""
    told = str(record.get("stream", ""))
    return str(record.get("error", "")) or (told if told.startswith(_NOT_UNPACKED) else "")


def raise_for(error: str) -> None:
    """Raise what the engine's words for a failed load mean."""
    words = f"the engine failed to unpack an image: {sanitise(error.rstrip(), REASON_CHARACTERS)}"
    raise (OwnFailureError if error.rstrip().endswith(_OWN) else EngineRefusedError)(words)  # before it was cut
