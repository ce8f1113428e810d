import json
import resource
import sqlite3
from pathlib import Path

import pytest

from learningchain.cli.failure import split_text
from tests.worker.worlds import MODEL, SALT, TAG
from worker import events as ev
from worker.journal import Journal, JournalError
from worker.state import Memory

ME = b"m" * 20


def full_memory() -> Memory:
    return Memory(
        TAG,
        taken={1: "ab" * 16, 2: "cd" * 16},
        over={2: "ended with code 0"},
        fresh={1: MODEL},
        evaluated={(1, MODEL): ev.Evaluated(1, MODEL, (1, -2, 3), 7)},
        announced={(1, MODEL): ev.Announced(1, MODEL, SALT, -5)},
        votes={(1, 0): ev.Measured(1, 0, 1, 2**63 - 1, b"", SALT)},
        uploaded={(1, MODEL): None},
        shunned={b"c" * 20: "noise"},
    )


def test_what_was_saved_is_restored_to_the_letter(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TAG, ME)
    journal.save(full_memory())
    journal.close()
    assert Journal(tmp_path / "j", TAG, ME).restore() == full_memory()


def test_what_was_forgotten_is_gone_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TAG, ME)
    journal.save(full_memory())
    rest = full_memory()
    rest.votes.clear()
    rest.over[2] = "another reason"
    journal.save(rest)
    journal.close()
    assert Journal(tmp_path / "j", TAG, ME).restore() == rest


def test_a_restored_journal_goes_on_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TAG, ME)
    journal.save(full_memory())
    journal.close()
    again = Journal(tmp_path / "j", TAG, ME)
    memory = again.restore()
    memory.announced.clear()
    again.save(memory)
    again.close()
    assert Journal(tmp_path / "j", TAG, ME).restore().announced == {}


@pytest.mark.parametrize(("tag", "account"), [(b"o" * 8, ME), (TAG, b"o" * 20)])
def test_a_journal_of_another_chain_or_account_is_refused(tmp_path: Path, tag: bytes, account: bytes) -> None:
    Journal(tmp_path / "j", TAG, ME).close()
    with pytest.raises(JournalError, match="another chain or account"):
        Journal(tmp_path / "j", tag, account)


def test_two_workers_cannot_share_a_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j", TAG, ME)
    with pytest.raises(JournalError, match="stop it first"):
        Journal(tmp_path / "j", TAG, ME)
    first.close()


def test_a_full_disk_is_named_at_the_start(tmp_path: Path) -> None:
    """It is no other worker's doing."""
    usual, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # no file may grow
    try:
        with pytest.raises(JournalError, match="cannot be used") as failed:
            Journal(tmp_path / "j", TAG, ME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, most))
    assert "another worker" not in str(failed.value)
    assert isinstance(failed.value.__cause__, sqlite3.OperationalError)


def test_what_a_full_disk_refused_is_saved_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", TAG, ME)
    journal._db.execute("PRAGMA max_page_count=1")
    memory = full_memory()
    memory.over.update(dict.fromkeys(range(100), "a reason" * 100))
    for _ in range(2):
        with pytest.raises(JournalError, match="disk is full"):
            journal.save(memory)
    journal._db.execute("PRAGMA max_page_count=1000000")
    journal.save(memory)
    journal.close()
    assert Journal(tmp_path / "j", TAG, ME).restore() == memory


def test_only_what_changed_is_encoded_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long training leaves thousands of entries, and the journal is saved with each happening."""
    journal = Journal(tmp_path / "j", TAG, ME)
    memory = full_memory()
    memory.over.update(dict.fromkeys(range(10, 1_000), "a reason"))
    journal.save(memory)
    journal.close()
    again = Journal(tmp_path / "j", TAG, ME)
    restored = again.restore()
    restored.over[2] = "another reason"
    before, encoded = again._db.total_changes, []

    def encode(value: object) -> str:
        encoded.append(value)
        return json.dumps(value)

    monkeypatch.setattr("worker.journal._encode", encode)
    again.save(restored)
    again.save(restored)
    assert again._db.total_changes == before + 1
    assert encoded == [2, "another reason"]
    again.close()


def test_sqlite_syncs_every_save(tmp_path: Path) -> None:
    """A power cut between an announcement and its salt would cost the deposit."""
    full = 2
    journal = Journal(tmp_path / "j", TAG, ME)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (full,)
    journal.close()


def test_the_journal_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    Journal(tmp_path / "j", TAG, ME).close()
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["row", "text", "pages", "end", "start"])
def test_a_damaged_journal_is_named_and_not_a_defect_of_the_program(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, TAG, ME)
    memory = Memory(TAG)
    memory.over.update(dict.fromkeys(range(1000), "x" * 100))
    journal.save(memory)
    journal.close()
    if damage == "row":
        with sqlite3.connect(path) as db:
            db.execute("INSERT INTO facts VALUES ('votes', '[1,0]', '{\"job_id\":1}')")
    elif damage == "text":
        with sqlite3.connect(path) as db:
            db.execute("UPDATE facts SET value = '{\"x\":1' WHERE rowid = 7")
    else:
        content = path.read_bytes()
        left = {"pages": content[:8192] + bytes(8192) + content[16384:], "end": content[:-4096]}
        path.write_bytes(left.get(damage, b"x" * 100 + content[100:]))
    with pytest.raises(JournalError, match=r"journal\.sqlite is damaged") as failed:
        Journal(path, TAG, ME).restore()
    assert split_text(str(failed.value))[1].endswith("move it away only if no job or vote of it is undecided")
    assert split_text(str(failed.value))[1].startswith("it opens")
