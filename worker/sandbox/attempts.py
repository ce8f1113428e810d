"""Attempts at training: what is kept of each between its starts."""

import fcntl
import json
import os
import re
import secrets
import shutil
from pathlib import Path

from worker.sandbox.types import OwnFailureError

ATTEMPTS = "attempts"
SEED_BITS = 32  # what numerical libraries take

_ID = re.compile(r"[0-9a-f]{16,64}")


class Attempt:
    """Seed, uid and seconds used of one attempt, locked by the process that runs it."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._lock = lock
        self.folder = folder
        self.id = folder.name
        self.seed = 0
        self.uid = 0
        self.used_seconds = 0.0

    @classmethod
    def open(cls, home: Path, attempt: str, uid: int) -> "Attempt":
        """Continue an attempt, or begin it with `uid`. Raises OwnFailureError when a process has it."""
        if _ID.fullmatch(attempt) is None:
            raise ValueError(f"an attempt is 16 to 64 lower-case hex digits, not {attempt!r}")
        folder = home / ATTEMPTS / attempt
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = take_lock(folder)
        if lock is None:
            raise OwnFailureError(f"attempt {attempt} is running already")
        opened = cls(folder, lock)
        opened._load(uid)
        return opened

    def save(self) -> None:
        """Write it down."""
        part = self.folder / "attempt.json.part"
        kept = {"seed": self.seed, "uid": self.uid, "used_seconds": round(self.used_seconds, 3)}
        part.write_text(json.dumps(kept), encoding="ascii")
        part.replace(self.folder / "attempt.json")

    def close(self, *, forget: bool) -> None:
        """Let other processes have it; with `forget` nothing of it stays."""
        if forget:
            shutil.rmtree(self.folder)
        else:
            self.save()
        os.close(self._lock)

    def _load(self, uid: int) -> None:
        try:
            kept = json.loads((self.folder / "attempt.json").read_text(encoding="ascii"))
        except FileNotFoundError:
            self.seed, self.uid = secrets.randbits(SEED_BITS), uid
            self.save()
            return
        self.seed, self.uid, self.used_seconds = int(kept["seed"]), int(kept["uid"]), float(kept["used_seconds"])


def take_lock(folder: Path) -> int | None:
    """Return a descriptor that holds the attempt's lock, None when another holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
