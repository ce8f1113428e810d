"""The sandbox's guard: a process that outlives the worker by a moment and removes what it left, `kill -9` included.

It holds the reading end of a pipe. A word in it is the farewell of a worker that cleaned up; its end without a word is
the worker's death.
"""

import contextlib
import subprocess

from learningchain.processes import get_environ, get_module_command
from worker.sandbox.host import Host

LOG = "guard.log"
END_SECONDS = 60.0


class Guard:
    """A running guard of this process."""

    def __init__(self, host: Host) -> None:
        command = get_module_command("worker.guard", str(host.home), host.engine.url, host.process)
        with (host.home / LOG).open("ab") as log:
            # A session of its own: Ctrl-C is for the worker.
            self._process = subprocess.Popen(
                command, env=get_environ(), stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def dismiss(self) -> None:
        """Let it go: nothing is left to remove. May be called again."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # somebody ended it before
                self._process.stdin.write(b".")
                self._process.stdin.close()
        self._process.wait(END_SECONDS)
