"""What every run on this machine shares: engine, storage, cores, names, uids, labels."""

import contextlib
import hashlib
import os
import pwd
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from abci_app.protocol.limits import MIB
from worker.sandbox.engine import Engine
from worker.sandbox.processes import get_process_name
from worker.sandbox.spec import ATTEMPT_LABEL, OWNER_LABEL, PROCESS_LABEL
from worker.sandbox.storage import Storage
from worker.sandbox.types import OwnFailureError

RUNS = "runs"
FIRST_UID, LAST_UID = 20_000, 59_999  # below 65 536: rootless engines map no more

# Of the whole process: several sandboxes in it may share a home, and one must not take the other's runs for orphans.
_lock = threading.Lock()
_names: set[str] = set()
_uids: set[int] = set()


@dataclass
class Host:
    """The sandbox's part of one machine. Names made here are hex, so nothing untrusted gets into a path."""

    engine: Engine
    storage: Storage
    owner: str  # of this home, on an engine that several workers may share
    home: Path
    runtime: str
    cpus: tuple[int, ...]
    memory_bytes: int  # of the machine
    process: str = field(default_factory=get_process_name)
    closing: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def name(self) -> Iterator[str]:
        """Give a new name for a container and its folder; what still carries it afterwards is an orphan."""
        name = self.take_name()
        try:
            yield name
        finally:
            self.give_back_name(name)

    def take_name(self) -> str:
        """Return a new name that is in use until it is given back."""
        name = f"lc-{self.owner}-{secrets.token_hex(8)}"
        with _lock:
            _names.add(name)
        return name

    def give_back_name(self, name: str) -> None:
        """Say that nothing of this name is needed any more."""
        with _lock:
            _names.discard(name)

    def is_in_use(self, name: str) -> bool:
        """Return whether this process uses a container, folder or volume of this name."""
        with _lock:
            return any(name.startswith(used) for used in _names)

    def get_process_folder(self) -> Path:
        """Return where the runs of this process lie; it is made."""
        folder = self.home / RUNS / self.process
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def check_open(self) -> None:
        """Raise OwnFailureError once the sandbox is closing: what was killed then shows nothing."""
        if self.closing.is_set():
            raise OwnFailureError("the sandbox is closing")

    @contextlib.contextmanager
    def uid(self) -> Iterator[int]:
        """Give a uid that no other run of this process and no user of this machine has."""
        taken = {user.pw_uid for user in pwd.getpwall()}
        with _lock:
            taken |= _uids
            uid = secrets.choice([uid for uid in range(FIRST_UID, LAST_UID + 1) if uid not in taken])
            _uids.add(uid)
        try:
            yield uid
        finally:
            self.give_back_uid(uid)

    def hold_uid(self, uid: int) -> None:
        """Let no other run have a uid until it is given back: an attempt that goes on brings its own."""
        with _lock:
            _uids.add(uid)

    def give_back_uid(self, uid: int) -> None:
        """Say that nothing runs under this uid any more."""
        with _lock:
            _uids.discard(uid)

    def get_labels(self, attempt: str = "") -> dict[str, str]:
        """Return the labels by which a container is found after a crash."""
        labels = {OWNER_LABEL: self.owner, PROCESS_LABEL: self.process}
        return labels | {ATTEMPT_LABEL: attempt} if attempt else labels

    def choose_cpus(self, count: int) -> tuple[int, ...]:
        """Return exactly `count` cores, always the same ones. Raises OwnFailureError when there are fewer."""
        if count > len(self.cpus):
            raise OwnFailureError(f"{count} cores are needed and this worker may use {len(self.cpus)}: see cpus")
        return self.cpus[:count]

    def check_memory(self, needed: int) -> None:
        """Raise OwnFailureError when the machine has less than `needed` bytes."""
        if needed > self.memory_bytes:
            raise OwnFailureError(f"{needed // MIB} MiB of memory are needed, {self.memory_bytes // MIB} are there")


def get_owner(home: Path) -> str:
    """Return the label's value for a worker's home, which is a resolved path."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:12]


def get_allowed_cpus(wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return the cores the sandbox may use: `wanted`, or all of this process."""
    available = os.sched_getaffinity(0)
    if missing := set(wanted) - available:
        raise OwnFailureError(f"this process may not use the cores {sorted(missing)}: correct the setting cpus")
    return tuple(sorted(wanted or available))
