"""A disk that is full for a while: nothing is sent that is not in the journals first, and the worker goes on."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.wallet.files import write_private
from tests.support.fake_sandbox import FakeSandbox
from tests.support.market import IMAGE
from tests.worker.fleet import Fleet, play, submit
from worker.journal import Journal, JournalError
from worker.sandbox import Evaluation
from worker.state import Memory


class FullDisk:
    """Refuses what it is asked to write while it is full."""

    def __init__(self, patch: pytest.MonkeyPatch, kinds: set[str]) -> None:
        self.is_full = False
        self.fills = False
        """Whether the next evaluation fills it, so that it is full before its result is known."""
        self.refused = 0
        save, write_text, evaluate = Journal.save, Path.write_text, FakeSandbox.evaluate

        def refuse(kind: str, error: Exception) -> None:
            if self.is_full and kind in kinds:
                self.refused += 1
                raise error

        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def save_if(journal: Journal, memory: Memory) -> None:
            refuse("journal", JournalError("database or disk is full"))
            save(journal, memory)

        def write_private_if(*arguments: Any, **options: Any) -> None:
            refuse("sent", full)
            write_private(*arguments, **options)

        def write_text_if(*arguments: Any, **options: Any) -> int:
            refuse("status", full)
            return write_text(*arguments, **options)

        def evaluate_and_fill(sandbox: FakeSandbox, *arguments: Any) -> Evaluation:
            if self.fills:
                self.fills, self.is_full = False, True
            return evaluate(sandbox, *arguments)

        patch.setattr(FakeSandbox, "evaluate", evaluate_and_fill)
        patch.setattr(Journal, "save", save_if)
        patch.setattr("learningchain.client.journal.write_private", write_private_if)
        patch.setattr(Path, "write_text", write_text_if)


@pytest.mark.parametrize("kinds", [{"journal"}, {"sent"}, {"journal", "sent", "status"}])
def test_a_full_disk_delays_an_announcement_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: set[str]
) -> None:
    disk = FullDisk(monkeypatch, kinds)

    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        await fleet.wait_for(lambda: bool(fleet.count_sent("set_profile", "checker0")))
        job_id = submit(fleet)
        disk.fills = True
        fleet.start("worker0", (b"0.5",))
        await fleet.wait_for(lambda: "worker0" in fleet.sandboxes and len(fleet.sandboxes["worker0"].evaluated) == 3)
        refused = disk.refused
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height + 12 and disk.refused > refused)
        assert fleet.count_sent("announce", "worker0") == 0
        disk.is_full = False
        await fleet.wait_for(lambda: len(fleet.chain.job(job_id).candidates) == 1)

    play(tmp_path, script)


def test_a_full_disk_delays_a_vote_which_could_not_be_opened_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, {"journal"})

    async def script(fleet: Fleet) -> None:
        fleet.start("checker0", checks=True)
        await fleet.wait_for(lambda: bool(fleet.count_sent("set_profile", "checker0")))
        disk.is_full = True
        job_id = fleet.chain.open_vote(image=IMAGE.replace("/job@", "/broken@"))
        height = fleet.chain.height
        await fleet.wait_for(lambda: fleet.chain.height > height + 12 and disk.refused > 1)
        assert fleet.count_sent("commit_vote", "checker0") == 0
        disk.is_full = False
        await fleet.wait_for(lambda: bool(fleet.count_sent("commit_vote", "checker0")))
        assert fleet.chain.job(job_id).state == pb.JOB_STATE_VOTE

    play(tmp_path, script)
