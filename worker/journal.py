"""The worker's memory on disk: one SQLite file, written before anything is done that depends on it.

Each entry of each table of `Memory` is one row of JSON; `save` writes what changed since the last one in one
durable transaction.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from worker import events as ev
from worker.state import Memory

_TABLES: Final = ("taken", "over", "fresh", "evaluated", "announced", "votes", "uploaded", "shunned")
_RECORDS: Final[dict[str, type[Any]]] = {"evaluated": ev.Evaluated, "announced": ev.Announced, "votes": ev.Measured}


class JournalError(RuntimeError):
    """The journal cannot be used; the text says what to do."""


def _damaged(path: Path, error: Exception) -> JournalError:
    kind = str(error).partition(":")[0]  # what to do stands behind the first colon
    return JournalError(
        f"{path} is damaged, or of another version ({kind}): it opens what this worker committed to; "
        "move it away only if no job or vote of it is undecided"
    )


@contextmanager
def _journal_errors(path: Path) -> Iterator[None]:
    """Raise JournalError, with its cause in words, for what the file or its disk refuses inside the block."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what kind of it
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise JournalError(f"{path} is in use by another worker ({error}): stop it first") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, error) from error
        raise JournalError(f"{path} cannot be used ({error}): look at the disk's free space and the file") from error
    except OSError as error:
        raise JournalError(f"{path} cannot be used ({error.strerror}): look at the disk and its permissions") from error


class Journal:
    """Keeps a `Memory` of one account on one chain."""

    def __init__(self, path: Path, chain_tag: bytes, address: bytes) -> None:
        """Open or create the file. Raises JournalError if it belongs to another chain or account, or is in use."""
        self._written: dict[tuple[str, Any], object] = {}
        self._chain_tag = chain_tag
        with _journal_errors(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            with _journal_errors(path):
                path.chmod(0o600)
                self._open(f"{chain_tag.hex()}/{address.hex()}", path)
        except BaseException:
            self._db.close()
            raise
        self._path = path

    def _open(self, owner: str, path: Path) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("BEGIN EXCLUSIVE")
        self._db.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT PRIMARY KEY)")
        self._db.execute("CREATE TABLE IF NOT EXISTS facts (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))")
        self._check_owner(owner, path)
        self._db.execute("COMMIT")

    def _check_owner(self, owner: str, path: Path) -> None:
        row = self._db.execute("SELECT name FROM owner").fetchone()
        if row is None:
            self._db.execute("INSERT INTO owner VALUES (?)", (owner,))
        elif row[0] != owner:
            raise JournalError(f"{path} belongs to another chain or account: use another home for this worker")

    def restore(self) -> Memory:
        """Return what was saved. Raises JournalError."""
        memory = Memory(self._chain_tag)
        with _journal_errors(self._path):
            rows = self._db.execute("SELECT kind, key, value FROM facts ORDER BY rowid").fetchall()
        try:
            for kind, key, value in rows:
                entry, fact = _decode_key(key), _decode_value(kind, value)
                self._written[kind, entry] = fact
                getattr(memory, kind)[entry] = fact
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(self._path, error) from error
        return memory

    def save(self, memory: Memory) -> None:
        """Write what changed, durably. Returns at once if nothing did. Raises JournalError; call it again later."""
        now = {(kind, key): value for kind in _TABLES for key, value in getattr(memory, kind).items()}
        gone = [entry for entry in self._written if entry not in now]
        changed = [entry for entry, value in now.items() if entry not in self._written or self._written[entry] != value]
        if not gone and not changed:
            return
        with _journal_errors(self._path):
            try:
                self._db.execute("BEGIN")
                self._db.executemany(
                    "DELETE FROM facts WHERE kind = ? AND key = ?", [(kind, _encode(key)) for kind, key in gone]
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
                    [(kind, _encode(key), _encode(now[kind, key])) for kind, key in changed],
                )
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        self._written = now

    def close(self) -> None:
        """Release the file."""
        self._db.close()


def _encode(value: object) -> str:
    return json.dumps(_to_json(value), separators=(",", ":"))


def _to_json(value: object) -> object:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, ev.Evaluated | ev.Announced | ev.Measured):
        return {name: _to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(item) for item in value)
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return value


def _decode_key(text: str) -> Any:
    return _from_json(json.loads(text))


def _decode_value(kind: str, text: str) -> Any:
    value = json.loads(text)
    if kind in _RECORDS:
        return _RECORDS[kind](**{name: _from_json(item) for name, item in value.items()})
    return _from_json(value)
