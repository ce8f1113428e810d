"""`lc job watch`: a job as it happens."""

import time
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.jobs import UNSETTLED
from abci_app.protocol.jsonform import enum_to_json
from learningchain.amounts import format_credits, format_loss
from learningchain.cli.command import Session, command
from learningchain.cli.job_app import app
from learningchain.cli.job_view import (
    CANDIDATE_COLUMNS,
    VOTE_COLUMNS,
    describe_job,
    get_time_left,
    list_candidates,
    list_votes,
    require_job,
)
from learningchain.cli.output import clean, make_table
from learningchain.cli.parse import JobId
from learningchain.client import JobView
from learningchain.client.errors import NodeUnreachable, WaitTimeout

WAIT_S: Final = 10.0
RETRY_S: Final = 2.0


@command(app, "watch")
def watch(
    session: Session,
    job_id: JobId,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Stop after so many seconds; default: when it is settled")
    ] = None,
) -> None:
    """Follow a job until it is settled: a live table on a terminal, else one line per change."""
    view = require_job(session, job_id)
    end = None if timeout is None else time.monotonic() + timeout
    if session.out.is_json or not session.out.data.is_terminal:
        _follow(session, view, end, _Lines(session))
    else:
        with Live(console=session.out.data, auto_refresh=False) as live:
            _follow(session, view, end, _Table(live))


class _Lines:
    """One line for every change."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: object = None

    def show(self, view: JobView, now_ms: int) -> None:
        data = describe_job(view)
        seen = {name: value for name, value in data.items() if name != "height"}
        if seen == self._last:
            return
        self._last = seen
        if self._session.out.is_json:
            self._session.out.show_line(data)
        else:
            self._session.out.data.print(describe_line(view, now_ms))


class _Table:
    """A table that changes in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: JobView, now_ms: int) -> None:
        self._live.update(_make_picture(view, now_ms), refresh=True)


def describe_line(view: JobView, now_ms: int) -> str:
    """Return the state of a job in one line."""
    job = view.job
    best = f", best {format_loss(job.candidates[0].loss)}" if job.candidates else ""
    votes = view.round.votes if view.round is not None else ()
    checked = f", {sum(1 for vote in votes if vote.finding)} of {len(votes)} checkers revealed" if votes else ""
    state = enum_to_json(pb.JobState.DESCRIPTOR, job.state)
    left = f", {get_time_left(job, now_ms)} left" if job.state in UNSETTLED else ""
    return f"job {job.id} {state}{left}{best}, {job.announcements} announcements{checked}"


def _follow(session: Session, view: JobView, end: float | None, screen: _Lines | _Table) -> None:
    client, height = session.client(), 0
    while True:
        try:
            screen.show(view, client.get_status().time_ms)
            if view.job.state not in UNSETTLED:
                return
            remaining = WAIT_S if end is None else min(WAIT_S, end - time.monotonic())
            if remaining <= 0:
                return
            height = client.wait_for_block(max(height, view.height), remaining)
            view = require_job(session, view.job.id)
        except WaitTimeout:
            session.say("no new block yet")
        except NodeUnreachable as error:
            if end is not None and time.monotonic() >= end:
                raise
            session.say(f"{error}; trying again")
            time.sleep(RETRY_S)


def _make_picture(view: JobView, now_ms: int) -> RenderableType:
    job = view.job
    state = enum_to_json(pb.JobState.DESCRIPTOR, job.state)
    head = (
        f"job {job.id}  {clean(job.terms.title)}  {state}  time left {get_time_left(job, now_ms)}  "
        f"bounty {format_credits(job.bounty)}  announcements {job.announcements}  block {view.height}"
    )
    parts: list[Any] = [Text(head), make_table(None, CANDIDATE_COLUMNS, list_candidates(job))]
    if view.round is not None:
        parts.append(make_table(f"round {view.round.number}", VOTE_COLUMNS, list_votes(view.round)))
    return Group(*parts)
