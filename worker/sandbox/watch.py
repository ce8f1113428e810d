"""Looks at a running container from time to time: its largest memory, and what it writes where caps are not hard."""

import contextlib
import threading

import structlog

from worker.sandbox.container import Container
from worker.sandbox.engine import Engine
from worker.sandbox.memory import Meter
from worker.sandbox.storage import Workspace
from worker.sandbox.types import OwnFailureError, StopReason

log = structlog.get_logger()

FIRST_LOOK_SECONDS = 0.02  # what ends sooner has no peak: the kernel's limit holds, and little fits into that time
LOOK_SECONDS = 0.1


class Watch:
    """A thread from `start` to `stop`; kills the container when it wrote too much."""

    def __init__(self, engine: Engine, container: Container, workspace: Workspace) -> None:
        self._engine = engine
        self._container = container
        self._workspace = workspace
        self._is_over = threading.Event()
        self._failure: OwnFailureError | None = None
        self._thread = threading.Thread(target=self._look, name="sandbox-watch", daemon=True)
        self.peak_bytes = 0

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End it. Raises OwnFailureError when the watch saw this machine fail, or could not look."""
        self._is_over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _look(self) -> None:
        try:
            self._look_until_over()
        except OwnFailureError as failure:
            self._fail(failure)
        except Exception as error:
            # Its memory and its writing are not seen any more: what it leaves is no finding.
            log.exception("container_not_watched", container=self._container.id)
            self._fail(OwnFailureError(f"a container could not be watched any more: {error!r}"))

    def _look_until_over(self) -> None:
        pause = FIRST_LOOK_SECONDS
        meter = Meter(self._engine, self._container.id)
        while not self._is_over.wait(pause):
            pause = LOOK_SECONDS
            self.peak_bytes = max(self.peak_bytes, meter.read())
            if self._workspace.is_over(self._container.id):
                self._container.kill(StopReason.SPACE)

    def _fail(self, failure: OwnFailureError) -> None:
        """Let `stop` raise the failure, and end the container."""
        self._failure = failure
        with contextlib.suppress(OwnFailureError):  # whoever waits for its end kills it once more at the deadline
            self._container.kill(StopReason.STOPPED)
