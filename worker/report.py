"""What the worker shows: one status file, replaced atomically, and the last lines its trainings printed."""

import json
import os
from collections import deque
from pathlib import Path

import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from worker.policy import Policy
from worker.sandbox import LogLine, Progress
from worker.state import WorkerState

log = structlog.get_logger()

LINES = 50
"""Lines remembered per job."""
STOPPED = "stopped"
"""The state that is shown after a worker has ended; one that was killed could not write it."""
MEASURED = 50
"""Results shown, the newest ones."""


class Report:
    """Collects what people want to see of a running worker and writes it to `status.json`."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._path = path
        self._lines: dict[int, deque[str]] = {}
        self._progress: dict[int, Progress] = {}
        self._last = ""
        self._is_jailed = False
        self._is_behind = False

    def add_line(self, job_id: int, line: Progress | LogLine) -> None:
        """Take a line a training printed; untrusted text, already sanitised by the sandbox."""
        if isinstance(line, Progress):
            self._progress[job_id] = line
        else:
            self._lines.setdefault(job_id, deque(maxlen=LINES)).append(line.text)

    def write(self, state: WorkerState, has_ended: bool = False) -> None:
        """Replace the status file if anything changed; a disk that refuses it is warned of, once."""
        self._tell_of_jail(state)
        shown = self._describe(state)
        text = json.dumps({**shown, "state": STOPPED, "doing": []} if has_ended else shown, indent=1)
        if text == self._last:
            return
        part = self._path.with_suffix(".part")
        try:
            part.write_text(text)
            os.replace(part, self._path)
        except OSError as error:
            if not self._is_behind:
                log.warning("status_not_written", path=str(self._path), reason=error.strerror)
            self._is_behind = True
            return
        self._last, self._is_behind = text, False

    def _tell_of_jail(self, state: WorkerState) -> None:
        is_jailed = state.view is not None and state.view.me.account.checker_jailed_ms > 0
        if is_jailed and not self._is_jailed:
            log.warning("jailed_as_checker", hint="no committee is drawn from this account until lc tx unjail")
        self._is_jailed = is_jailed

    def _describe(self, state: WorkerState) -> dict[str, object]:
        view = state.view
        if view is None:
            return {"state": "starting"}
        self._lines = {job_id: lines for job_id, lines in self._lines.items() if job_id in view.jobs}
        self._progress = {job_id: line for job_id, line in self._progress.items() if job_id in view.jobs}
        return {
            "state": "banned" if view.me.account.banned else "running",
            "account": encode_address(view.me.address),
            "height": str(view.height),
            "balance": str(view.me.account.balance),
            "bond": str(view.me.account.bond),
            "seats": describe_seats(state.policy, view.me.account, view.params.min_bond),
            "doing": [f"{type(i).__name__} {i.job_id}" for i in state.running],
            "refused": {str(i): {"filter": r.filter, "reason": r.reason} for i, r in state.refusals.items()},
            "training": {
                str(job_id): {"step": line.step, "total": line.total, "loss": line.loss, "metrics": dict(line.metrics)}
                for job_id, line in self._progress.items()
            },
            "measured": [
                {"job": str(job_id), "model": digest.hex(), "loss": str(result.worst)}
                for (job_id, digest), result in list(state.memory.evaluated.items())[-MEASURED:]
                if result.has_score
            ],
            "lines": {str(job_id): list(lines) for job_id, lines in self._lines.items()},
        }


def describe_seats(policy: Policy, account: pb.Account, min_bond: int) -> str:
    """Return in words whether committees are drawn from an account, and what its owner can do about it."""
    if account.checker_jailed_ms:
        return "none: jailed for missed votes, lc tx unjail lifts it after a while"
    is_drawn = account.checker > 0 and account.bond >= min_bond
    if policy.check:
        return "may be drawn" if is_drawn else "none: lc tx bond and lc tx set-checker have it drawn"
    return "drawn but silent: set check = true, or run lc tx set-checker off" if is_drawn else "none: check = false"
