"""Who waits for a lock is told for whom: a process stopped with Ctrl-Z keeps what it holds."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from learningchain.client import file_lock
from learningchain.client.journal import FileJournal, JournalBusy

HOLD = """
import fcntl, os, signal, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "sent", b"tag", b"key")


@pytest.fixture
def stopped(journal: FileJournal) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the journal's lock and is stopped."""

    async def make_file() -> Path:
        async with journal.locked():
            return next(path for path in journal.folder.iterdir() if path.suffix == ".lock")

    process = subprocess.Popen([sys.executable, "-c", HOLD, str(asyncio.run(make_file()))])
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_stopped_process_that_holds_the_lock_is_named(journal: FileJournal, stopped: subprocess.Popen[bytes]) -> None:
    async def wait() -> None:
        async with journal.locked(0.05):
            pytest.fail("the lock is held")

    with pytest.raises(JournalBusy) as busy:
        asyncio.run(wait())
    assert f"process {stopped.pid}, which is stopped, holds {journal.folder}" in busy.value.message
    assert f"kill -CONT {stopped.pid}" in busy.value.hint


def test_after_a_while_it_is_told_who_is_waited_for_and_then_the_lock_is_taken(
    journal: FileJournal, stopped: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "NOTICE_S", 0.0)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        os.kill(stopped.pid, signal.SIGCONT)  # it then ends by itself

    async def wait() -> None:
        async with FileJournal(journal.folder, b"tag", b"key", tell).locked():
            pass

    asyncio.run(wait())
    assert len(told) == 1
    assert told[0].startswith(f"waiting: process {stopped.pid}, which is stopped, holds ")


def test_a_process_that_runs_is_told_apart_from_one_that_is_stopped(journal: FileJournal) -> None:
    async def wait() -> None:
        async with journal.locked(), journal.locked(0.05):
            pytest.fail("the lock is held")

    with pytest.raises(JournalBusy, match=f"process {os.getpid()} holds"):
        asyncio.run(wait())


def test_a_holder_that_the_system_does_not_show_is_another_process(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "find_holder", lambda _: None)

    async def wait() -> None:
        async with journal.locked(), journal.locked(0.05):
            pytest.fail("the lock is held")

    with pytest.raises(JournalBusy, match="another process holds"):
        asyncio.run(wait())
