import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import UCREDIT
from tests.worker.worlds import TAG, make_job, make_view
from worker import events as ev
from worker.policy import Policy
from worker.report import MEASURED, Report
from worker.state import Memory, WorkerState


def make_state(results: int = 0) -> WorkerState:
    state = WorkerState(Policy(), Memory(TAG))
    state.handle(ev.Observed(make_view(make_job())))
    for number in range(results):
        digest = number.to_bytes(32)
        state.memory.evaluated[1, digest] = ev.Evaluated(1, digest, (number,), 1)
    return state


def test_the_newest_results_are_shown(tmp_path: Path) -> None:
    Report(tmp_path / "status.json").write(make_state(1_000))
    shown = json.loads((tmp_path / "status.json").read_text())["measured"]
    assert [int(entry["loss"]) for entry in shown] == list(range(1_000 - MEASURED, 1_000))


def test_a_full_disk_is_warned_of_once_and_the_status_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, state = Report(tmp_path / "status.json"), make_state()

    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Path, "write_text", refuse)
        report.write(state)
        report.write(state)
    assert [entry["event"] for entry in logs] == ["status_not_written"]
    report.write(state)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"


@pytest.mark.parametrize(
    ("account", "check", "told"),
    [
        (pb.Account(checker=1, bond=UCREDIT), True, "may be drawn"),
        (pb.Account(checker=1, bond=UCREDIT - 1), True, "lc tx bond"),
        (pb.Account(bond=UCREDIT), True, "lc tx set-checker"),
        (pb.Account(checker=1, bond=UCREDIT, checker_jailed_ms=5), True, "lc tx unjail"),
        (pb.Account(checker=1, bond=UCREDIT), False, "set check = true"),
        (pb.Account(), False, "check = false"),
    ],
)
def test_whether_the_worker_gets_seats_is_shown_and_a_jail_told_once(
    tmp_path: Path, account: pb.Account, check: bool, told: str
) -> None:
    """A checker that is jailed would else be silent for ever, and its owner would wonder."""
    state, report = WorkerState(Policy(check=check), Memory(TAG)), Report(tmp_path / "status.json")
    with capture_logs() as logs:
        for height in (10, 11):
            state.handle(ev.Observed(make_view(account=account, height=height)))
            report.write(state)
    assert told in json.loads((tmp_path / "status.json").read_text())["seats"]
    assert [entry["event"] for entry in logs] == ["jailed_as_checker"] * ("unjail" in told)
