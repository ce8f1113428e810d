"""The worker's memory on disk: one SQLite file, written before anything is done that depends on it.

Each entry of each table of `Memory` is one row of JSON; `save` writes what changed since the last one in one
durable transaction.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any, Final

from worker import events as ev
from worker.state import Memory

_TABLES: Final = ("taken", "over", "fresh", "evaluated", "announced", "votes", "uploaded", "shunned")
_RECORDS: Final[dict[str, type[Any]]] = {"evaluated": ev.Evaluated, "announced": ev.Announced, "votes": ev.Measured}


class JournalError(RuntimeError):
    """The journal cannot be used; the text says what to do."""


class Journal:
    """Keeps a `Memory` of one account on one chain."""

    def __init__(self, path: Path, chain_tag: bytes, address: bytes) -> None:
        """Open or create the file. Raises JournalError if it belongs to another chain or account, or is in use."""
        self._written: dict[tuple[str, str], str] = {}
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        path.chmod(0o600)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT PRIMARY KEY)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS facts (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
            )
            self._check_owner(f"{chain_tag.hex()}/{address.hex()}", path)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise JournalError(f"{path} is in use by another worker ({error}): stop it first") from error
        self._chain_tag = chain_tag

    def _check_owner(self, owner: str, path: Path) -> None:
        row = self._db.execute("SELECT name FROM owner").fetchone()
        if row is None:
            self._db.execute("INSERT INTO owner VALUES (?)", (owner,))
        elif row[0] != owner:
            raise JournalError(f"{path} belongs to another chain or account: use another home for this worker")

    def restore(self) -> Memory:
        """Return what was saved."""
        memory = Memory(self._chain_tag)
        for kind, key, value in self._db.execute("SELECT kind, key, value FROM facts ORDER BY rowid"):
            self._written[kind, key] = value
            getattr(memory, kind)[_decode_key(key)] = _decode_value(kind, value)
        return memory

    def save(self, memory: Memory) -> None:
        """Write what changed, durably. Returns at once if nothing did."""
        now = {(kind, _encode(key)): _encode(value) for kind in _TABLES for key, value in getattr(memory, kind).items()}
        gone = [entry for entry in self._written if entry not in now]
        changed = [(kind, key, value) for (kind, key), value in now.items() if self._written.get((kind, key)) != value]
        if not gone and not changed:
            return
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM facts WHERE kind = ? AND key = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", changed)
        self._db.execute("COMMIT")
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
