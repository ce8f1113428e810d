"""Removes what processes left when they died: containers, mounts, volumes, files.

Of this worker's home everything, of other homes on the same engine the containers and volumes of processes that are
surely dead. What this process itself could not remove, because the engine was away, counts as left too.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from worker.sandbox.attempts import ATTEMPTS, take_lock
from worker.sandbox.container import DIE_SECONDS
from worker.sandbox.disks import find_mounts, unmount
from worker.sandbox.engine import Json
from worker.sandbox.host import RUNS, Host
from worker.sandbox.kept import FOLDERS, remove_parts
from worker.sandbox.processes import is_alive, is_surely_dead
from worker.sandbox.spec import ATTEMPT_LABEL, OWNER_LABEL, PROCESS_LABEL
from worker.sandbox.types import OrphanReport, OwnFailureError

GRACE_SECONDS = 30.0  # to save in /lc/state


def remove_orphans(host: Host, keep_attempts: Collection[str]) -> OrphanReport:
    """Remove what dead processes left; see worker.sandbox.types.Sandbox. Raises OwnFailureError."""
    with _locked(host.home):
        dead = _find_dead(host, OWNER_LABEL)
        _end_containers(host, dead, keep_attempts)
        folders = [folder for folder in _list(host.home / RUNS) if not is_alive(folder.name)]
        own = (host.home / RUNS / host.process).glob("lc-*")
        folders += [folder for folder in own if not host.is_in_use(folder.name)]
        mounts = sum(_clear(folder) for folder in folders)
        for volume in host.engine.volumes(OWNER_LABEL):
            if _is_orphan(host, volume["Name"], volume["Labels"] or {}):
                host.engine.remove_volume(volume["Name"])
        for name in FOLDERS:
            remove_parts(host.home / name)
        attempts = [_clear_attempt(host, folder, keep_attempts) or 0 for folder in _list(host.home / ATTEMPTS)]
        return OrphanReport(len(dead), mounts + sum(attempts), len(folders))


def remove_attempt_containers(host: Host, attempt: str) -> None:
    """Remove dead processes' containers of one attempt, which would write to its state at the same time."""
    with _locked(host.home):
        dead = _find_dead(host, f"{OWNER_LABEL}={host.owner}")
        _end_containers(host, [each for each in dead if each["Labels"].get(ATTEMPT_LABEL) == attempt], (attempt,))


def forget_attempt(host: Host, attempt: str) -> None:
    """Remove all that is kept of an attempt; nothing is fine. Raises OwnFailureError while a process runs it."""
    remove_attempt_containers(host, attempt)
    folder = host.home / ATTEMPTS / attempt
    if folder.is_dir() and _clear_attempt(host, folder, ()) is None:
        raise OwnFailureError(f"attempt {attempt} is running")


def get_attempts(home: Path) -> list[str]:
    """Return the names of all attempts that a home keeps."""
    return [folder.name for folder in _list(home / ATTEMPTS)]


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time clear a home: a worker that starts, and the guard of the one before it."""
    with (home / "orphans.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_dead(host: Host, label: str) -> list[Json]:
    """Return the containers with this label that nobody needs any more."""
    found = host.engine.containers(label)
    return [each for each in found if _is_orphan(host, str(each["Names"][0]).removeprefix("/"), each["Labels"])]


def _is_orphan(host: Host, name: str, labels: dict[str, str]) -> bool:
    """Return whether nobody needs it any more; what has no process label is kept between processes."""
    process = labels.get(PROCESS_LABEL)
    if labels.get(OWNER_LABEL) != host.owner:
        return process is not None and is_surely_dead(process)
    if process == host.process:
        return not host.is_in_use(name)
    return process is not None and not is_alive(process)


def _end_containers(host: Host, containers: list[Json], keep_attempts: Collection[str]) -> None:
    """Stop training of kept and of others' attempts with a grace, everything else at once, and remove them all."""
    engine = host.engine
    kept = [each["Id"] for each in containers if _is_kept(host, each["Labels"], keep_attempts)]
    for container in kept:
        engine.unpause(container)  # a frozen one would not hear the signal
        engine.kill(container, "SIGTERM")
    deadline = time.monotonic() + GRACE_SECONDS
    for container in kept:
        engine.wait(container, deadline - time.monotonic())
    for container in containers:
        engine.unpause(container["Id"])
        engine.kill(container["Id"])
        if not engine.wait(container["Id"], DIE_SECONDS):
            raise OwnFailureError("a container of a dead process does not die: restart the engine")
        engine.remove(container["Id"])


def _is_kept(host: Host, labels: dict[str, str], keep_attempts: Collection[str]) -> bool:
    attempt = labels.get(ATTEMPT_LABEL)
    return attempt is not None and (attempt in keep_attempts or labels[OWNER_LABEL] != host.owner)


def _clear(folder: Path) -> int:
    """Unmount what is below a folder and delete it; return how many mounts there were."""
    mounts = find_mounts(folder)
    for mount in mounts:
        unmount(mount)
    shutil.rmtree(folder)
    return len(mounts)


def _clear_attempt(host: Host, folder: Path, keep: Collection[str]) -> int | None:
    """Unmount, and unless it is kept delete, an attempt; return how many mounts there were, None if it is running."""
    lock = take_lock(folder)
    if lock is None:
        return None  # a living process has it
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock)
        mounts = find_mounts(folder)
        for mount in mounts:
            unmount(mount)
        if folder.name not in keep:
            host.storage.remove_state(folder, folder.name)
            shutil.rmtree(folder)
    return len(mounts)


def _list(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
