"""Pulls through the engine on a connection of its own, so that a pull can be cut off from another thread."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from worker.sandbox.apart import LOOK_SECONDS
from worker.sandbox.connection import EngineStream
from worker.sandbox.engine import REASON_CHARACTERS, Engine
from worker.sandbox.output import sanitise
from worker.sandbox.reference import Reference
from worker.sandbox.types import BrokenImageError, EngineRefusedError, OwnFailureError, RegistryError

log = structlog.get_logger()

PACE_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 32 << 10  # the engine tells of each 512 KiB of three layers: twice as much is always enough

# What the engine says of a layer whose bytes are to come from the registry; "Waiting" is for other pulls of the engine.
_COMING = ("Pulling fs layer", "Downloading", "Retrying in ")
_AT_WORK = ("Extracting", "Verifying Checksum")

SHORT_DIGITS = 12  # of a digest, by which the engine names a layer

# Words of the engine that blame the image's content, which is the same everywhere.
_BROKEN = ("archive/tar", "invalid tar header", "verification failed", "gzip: invalid", "zlib: invalid", "max depth")
# Last words of the engine for trouble of this machine; before them may be names of files, which the image chose.
_OWN = ("no space left on device", "quota exceeded", "input/output error", "read-only file system")
# First words when it has a layer and cannot unpack it: the image's failure, if it can unpack others.
_UNPACKING = "failed to register layer"
# What is left is the registry's: layers that it does not give.


def pull(
    engine: Engine, reference: Reference, layers: Mapping[str, int], seconds: float, check: Callable[[], None]
) -> None:
    """Let the engine pull; `check` is called again and again meanwhile and stops the pull by raising OwnFailureError.

    `layers` has the declared bytes of each digest. Raises BrokenImageError when one is larger, as far as the engine
    tells, or when the content cannot be unpacked; EngineRefusedError when that may be the reason; RegistryError when
    the registry does not give it within `seconds`; OwnFailureError for everything else.
    """
    check()
    pace = Pace()

    def check_all() -> None:
        check()
        pace.check()

    with engine.pull(reference.repository, reference.digest) as stream:
        guard = _Guard(stream.cut, seconds, check_all)
        guard.start()
        try:
            error = _read(stream.begin(), reference, layers, pace)
        finally:
            guard.stop()  # its reason is better than that of the stream, which it cut
    if error:
        raise_for(reference, error)


class Pace:
    """Tells a registry that drips from one that gives, and from an engine that is at work by itself.

    The engine downloads three layers at a time, of all images together: while a registry drips, others wait for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """The registry has the word until the engine says that it has all it needs."""
        self._clock = clock
        self._states: dict[str, str] = {}  # by the engine's short name of a layer
        self._bytes: dict[str, int] = {}
        self._since = clock()
        self._at_first = 0  # bytes that had come then

    def note(self, record: dict[str, object]) -> None:
        """Take a record of the engine's progress."""
        name, state = str(record.get("id", "")), str(record.get("status", ""))
        if record.get("progressDetail") is not None:  # else it is about the image
            self._states[name] = state
            self._bytes[name] = max(self._bytes.get(name, 0), _get_downloaded(record))

    def check(self) -> None:
        """Raise RegistryError if too little came in the last PACE_SECONDS although it was the registry's turn."""
        now, total = self._clock(), sum(list(self._bytes.values()))
        if not self._is_registrys_turn() or total - self._at_first >= PACE_SECONDS * LEAST_BYTES_PER_SECOND:
            self._since, self._at_first = now, total
        elif now - self._since > PACE_SECONDS:
            raise RegistryError(
                f"the registry gives less than {LEAST_BYTES_PER_SECOND >> 10} KiB/s: {total} bytes of layers are here"
            )

    def _is_registrys_turn(self) -> bool:
        """Return whether all that goes on is to wait for its bytes."""
        states = list(self._states.values())
        return not states or (any(s.startswith(_COMING) for s in states) and not any(s in _AT_WORK for s in states))


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
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._check()
                if time.monotonic() > self._deadline:
                    raise RegistryError("the pull took too long: see pull_seconds")
            except OwnFailureError as failure:
                return self._fail(failure)
            except Exception as error:
                # Nobody else looks at its deadline and at the disk: whatever happened here, it must not go on.
                log.exception("pull_not_watched")
                return self._fail(OwnFailureError(f"a pull could not be watched any more: {error!r}"))
        return None

    def _fail(self, failure: OwnFailureError) -> None:
        self._failure = failure
        self._cut()


def _read(stream: EngineStream, reference: Reference, layers: Mapping[str, int], pace: Pace) -> str:
    """Return the engine's error, empty when the pull went well. Raises BrokenImageError for a layer that is larger."""
    if stream.status != 200:
        return b"".join(itertools.islice(stream.read_chunks(), 1)).decode("utf-8", "replace")
    declared: dict[str, int] = {}  # by the engine's short name
    for digest, size in layers.items():
        name = digest.removeprefix("sha256:")[:SHORT_DIGITS]
        declared[name] = max(size, declared.get(name, 0))
    error = ""
    for record in stream.read_lines():
        error = error or str(record.get("error", ""))
        pace.note(record)
        if _get_downloaded(record) > (size := declared.get(str(record.get("id")), sys.maxsize)):
            raise BrokenImageError(f"{reference} has a layer that is larger than the {size} bytes of its manifest")
    return error


def _get_downloaded(record: dict[str, object]) -> int:
    """Return how many bytes of a layer have come, by a record of the engine's progress; 0 if it is about else.

    The engine skips records when it is quick, but it always says how much it unpacks.
    """
    detail = record.get("progressDetail")
    name = {"Downloading": "current", "Extracting": "total"}.get(str(record.get("status")), "")
    size = detail.get(name) if isinstance(detail, dict) else None
    return size if isinstance(size, int) else 0


def raise_for(reference: Reference, error: str) -> None:
    """Raise what the engine's words for a failed pull mean."""
    error = sanitise(error.rstrip(), REASON_CHARACTERS)
    words = f"the engine failed to pull {reference}: {error}"
    if error.endswith(_OWN):
        raise OwnFailureError(words)
    if any(broken in error for broken in _BROKEN):
        raise BrokenImageError(f"{reference} cannot be unpacked: {error}")
    raise (EngineRefusedError if error.startswith(_UNPACKING) else RegistryError)(words)
