import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

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
