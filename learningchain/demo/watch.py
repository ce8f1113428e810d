"""Telling a job's story while it happens: from the events of every block, and from the records they point at."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.events import Event
from abci_app.protocol.limits import RESERVED_LOSS
from learningchain.amounts import format_credits, format_loss
from learningchain.client import JobView, errors
from learningchain.demo.picture import Point
from learningchain.demo.stage import DemoFailed, Stage

BLOCK_SECONDS = 1.0


@dataclass(slots=True)
class Story:
    """What was seen of one job."""

    job_id: int
    submitted_ms: int
    expiry_ms: int
    racers: dict[str, list[Point]] = field(default_factory=dict)
    announcements: int = 0
    leaders: list[str] = field(default_factory=list)
    """Who led, in turn: neighbours differ."""

    @property
    def lead_changes(self) -> int:
        """How often the lead passed from one account to another."""
        return max(0, len(self.leaders) - 1)


class Watcher:
    """Follows one job from its submission to its end."""

    def __init__(self, stage: Stage, job_id: int) -> None:
        """Begin at the block in which the job was submitted."""
        self._stage = stage
        self._job_id = job_id
        view = self.look()
        self._height = view.job.submitted_height
        self._told: dict[tuple[int, bytes], None] = {}
        self.story = Story(job_id, view.job.submitted_ms, view.job.terms.expiry_ms)

    def look(self) -> JobView:
        """Return the job as it is now."""
        view = self._stage.client.get_job(self._job_id)
        if view is None:
            raise DemoFailed(f"job {self._job_id} is not on the chain")
        return view

    def follow(self, until: tuple[pb.JobState, ...], seconds: float) -> pb.Job:
        """Tell what happens until the job is in one of the states. Raises DemoFailed after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            self._stage.devnet.check()
            self._read_blocks()
            view = self.look()
            self._tell_votes(view.round)
            if view.job.state in until:
                self._read_blocks()
                return view.job
            if time.monotonic() > end:
                raise DemoFailed(
                    f"job {self._job_id} is still {pb.JobState.Name(view.job.state)} after {seconds:.0f} s"
                )
            self._stage.screen.murmur(self._describe(view))

    def _read_blocks(self) -> None:
        client = self._stage.client
        try:
            last = client.wait_for_block(self._height, BLOCK_SECONDS)
        except errors.WaitTimeout:
            return
        for height in range(self._height + 1, last + 1):
            block = client.get_block_events(height)
            for event in block.events:
                values = dict(event.attributes)
                if values.get("job_id") == str(self._job_id) or event.type == "account.banned":
                    self._tell(event, values, block.time_ms)
        self._height = last

    def _tell(self, event: Event, values: Mapping[str, str], time_ms: int) -> None:
        tell = _TELLERS.get(event.type)
        if tell is None:
            return
        if event.type == "job.announced":
            self._note_announcement(values, time_ms)
        elif event.type == "job.round_decided":
            self._tell_votes(self._stage.client.get_round(self._job_id, int(values["round"])))
        text, style = tell(self._stage, values)
        show = self._stage.screen.say if event.type in _DETAILS else self._stage.screen.mark
        show(text, style)

    def _note_announcement(self, values: Mapping[str, str], time_ms: int) -> None:
        name = self._stage.get_name(values["account"])
        point = Point((time_ms - self.story.submitted_ms) / 1000, int(values["loss"]))
        self.story.racers.setdefault(name, []).append(point)
        self.story.announcements += 1
        if values["place"] == "0" and self.story.leaders[-1:] != [name]:
            self.story.leaders.append(name)

    def _tell_votes(self, round_: pb.Round | None) -> None:
        """Votes make no events while they are secret: say what they were once they are revealed."""
        if round_ is None:
            return
        for vote in round_.votes:
            key = (round_.number, vote.account)
            if vote.finding and key not in self._told:
                self._told[key] = None
                name = self._stage.get_name(vote.account)
                self._stage.screen.say(f"{name} ({vote.seats} seats) measured {_describe_vote(vote)}")

    def _describe(self, view: JobView) -> str:
        job = view.job
        left = max(0, job.deadline_ms - self._stage.client.get_status().time_ms) // 1000
        if job.state == pb.JOB_STATE_OPEN:
            return f"{left} s left · {self._stage.describe_training() or 'no training has reported yet'}"
        if view.round is None or not view.round.votes:
            return f"{pb.JobState.Name(job.state).removeprefix('JOB_STATE_')}: at most {left} s more"
        given = sum(bool(vote.commitment) for vote in view.round.votes)
        return f"{given} of {len(view.round.votes)} checkers have committed their vote (at most {left} s more)"


def _describe_vote(vote: pb.Vote) -> str:
    if vote.finding != tx_pb2.FINDING_MEASURED:
        return tx_pb2.Finding.Name(vote.finding).removeprefix("FINDING_").lower()
    return "no valid score" if vote.loss == RESERVED_LOSS else format_loss(vote.loss)


def _tell_announced(stage: Stage, values: Mapping[str, str]) -> tuple[str, str]:
    name, loss = stage.get_name(values["account"]), format_loss(int(values["loss"]))
    if values["place"] == "0":
        return f"{name} announces {loss} and leads", "good"
    return f"{name} announces {loss}, place {int(values['place']) + 1}", "note"


def _tell_settled(stage: Stage, values: Mapping[str, str]) -> tuple[str, str]:
    bounty = format_credits(int(values["bounty"]))
    if values["state"] == "PAID":
        return f"PAID: {stage.get_name(values['winner'])} receives {bounty} credits", "good"
    return (
        f"{values['state']}: the bounty of {bounty} credits is back with {stage.get_name(values['contractor'])}",
        "bad",
    )


_DETAILS = ("job.announced", "job.vote_opened", "job.tally_opened")
"""Shown when they happen, but no milestones."""
_Teller = Callable[[Stage, Mapping[str, str]], tuple[str, str]]
_TELLERS: dict[str, _Teller] = {
    "job.submitted": lambda stage, v: (
        f"{stage.get_name(v['contractor'])} publishes job {v['job_id']}: bounty {format_credits(int(v['bounty']))}",
        "phase",
    ),
    "job.announced": _tell_announced,
    "job.reveal_opened": lambda stage, v: (
        f"EXPIRED: it is {stage.get_name(v['candidate'])}'s turn to reveal the model",
        "phase",
    ),
    "job.revealed": lambda stage, v: (
        f"{stage.get_name(v['candidate'])} reveals model {v['model_digest'][:12]}… ({v['size']} bytes)",
        "phase",
    ),
    "job.vote_opened": lambda stage, v: (
        "the committee is drawn; every checker runs the model in its sandbox",
        "phase",
    ),
    "job.tally_opened": lambda stage, v: ("all votes are committed: now they are revealed", "phase"),
    "job.window_renewed": lambda stage, v: ("the window runs once more: an outage, or too few votes", "bad"),
    "job.round_decided": lambda stage, v: (
        f"decided: {stage.get_name(v['candidate'])} is {v['outcome']}",
        "bad" if v["outcome"] in ("CONVICTED", "REJECTED") else "good",
    ),
    "job.settled": _tell_settled,
    "account.banned": lambda stage, v: (
        f"{stage.get_name(v['account'])} is BANNED for ever; {format_credits(int(v['burned']))} credits burned",
        "bad",
    ),
}
