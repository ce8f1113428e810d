"""Attempts at training: what is kept of each between its starts."""

import fcntl
import json
import os
import re
import secrets
import shutil
from pathlib import Path

import structlog

from worker.sandbox.types import OwnFailureError

log = structlog.get_logger()

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
        self.kills = 0  # starts that ended by a signal from outside of the worker
        self.is_new = False  # nothing of an earlier start is known

    @classmethod
    def open(cls, home: Path, attempt: str, uid: int) -> "Attempt":
        """Continue an attempt, or begin it with `uid`. Raises OwnFailureError when a process has it."""
        if _ID.fullmatch(attempt) is None:
            raise ValueError(f"an attempt is 16 to 64 lower-case hex digits, not {attempt!r}")
        folder = home / ATTEMPTS / attempt
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = take_lock(folder)
            if lock is None:
                raise OwnFailureError(f"attempt {attempt} is running already")
            return cls._open_locked(folder, lock, uid)
        except OSError as error:
            raise OwnFailureError(f"attempt {attempt} cannot be kept in {folder}: {error.strerror}") from error

    @classmethod
    def _open_locked(cls, folder: Path, lock: int, uid: int) -> "Attempt":
        opened = cls(folder, lock)
        try:
            if not opened._load():
                opened.seed, opened.uid, opened.is_new = secrets.randbits(SEED_BITS), uid, True
                opened.save()
        except BaseException:
            os.close(lock)
            raise
        return opened

    def save(self) -> None:
        """Write it down: a crash at any moment leaves the old or the new one, whole and on disk. Raises OSError."""
        part = self.folder / "attempt.json.part"
        used = round(self.used_seconds, 3)
        kept = {"seed": self.seed, "uid": self.uid, "used_seconds": used, "kills": self.kills}
        with part.open("w", encoding="ascii") as file:
            file.write(json.dumps(kept))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / "attempt.json")

    def try_to_save(self) -> bool:
        """Write it down if the disk lets us: a training is worth more than the last seconds of its account."""
        try:
            self.save()
        except OSError as error:
            log.warning("attempt_not_saved", attempt=self.id, reason=error.strerror)
            return False
        return True

    def close(self, *, forget: bool) -> None:
        """Let other processes have it; with `forget` nothing of it stays."""
        try:
            if forget:
                shutil.rmtree(self.folder)
            else:
                self.try_to_save()
        finally:
            os.close(self._lock)

    def _load(self) -> bool:
        """Take over what was kept; False if there is nothing, or nothing that can be read: then it begins anew."""
        try:
            kept = json.loads((self.folder / "attempt.json").read_text(encoding="ascii"))
            seed, uid, used, kills = kept["seed"], kept["uid"], kept["used_seconds"], kept.get("kills", 0)
            self.seed, self.uid, self.used_seconds, self.kills = int(seed), int(uid), float(used), int(kills)
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("attempt_unreadable", attempt=self.id, reason=str(error))
            return False
        return True


def take_lock(folder: Path) -> int | None:
    """Return a descriptor that holds the attempt's lock, None when another holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
