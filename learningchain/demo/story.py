"""The three jobs of the demo. Each act raises DemoFailed if what the rules promise did not happen."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.jobs import SETTLED
from abci_app.protocol.limits import UCREDIT
from learningchain.amounts import format_credits, format_loss
from learningchain.demo.cheater import Cheater
from learningchain.demo.stage import DemoFailed, Stage
from learningchain.demo.watch import Story, Watcher
from learningchain.devnet.plan import CONTRACTOR

BOUNTY: Final = 50
RACE_SECONDS: Final = (45, 85)
RUNNER_UP_SECONDS: Final = (30, 45)
"""How long these jobs are open on a usual machine, and at most: a slow one needs longer races than people wait for."""
LIE_SECONDS: Final = 15
"""How long the job is open in which only the cheater has to announce."""
MIN_LEAD_CHANGES: Final = 2
"""Fewer are no race. Random seeds decide how many there are: with an undisturbed half core each, nearly always more."""
WINNER_MODEL: Final = "model.npz"
RUNNER_UP_MODEL: Final = "runner-up.npz"
MAX_RACES: Final = 3
"""So often a one-sided race is repeated."""
NEEDS: Final = ("--cpus", "0.5", "--memory", "256", "--disk", "64")
"""Of a training: cores, and MiB."""
PURSE: Final = 5
"""Credits that a cheater has before it cheats, so that a ban has something to take."""
SETTLE_SECONDS: Final = 120.0
"""How long reveal, votes and tally of all turns of a job may take."""


@dataclass(slots=True)
class Act:
    """How one job ended."""

    job: pb.Job
    story: Story
    contractor_loss: str | None = None
    """What the contractor measured itself, as decimal text."""


def play_race(stage: Stage) -> tuple[Act, Path]:
    """Part 1: the original rule. Two workers race, the best loss wins and is paid, the contractor checks the model."""
    stage.screen.title("Part 1 · a race between honest workers (runner-ups 0, the original rule)")
    _try_image(stage)
    act = _race(stage)
    for _ in range(MAX_RACES - 1):
        if act.story.lead_changes >= MIN_LEAD_CHANGES:
            break
        stage.screen.mark("a one-sided race, by chance or because this machine is busy: once more")
        act = _race(stage)
    changes = act.story.lead_changes
    require(changes >= MIN_LEAD_CHANGES, f"after {MAX_RACES} races the lead changed hands {changes} times: no race")
    path = stage.folder / WINNER_MODEL
    act.contractor_loss = measure_model(stage, act.job, path)
    return act, path


def _try_image(stage: Stage) -> None:
    """Let the contractor try its image: fetched from the registry by its digest, as all others will get it."""
    stage.screen.say("contractor tries its image before paying for it: fetches it, trains up to the first model …")
    found = stage.run_lc("job", "try", stage.image, *NEEDS)
    require(bool(found["is_usable"]), f"an evaluation of the image used {found['largest_use']} of a limit")
    stage.screen.mark(
        f"contractor's image works: the first model of its training has loss {found['first_model_loss']}", "good"
    )


def _race(stage: Stage) -> Act:
    seconds = stage.stretch(*RACE_SECONDS)
    watcher = Watcher(stage, submit(stage, seconds, runner_ups=0))
    job = watcher.follow(SETTLED, seconds + SETTLE_SECONDS)
    require(
        job.state != pb.JOB_STATE_EXPIRED,
        "nobody announced a loss in the race. A worker stays silent when evaluating its model takes more than half of "
        f"the time that checkers have: this machine is busy (load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores). "
        "Try again when it has less to do",
    )
    require(job.state == pb.JOB_STATE_PAID and job.outcome == pb.OUTCOME_ACCEPTED, "the race was not paid")
    story = watcher.story
    stage.screen.mark(f"{story.announcements} announcements, the lead changed hands {story.lead_changes} times")
    return Act(job, story)


def measure_model(stage: Stage, job: pb.Job, path: Path) -> str:
    """Let the contractor download the winning model to `path` and measure it; return the loss as decimal text."""
    stage.screen.say("contractor downloads the model, checks its digest and evaluates it in its own sandbox …")
    answer = stage.run_lc("job", "model", str(job.id), "--file", str(path), "--evaluate")
    announced, measured = format_loss(job.winning_loss), str(answer["measured_loss"])
    require(bool(answer["matches"]), f"the contractor measured {measured}, announced was {announced}")
    stage.screen.mark(f"contractor measured {measured}, announced was {announced} ✓", "good")
    return measured


def play_lie(stage: Stage, model: Path) -> Act:
    """Part 2: a cheater claims a loss it never reached and is banned; the bounty goes back to the contractor."""
    stage.screen.title("Part 2 · a cheater (runner-ups 0)")
    act, cheater = _cheat(stage, model, "mallory", LIE_SECONDS, runner_ups=0)
    require(act.job.state == pb.JOB_STATE_REFUNDED, "the bounty of the lie did not go back")
    require(act.job.outcome == pb.OUTCOME_CONVICTED, "the cheater was not convicted")
    _require_banned(stage, cheater)
    stage.screen.say("more than two thirds of the revealed seats agreed on another loss: a ban, and no bounty to pay")
    return act


def play_runner_up(stage: Stage, model: Path) -> Act:
    """Part 3: another cheater, but with a runner-up: after the ban its turn comes, and it is paid."""
    stage.screen.title("Part 3 · a fresh cheater, but with runner-ups 1")
    act, cheater = _cheat(stage, model, "mallory2", stage.stretch(*RUNNER_UP_SECONDS), runner_ups=1)
    require(act.job.state == pb.JOB_STATE_PAID, "the runner-up was not paid")
    require(stage.get_name(act.job.winner) in stage.devnet.plan.workers, "the winner is no honest worker")
    _require_banned(stage, cheater)
    act.contractor_loss = measure_model(stage, act.job, stage.folder / RUNNER_UP_MODEL)
    stage.screen.say("the honest runner-up is paid, and lying achieved nothing", "good")
    return act


def _cheat(stage: Stage, model: Path, name: str, seconds: int, runner_ups: int) -> tuple[Act, Cheater]:
    stage.screen.mark(f"{name} registers a fresh account and takes the model that the race made public")
    cheater = Cheater(stage.client, model.read_bytes())
    stage.names[cheater.address] = name
    stage.run_lc("tx", "transfer", encode_address(cheater.address), str(PURSE), "--from", CONTRACTOR)
    stage.screen.say(f"contractor owes {name} a favour and sends {PURSE} credits")
    watcher = Watcher(stage, submit(stage, seconds, runner_ups))
    cheater.announce(watcher.story.job_id)
    with cheater.serving() as location:
        watcher.follow((pb.JOB_STATE_REVEAL,), seconds + SETTLE_SECONDS)
        cheater.reveal(watcher.story.job_id, location)
        job = watcher.follow(SETTLED, SETTLE_SECONDS)
    return Act(job, watcher.story), cheater


def _require_banned(stage: Stage, cheater: Cheater) -> None:
    found = stage.client.get_account(cheater.address)
    require(found is not None and found.account.banned, "the cheater was not banned")
    require(found is not None and found.account.balance + found.account.bond == 0, "the cheater kept credits")
    burned, cheaters = stage.client.get_supply().burned, len(stage.names) - stage.people
    require(burned == cheaters * PURSE * UCREDIT, f"burned are {format_credits(burned)} credits, not {PURSE} each")


def submit(stage: Stage, seconds: int, runner_ups: int) -> int:
    """Publish a job that is open for `seconds` with the contractor's command and return its id."""
    answer = stage.run_lc(
        "job", "submit", stage.image, "--yes-public", "--from", CONTRACTOR,
        "--title", "Handwritten digits", "--metric", "log-loss", "--bounty", str(BOUNTY), "--deposit", "0",
        "--for", f"{seconds}s", "--runner-ups", str(runner_ups), "--reveal-window", "20s",
        "--tolerance", "0.000001", "--ban-margin", "0.01", "--min-improvement", "0.001", "--loss-ceiling", "3",
        *NEEDS,
    )  # fmt: skip
    return int(answer["job_id"])


def require(condition: bool, failure: str) -> None:
    """Raise DemoFailed unless something that must be true is."""
    if not condition:
        raise DemoFailed(failure)


def summarize(stage: Stage, acts: list[Act], seconds: float) -> dict[str, Any]:
    """Return the figures of the whole demo; checks the supply identity."""
    supply = stage.client.get_supply()
    parts = ("balances", "escrow", "deposits", "bonds", "unbonding", "burned")
    require(sum(getattr(supply, part) for part in parts) == supply.genesis, "the supply does not add up")
    banned = []
    for address, name in stage.names.items():
        found = stage.client.get_account(address)
        if found is not None and found.account.banned:
            banned.append({"account": encode_address(address), "name": name})
    return {
        "jobs": [_summarize_job(stage, act) for act in acts],
        "banned": banned,
        "supply": {part: str(getattr(supply, part)) for part in ("genesis", *parts)},
        "seconds": round(seconds, 1),
    }


def _summarize_job(stage: Stage, act: Act) -> dict[str, Any]:
    won = bool(act.job.winner)
    return {
        "id": str(act.job.id),
        "state": pb.JobState.Name(act.job.state).removeprefix("JOB_STATE_"),
        "winner": stage.get_name(act.job.winner) if won else None,
        "announced_loss": format_loss(act.job.winning_loss) if won else None,
        "contractor_measured_loss": act.contractor_loss,
        "announcements": act.story.announcements,
        "lead_changes": act.story.lead_changes,
        "bounty": str(act.job.bounty // UCREDIT),
    }
