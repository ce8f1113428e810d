"""Running a devnet: all its processes are children of this one and end with it."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from learningchain.devnet.plan import DevnetError, DevnetHome, DevnetPlan
from learningchain.node import RunningNode, get_status, start_node
from learningchain.node_home import NodeError, NodeHome
from learningchain.processes import get_module_command, start_process, stop_process

START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.2
_LOG_TAIL_BYTES: Final = 2_000


class RunningDevnet:
    """The processes of a devnet. Use it from one thread."""

    def __init__(self, home: DevnetHome, plan: DevnetPlan, cometbft: Path) -> None:
        """Nothing runs yet."""
        self.home = home
        self.plan = plan
        self._cometbft = cometbft
        self._nodes: dict[str, RunningNode] = {}
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def start_nodes(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Start all validators and wait until they make blocks, calling `on_wait` again and again meanwhile.

        Raises NodeError or DevnetError.
        """
        for entry in self.plan.validators:
            self._nodes[entry.name] = start_node(NodeHome(self.home.get_node(entry.name)), self._cometbft)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_making_blocks():
            self.check()
            if time.monotonic() > deadline:
                raise DevnetError(f"no block after {START_SECONDS:.0f} s: see the logs below {self.home.root}")
            on_wait()
            time.sleep(POLL_SECONDS)

    def start_workers(self) -> None:
        """Start the checking workers of the validators and the training ones."""
        for name in [*(entry.name for entry in self.plan.validators), *self.plan.workers]:
            folder = self.home.get_worker(name)
            command = get_module_command("worker", "start", "--home", str(folder))
            self._workers[name] = start_process(command, folder / "worker.log")

    def is_served(self) -> bool:
        """Tell whether the workers of all validators answer: each has found its container engine and its node."""
        return all(_listens(entry.relay_port) for entry in self.plan.validators)

    def check(self) -> None:
        """Raise DevnetError if a process ended, with its last words."""
        for name, node in self._nodes.items():
            ended = node.find_ended()
            if ended is not None:
                raise DevnetError(f"{name}: {ended}")
        for name, process in self._workers.items():
            if process.poll() is not None:
                log = self.home.get_worker(name) / "worker.log"
                tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")
                raise DevnetError(
                    f"the worker of {name} ended with code {process.returncode}; the end of {log}:\n{tail}"
                )

    def stop(self) -> None:
        """Stop the workers, then the nodes; all of each kind at once, so that nobody waits for another."""
        for process in self._workers.values():
            process.terminate()
        for process in self._workers.values():
            stop_process(process)
        for node in self._nodes.values():
            node.cometbft.terminate()
        for node in self._nodes.values():
            node.stop()

    def _is_making_blocks(self) -> bool:
        try:
            return all(get_status(self.plan.get_node_url(i)).height >= 2 for i in range(len(self.plan.validators)))
        except NodeError:
            return False


def _listens(port: int) -> bool:
    """Tell whether somebody listens at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(POLL_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0
