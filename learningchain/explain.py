"""In words: why an account stands where it stands in a job, and why a vote was or was not paid. Pure functions."""

from collections.abc import Sequence
from typing import Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jsonform import enum_to_json
from abci_app.protocol.outcome import Ballot, Judgement, Measure, compute_judgement
from learningchain.amounts import format_credits, format_loss
from learningchain.client import JobView
from learningchain.history import History

OUTCOMES: Final = {
    pb.OUTCOME_UNVERIFIED: "could not be verified, so it counted as true",
    pb.OUTCOME_FAULTY_JOB: "was never judged: the job's image does not run at most checkers",
    pb.OUTCOME_CONVICTED: "was convicted: two thirds of the revealed seats measured the same, far worse loss",
    pb.OUTCOME_REJECTED: "was rejected: most seats found the model worse than announced, or not available",
    pb.OUTCOME_ACCEPTED: "was confirmed by the checkers",
    pb.OUTCOME_DEFAULTED: "never revealed its model in time",
    pb.OUTCOME_BANNED: "was banned for something else during its turn",
}
_JUDGEMENTS: Final = {
    Judgement.HONEST: "confirms the announcement",
    Judgement.WORSE: "is worse than announced",
    Judgement.LIE: "is beyond the ban margin",
    Judgement.UNAVAILABLE: "says that no source gave the model",
    Judgement.UNRUNNABLE: "says that the image does not run",
}
_PAYING: Final = (pb.OUTCOME_ACCEPTED, pb.OUTCOME_REJECTED, pb.OUTCOME_CONVICTED)


def explain_account(view: JobView, history: History, account: bytes) -> list[str]:
    """Return sentences about an account's part in a job: contractor, candidate, checker, or none."""
    job = view.job
    lines: list[str] = []
    if account == job.contractor:
        lines.append("It is the contractor of this job: it neither announces nor checks here.")
    lines += _explain_announcements(job, history, account)
    lines += _explain_place(job, account)
    for turn in view.rounds:
        lines += _explain_turn(job, turn, account)
        lines += [_explain_vote(job, turn, vote) for vote in turn.votes if vote.account == account]
    if not lines:
        lines.append("It had no part in this job: no accepted announcement and no seat.")
        lines.append("A worker tells in lc worker status which of its filters refused a job.")
    return lines


def _explain_announcements(job: pb.Job, history: History, account: bytes) -> list[str]:
    own = [entry for entry in history.announcements if entry.account == account]
    lines = [
        f"It announced {format_loss(entry.loss)} in block {entry.height} and took place {entry.place + 1}."
        for entry in own
    ]
    if own:
        beaten = [
            entry
            for entry in history.announcements
            if entry.account != account and entry.height >= own[-1].height and entry.ranked_loss < own[-1].ranked_loss
        ]
        lines += [
            f"{encode_address(entry.account)} undercut it with {format_loss(entry.loss)} in block {entry.height}."
            for entry in beaten[:1]
        ]
    if not history.complete:
        lines.append("Older announcements are not shown: the search through the blocks is limited.")
    return lines


def _explain_place(job: pb.Job, account: bytes) -> list[str]:
    standing = [number for number, entry in enumerate(job.candidates) if entry.account == account]
    if standing:
        return [f"It stands at place {standing[0] + 1} of {len(job.candidates)}."]
    if job.state != pb.JOB_STATE_OPEN or not job.candidates or account == job.contractor:
        return []
    bar = job.candidates[0].ranked_loss - job.terms.min_improvement
    return [f"It does not stand now; to lead, announce {format_loss(bar)} or less before the expiry."]


def _explain_turn(job: pb.Job, turn: pb.Round, account: bytes) -> list[str]:
    if turn.candidate.account != account:
        return []
    if not turn.outcome:
        return [f"It has the turn in round {turn.number}, announced {format_loss(turn.candidate.loss)}."]
    lines = [f"In round {turn.number} its announcement of {format_loss(turn.candidate.loss)} {OUTCOMES[turn.outcome]}."]
    if job.winner == account:
        lines.append(f"It was paid {format_credits(job.bounty)} credits.")
    return lines


def _explain_vote(job: pb.Job, turn: pb.Round, vote: pb.Vote) -> str:
    seats = f"It held {vote.seats} seat(s) in round {turn.number}"
    if not vote.commitment:
        return f"{seats} and did not commit a vote: missed, unpaid."
    if not vote.finding:
        return f"{seats}, committed a vote and did not reveal it: missed, unpaid."
    judged = _JUDGEMENTS[_judge_vote(job, turn, vote)]
    found = enum_to_json(tx_pb2.Finding.DESCRIPTOR, vote.finding)
    loss = f" {format_loss(vote.loss)}" if vote.finding == tx_pb2.FINDING_MEASURED else ""
    said = f"{seats} and found {found}{loss}, which {judged}"
    if vote.paid:
        return f"{said}: paid {format_credits(vote.paid)} credits."
    if not turn.outcome:
        return f"{said}: the round is not decided."
    return f"{said}: unpaid, because {_explain_unpaid(turn.outcome, turn.votes, vote)}."


def _explain_unpaid(outcome: pb.Outcome, votes: Sequence[pb.Vote], vote: pb.Vote) -> str:
    if outcome not in _PAYING:
        return f"nobody is paid for {enum_to_json(pb.Outcome.DESCRIPTOR, outcome)}"
    if vote.finding != tx_pb2.FINDING_MEASURED:
        return "only measurements are paid"
    if not vote.receipt:
        return "a measurement without receipt of its predictions is not paid"
    if any(other.paid and other.receipt != vote.receipt for other in votes):
        return "most paid seats have other predictions: this machine computes differently"
    return "the outcome pays other findings"


def _judge_vote(job: pb.Job, turn: pb.Round, vote: pb.Vote) -> Judgement:
    """Return what the chain makes of a revealed vote."""
    measure = Measure(turn.candidate.loss, job.terms.tolerance, job.terms.ban_margin, 1, 0, 1, 1)
    return compute_judgement(Ballot(vote.seats, vote.finding, vote.loss, vote.receipt), measure)
