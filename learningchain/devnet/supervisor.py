"""The process that holds a devnet: in the foreground of a terminal, or detached with a process id in a file."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from learningchain.devnet.create import create_devnet
from learningchain.devnet.network import RunningDevnet
from learningchain.devnet.plan import DevnetError, DevnetHome, DevnetPlan, load_plan
from learningchain.node_home import find_cometbft
from learningchain.processes import get_environ, get_module_command, stop_process

POLL_SECONDS: Final = 0.2
DETACH_SECONDS: Final = 90.0
DOWN_SECONDS: Final = 60.0
_MARK: Final = "learningchain.devnet.supervisor"
_READY: Final = "ready"
"""Stands behind the process id once all parts run."""


def open_devnet(home: DevnetHome, validators: int, workers: int) -> RunningDevnet:
    """Return a devnet that does not run yet, made before or new. Raises DevnetError or NodeError."""
    running = find_running(home)
    if running is not None:
        raise DevnetError(
            f"the devnet in {home.root} runs already (process {running}): "
            f"lc devnet down --home {shlex.quote(str(home.root))} ends it"
        )
    cometbft = find_cometbft()
    plan = load_plan(home)
    if plan is None:
        plan = create_devnet(home, validators, workers, cometbft)
    elif (len(plan.validators), len(plan.workers)) != (validators, workers):
        raise DevnetError(
            f"{home.root} holds a devnet of {len(plan.validators)} validators and {len(plan.workers)} workers: "
            "use those numbers, another --home, or remove the folder"
        )
    return RunningDevnet(home, plan, cometbft)


def run(devnet: RunningDevnet, on_ready: Callable[[DevnetPlan], None]) -> None:
    """Run a devnet until SIGINT or SIGTERM. Raises DevnetError if a part of it ends by itself."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    pid_file = devnet.home.pid_file
    pid_file.write_text(f"{os.getpid()}\n")
    try:
        devnet.start_nodes()
        devnet.start_workers()
        while not (stopping or devnet.is_served()):
            devnet.check()
            time.sleep(POLL_SECONDS)
        if not stopping:
            pid_file.write_text(f"{os.getpid()} {_READY}\n")
            on_ready(devnet.plan)
        while not stopping:
            devnet.check()
            time.sleep(POLL_SECONDS)
    finally:
        devnet.stop()
        pid_file.unlink(missing_ok=True)


def detach(home: DevnetHome, validators: int, workers: int) -> DevnetPlan:
    """Start a supervisor of its own and return when the network is ready. Raises DevnetError with its last words."""
    if find_running(home) is not None:
        raise DevnetError(
            f"the devnet in {home.root} runs already: lc devnet down --home {shlex.quote(str(home.root))} ends it"
        )
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = get_module_command(_MARK, str(home.root), str(validators), str(workers))
    with home.log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=get_environ(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(home, process)
    except BaseException:  # also Ctrl-C: what is not ready is not left behind
        stop_process(process)
        raise
    plan = load_plan(home)
    if plan is None:
        raise DevnetError(f"{home.plan_file} vanished: remove {home.root} and start anew")
    return plan


def _wait_until_ready(home: DevnetHome, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DETACH_SECONDS
    while not (find_running(home) == process.pid and _READY in home.pid_file.read_text()):
        if process.poll() is not None:
            raise DevnetError(f"the devnet did not start: {home.log_file.read_text(errors='replace')[-2000:].strip()}")
        if time.monotonic() > deadline:
            raise DevnetError(f"the devnet is not ready after {DETACH_SECONDS:.0f} s: see {home.log_file}")
        time.sleep(POLL_SECONDS)


def find_running(home: DevnetHome) -> int | None:
    """Return the process id of the devnet's supervisor if it runs; a file left by a crash does not count."""
    try:
        pid = int(home.pid_file.read_text().partition(" ")[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if _is_supervisor(pid) else None


def _is_supervisor(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(
        _MARK.encode() in part or part.endswith((b"/lc", b"/learningchain")) or part == b"learningchain.cli"
        for part in command
    )


def take_down(home: DevnetHome) -> bool:
    """End a running devnet and wait for it; False if none runs. Raises DevnetError if it does not end."""
    pid = find_running(home)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while _is_supervisor(pid):  # its file goes first
        if time.monotonic() > deadline:
            raise DevnetError(f"process {pid} does not end: see {home.log_file}")
        time.sleep(POLL_SECONDS)
    return True


def main() -> int:
    """Run as the detached supervisor: FOLDER VALIDATORS WORKERS."""
    try:
        devnet = open_devnet(DevnetHome(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
        run(devnet, lambda plan: None)
    except Exception as error:  # noqa: BLE001 (the last words of a process without a terminal)
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
