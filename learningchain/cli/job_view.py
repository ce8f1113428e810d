"""`lc job list|show`."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.message import DecodeError, Message
from rich.console import Console

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jobs import SETTLED
from abci_app.protocol.jsonform import enum_from_json, enum_to_json, message_to_json
from learningchain.amounts import format_credits, format_duration, format_loss
from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command
from learningchain.cli.failure import Failure
from learningchain.cli.job_app import app
from learningchain.cli.output import clean, make_table, render_fields
from learningchain.cli.parse import JobId, read_address
from learningchain.client import JobView
from learningchain.client.errors import BadAnswer
from learningchain.explain import explain_account
from learningchain.history import History, read_history

M = TypeVar("M", bound=Message)


@command(app, "list")
def list_jobs(
    session: Session,
    state: Annotated[
        str, typer.Option(help="Only these states, separated by commas: open,reveal,vote,tally,paid,…")
    ] = "",
    contractor: Annotated[str | None, typer.Option(help="Only jobs of this address (or key here)")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only jobs of my key")] = False,
    before: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Only jobs with a lower number, to page back")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many")] = 20,
) -> None:
    """List jobs, newest first."""
    if mine and contractor is not None:
        raise Failure("--mine and --contractor name two owners", "give one of them", exit_codes.USAGE)
    owner = session.pick_key(None).account if mine else None
    if contractor is not None:
        owner = read_address(session, contractor)
    page = session.client().page_jobs(_read_states(state), owner, before, limit, newest_first=True)
    now_ms = session.client().get_status().time_ms
    rows = [_describe_row(job, now_ms) for job in page.jobs]
    table = make_table(None, ["job", "state", "bounty", "time left", "best loss", "candidates", "title"], rows)
    following = None if page.next_id is None else str(page.next_id)
    data = {"jobs": [message_to_json(job) for job in page.jobs], "next_before": following}
    session.out.show(data, lambda console: console.print(table))
    if following is not None:
        session.say(f"there may be more; next: the same with --before {following}")


@command(app, "show")
def show(
    session: Session,
    job_id: JobId,
    why: Annotated[str | None, typer.Option(help="Explain the part of this address (or key here)")] = None,
    history: Annotated[bool, typer.Option("--history", help="List every accepted announcement")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Show records whose Merkle proofs hold")] = False,
) -> None:
    """Show a job: terms, candidates, rounds, votes."""
    view = require_job(session, job_id)
    past = read_history(session.client(), view.job) if why is not None or history else None
    if prove:
        view = _prove(session, view)
    data: dict[str, Any] = describe_job(view)
    if past is not None:
        data["announcements"] = _describe_history(past)
        if not past.complete:
            session.say("older announcements are not shown: the search through the blocks is limited")
    if why is not None:
        data["why"] = explain_account(view, past or History((), False), read_address(session, why))
    now_ms = session.client().get_status().time_ms
    session.out.show(data, _render(view, data, now_ms))


def require_job(session: Session, job_id: int) -> JobView:
    """Return a job. Raises Failure if there is none."""
    view = session.client().get_job(job_id)
    if view is None:
        raise Failure(
            f"there is no job {job_id}",
            "see lc job list; settled jobs leave the state after a while",
            exit_codes.NOT_FOUND,
        )
    return view


def describe_job(view: JobView) -> dict[str, Any]:
    """Return a job as JSON data: the records, and losses and amounts that people read beside them."""
    job = view.job
    leader = job.candidates[0] if job.candidates else None
    return {
        "height": str(view.height),
        "job": message_to_json(job),
        "rounds": [message_to_json(turn) for turn in view.rounds],
        "state": enum_to_json(pb.JobState.DESCRIPTOR, job.state),
        "bounty_credits": format_credits(job.bounty),
        "best_loss": None if leader is None else format_loss(leader.loss),
        "winner": encode_address(job.winner) if job.winner else None,
        "winning_loss": format_loss(job.winning_loss) if job.winner else None,
    }


def get_time_left(job: pb.Job, now_ms: int) -> str:
    """Return what remains of the present state's window, for people."""
    return "-" if job.state in SETTLED else format_duration(job.deadline_ms - now_ms)


def list_candidates(job: pb.Job) -> list[list[str]]:
    """Return the candidates as rows: place, account, announced loss, ranked loss, deposit."""
    return [
        [
            str(place),
            encode_address(entry.account),
            format_loss(entry.loss),
            format_loss(entry.ranked_loss),
            format_credits(entry.deposit) if entry.secured else "free place",
        ]
        for place, entry in enumerate(job.candidates, 1)
    ]


def list_votes(turn: pb.Round) -> list[list[str]]:
    """Return the votes of a round as rows: account, seats, finding, measured loss, pay."""
    return [
        [
            encode_address(vote.account),
            str(vote.seats),
            _describe_finding(vote),
            format_loss(vote.loss) if vote.finding == tx_pb2.FINDING_MEASURED else "-",
            format_credits(vote.paid) if turn.outcome else "-",
        ]
        for vote in turn.votes
    ]


CANDIDATE_COLUMNS = ("place", "account", "announced", "ranked", "deposit")
VOTE_COLUMNS = ("checker", "seats", "finding", "measured", "paid")


def _render(view: JobView, data: dict[str, Any], now_ms: int) -> Callable[[Console], None]:
    def render(console: Console) -> None:
        job = view.job
        console.print(f"job {job.id}: {clean(job.terms.title) or '(no title)'}")
        winner = encode_address(job.winner) if job.winner else "-"
        fields = {
            "state": data["state"],
            "time left": get_time_left(job, now_ms),
            "bounty": f"{format_credits(job.bounty)} credits",
            "contractor": encode_address(job.contractor),
            "winner": winner,
            "image": job.terms.image,
            "metric": job.terms.metric or "-",
            "about": job.terms.about or "-",
            "announcements": job.announcements,
        }
        render_fields(console, fields)
        if job.candidates:
            console.print(make_table("candidates", CANDIDATE_COLUMNS, list_candidates(job)))
        for turn in view.rounds:
            console.print(make_table(_describe_round(turn), VOTE_COLUMNS, list_votes(turn)))
        for line in data.get("why", ()):
            console.print(clean(line))
        if "announcements" in data:
            rows = [
                [entry["height"], entry["account"], entry["loss"], entry["place"]] for entry in data["announcements"]
            ]
            console.print(make_table("announcements", ["block", "account", "loss", "place"], rows))

    return render


def _describe_round(turn: pb.Round) -> str:
    outcome = enum_to_json(pb.Outcome.DESCRIPTOR, turn.outcome) if turn.outcome else "not decided"
    return (
        f"round {turn.number}: {encode_address(turn.candidate.account)}, "
        f"announced {format_loss(turn.candidate.loss)}: {outcome}"
    )


def _describe_finding(vote: pb.Vote) -> str:
    if vote.finding:
        return enum_to_json(tx_pb2.Finding.DESCRIPTOR, vote.finding)
    return "committed" if vote.commitment else "-"


def _describe_history(past: History) -> list[dict[str, str]]:
    return [
        {
            "height": str(entry.height),
            "time_ms": str(entry.time_ms),
            "account": encode_address(entry.account),
            "loss": format_loss(entry.loss),
            "place": str(entry.place + 1),
        }
        for entry in past.announcements
    ]


def _describe_row(job: pb.Job, now_ms: int) -> list[str]:
    return [
        str(job.id),
        enum_to_json(pb.JobState.DESCRIPTOR, job.state),
        format_credits(job.bounty),
        get_time_left(job, now_ms),
        _describe_loss(job),
        str(len(job.candidates)),
        job.terms.title,
    ]


def _describe_loss(job: pb.Job) -> str:
    """Return the loss that leads, or that won: a settled job has no candidates any more."""
    if job.winner:
        return format_loss(job.winning_loss)
    return format_loss(job.candidates[0].loss) if job.candidates else "-"


def _read_states(text: str) -> list[int]:
    try:
        return [
            enum_from_json(pb.JobState.DESCRIPTOR, name.strip().upper()) for name in text.split(",") if name.strip()
        ]
    except ValueError as error:
        raise Failure("--state cannot be read", str(error), exit_codes.USAGE) from None


def _prove(session: Session, view: JobView) -> JobView:
    """Return the job and its rounds as their proved records have them; a view may say anything."""
    job = _prove_record(session, keys.job(view.job.id), pb.Job)
    rounds = [_prove_record(session, keys.round_(view.job.id, number), pb.Round) for number in range(job.rounds)]
    session.say(
        "proof checked: job and rounds are shown as their records stood a block ago, "
        "which belong to the app hash of the node's block header"
    )
    return JobView(job, rounds, view.height)


def _prove_record(session: Session, key: bytes, kind: type[M]) -> M:
    record = session.client().get_record(key)
    if record is None:
        raise Failure(
            "the record was not in the state one block ago", "try again after the next block", exit_codes.NOT_FOUND
        )
    try:
        return kind.FromString(record)
    except DecodeError:
        raise BadAnswer("the proved record is none of this protocol") from None
