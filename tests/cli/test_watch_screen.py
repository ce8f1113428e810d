"""`lc job watch` on a terminal, and the words of a line where there is none."""

import io
import time

import pytest
from rich.console import Console

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.cli import job_watch
from learningchain.cli.session import Session
from learningchain.client import JobView
from tests.cli.terminal import Terminal
from tests.support.market import measured


def draw(view: JobView, now_ms: int) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=200, color_system=None).print(job_watch._make_picture(view, now_ms))
    return stream.getvalue()


def test_the_table_shows_candidates_and_then_votes(carl: Terminal) -> None:
    market = carl.market
    job_id = market.open_vote("worker0", loss=70_000_000)
    market.commit_votes(job_id, dict.fromkeys(market.seats(job_id), measured(70_000_000)))
    view = JobView(market.job(job_id), [market.round(job_id)], market.height)
    shown = draw(view, market.time_ms)
    assert "TALLY" in shown
    assert "0.07" in shown
    assert shown.count("committed") == len(market.seats(job_id))


def test_a_title_cannot_steer_the_table(carl: Terminal) -> None:
    job_id = carl.market.submit(title="[red]x[/]\N{RIGHT-TO-LEFT OVERRIDE}")
    shown = draw(JobView(carl.market.job(job_id), [], 1), carl.market.time_ms)
    assert "[red]x[/]" in shown
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in shown


def test_on_a_terminal_the_table_is_kept_up_to_date_until_the_end(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = carl.market.submit()
    seen: list[int] = []
    original = job_watch._make_picture

    def watch(view: JobView, now_ms: int) -> object:
        seen.append(view.job.state)
        return original(view, now_ms)

    monkeypatch.setattr(job_watch, "_make_picture", watch)
    session = Session(home=carl.home)
    stream = io.StringIO()
    session.out.data = Console(file=stream, force_terminal=True, width=200)
    try:
        job_watch.watch(session, job_id, None)
    finally:
        session.close()
    assert seen[0] == pb.JOB_STATE_OPEN
    assert seen[-1] == pb.JOB_STATE_EXPIRED
    assert "EXPIRED" in stream.getvalue()


def test_a_node_that_goes_away_is_waited_for(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = carl.market.submit()
    monkeypatch.setattr(job_watch, "RETRY_S", 0.01)
    waits = 0
    original = carl.transport.wait_for_news

    async def fail_once(timeout_s: float) -> None:
        nonlocal waits
        waits += 1
        carl.transport.failing = waits == 2
        await original(timeout_s)

    def recover(_: float) -> None:
        carl.transport.failing = False

    monkeypatch.setattr(carl.transport, "wait_for_news", fail_once)
    monkeypatch.setattr(time, "sleep", recover)
    done = carl.run("job", "watch", str(job_id))
    assert done.code == 0
    assert "trying again" in done.err
    assert "EXPIRED" in done.out
