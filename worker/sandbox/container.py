"""One container from create to remove: attached before it starts, watched while it runs, killed as a whole."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.sandbox.blame import blaming_image
from worker.sandbox.connection import EngineStream
from worker.sandbox.engine import Engine, Json
from worker.sandbox.output import Frames
from worker.sandbox.types import OwnFailureError, StopReason

DIE_SECONDS = 30.0  # after SIGKILL; longer means that the engine or the kernel is in trouble
DRAIN_SECONDS = 5.0  # for the last output of a container that has ended


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended: `reason` when it was stopped, else it ended by itself."""

    exit_code: int
    reason: StopReason | None


class Container:
    """A container of the sandbox. `kill`, `pause` and `remove` may come from any thread."""

    def __init__(self, engine: Engine, name: str, config: Json, sink: Callable[[bytes], None], output_cap: int) -> None:
        """Create it. `sink` gets what it prints, in the reader's thread, up to `output_cap` bytes.

        Raises BrokenImageError, as does start, when the image is the reason that it cannot be done.
        """
        self._engine = engine
        self._sink = sink
        self._output_cap = output_cap
        self._lock = threading.RLock()  # one of kill, pause, remove at a time
        self._reason: StopReason | None = None
        self._attachment: EngineStream | None = None
        self._reader: threading.Thread | None = None
        self.started = 0.0
        self._name = name
        self._config = config
        with blaming_image(engine, name, config, starts=False):
            self.id = engine.create(name, config)

    def start(self) -> None:
        """Start it; from here on its time runs."""
        self._attachment = self._engine.attach(self.id)
        self._reader = threading.Thread(target=self._read, args=(self._attachment,), name="sandbox-output", daemon=True)
        self._reader.start()
        self.started = time.monotonic()
        with blaming_image(self._engine, self._name, self._config, starts=True):
            self._engine.start(self.id)

    def wait(self, seconds: float) -> bool:
        """Return whether it ended within `seconds`."""
        return self._engine.wait(self.id, seconds)

    def kill(self, reason: StopReason) -> None:
        """Kill all of it and wait for its end. Raises OwnFailureError when it does not die."""
        with self._lock:
            self._reason = self._reason or reason
            # With the output unread the engine's kill would hang until the SDK gives up: end the stream first.
            self._cut_output()
            self._engine.unpause(self.id)
            self._engine.kill(self.id)
            if not self._engine.wait(self.id, DIE_SECONDS):
                raise OwnFailureError(f"a container does not die within {DIE_SECONDS:.0f} s: restart the engine")

    def terminate(self, grace_seconds: float) -> None:
        """Ask it to end with SIGTERM, kill it after `grace_seconds`."""
        with self._lock:
            self._reason = self._reason or StopReason.STOPPED
            self._engine.unpause(self.id)
            self._engine.kill(self.id, "SIGTERM")
        if not self.wait(grace_seconds):
            self.kill(StopReason.STOPPED)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from running inside the block; a dead one stays dead. Nothing else can thaw it meanwhile."""
        with self._lock:
            is_paused = self._engine.pause(self.id)
            try:
                yield
            finally:
                if is_paused:
                    self._engine.unpause(self.id)

    def get_end(self) -> End:
        """Return how it ended, after its end. Raises OwnFailureError when the engine lost it."""
        self._drain()
        state = self._engine.inspect(self.id)["State"]
        if state["Running"]:
            raise OwnFailureError("the engine says of a container both that it ended and that it runs")
        if state.get("Error"):
            raise OwnFailureError(f"the engine could not run a container: {state['Error']}")
        code = int(state["ExitCode"])
        reason = self._reason
        if reason is None and state.get("OOMKilled") and code != 0:
            reason = StopReason.MEMORY
        return End(code, reason)

    def remove(self) -> None:
        """Remove it, running or not."""
        try:
            with self._lock:
                self._cut_output()
                self._engine.unpause(self.id)
                self._engine.remove(self.id)
        finally:
            if self._reader is not None and self._attachment is not None:
                self._reader.join(DRAIN_SECONDS)
                self._attachment.close()

    def _read(self, attachment: EngineStream) -> None:
        frames, total = Frames(), 0
        while data := attachment.receive():
            printed = frames.feed(data)
            total += len(printed)
            self._sink(printed)
            if total > self._output_cap:
                # Whoever waits for the end kills it once more at the deadline, and is told why that fails.
                with contextlib.suppress(OwnFailureError):
                    self.kill(StopReason.OUTPUT)
                return

    def _drain(self) -> None:
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(DRAIN_SECONDS)
        self._cut_output()

    def _cut_output(self) -> None:
        """End the output: a reader that waits for more, or for the sink, returns."""
        if self._attachment is not None:
            self._attachment.cut()
