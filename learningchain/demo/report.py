"""What the demo leaves behind: the figures, the picture of the race, and the last page of the screen."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from learningchain.amounts import format_credits
from learningchain.cli.output import make_table
from learningchain.demo.picture import draw_race
from learningchain.demo.stage import Stage
from learningchain.demo.story import BOUNTY, RUNNER_UP_MODEL, WINNER_MODEL, Act

HELD_OUT: Final = 360
"""Scans whose labels the digits image hides: every fifth of 1 797."""
SUMMARY: Final = "summary.json"
PICTURE: Final = "race.svg"
FAILED: Final = "failed"
"""Folder with the logs of a demo that failed."""
NEXT: Final = (
    "make up && . .state/env && lc devnet up --detach",
    "lc job submit $LC_DIGITS_IMAGE --bounty 20 --for 60s --yes-public --home ~/.learningchain/devnet",
    "lc job watch 1 --home ~/.learningchain/devnet     # and later: lc devnet down && make down",
)


def prepare_folder(folder: Path) -> None:
    """Make the folder, without what an earlier demo left there; other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SUMMARY, PICTURE, WINNER_MODEL, RUNNER_UP_MODEL):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / FAILED, ignore_errors=True)


def write_files(stage: Stage, folder: Path, race: Act, summary: dict[str, Any]) -> None:
    """Write the figures and the picture of the race, each whole or not at all."""
    _write(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    _write(folder / PICTURE, _draw(race, stage))


def _draw(act: Act, stage: Stage) -> str:
    story = act.story
    seconds = (story.expiry_ms - story.submitted_ms) / 1000
    title = f"Job {story.job_id}: handwritten digits, log-loss on {HELD_OUT} held-out scans"
    return draw_race(title, story.racers, seconds, stage.get_name(act.job.winner), f"+{BOUNTY} credits")


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def show_balances(stage: Stage) -> None:
    """Show what everybody has."""
    rows: Sequence[Sequence[str]] = [[name, balance] for name, balance in stage.get_balances().items()]
    stage.screen.table(make_table(None, ["account", "credits"], rows))


def show_end(stage: Stage, folder: Path, summary: dict[str, Any]) -> None:
    """Show timeline, balances, the supply identity, the files and what to try next."""
    screen = stage.screen
    screen.title("Timeline")
    for entry in screen.timeline:
        screen.plain(f"{entry.seconds:6.1f} s  {entry.text}")
    screen.title("Result")
    show_balances(stage)
    supply = {name: format_credits(int(value)) for name, value in summary["supply"].items()}
    genesis = supply.pop("genesis")
    screen.plain(f"supply: {' + '.join(f'{value} {name}' for name, value in supply.items())} = {genesis} credits ✓")
    screen.plain(f"the loss race as a picture: {folder / PICTURE}")
    screen.plain(f"all figures:                {folder / SUMMARY}")
    screen.plain("\nNext, a network to play with:")
    for command in NEXT:
        screen.plain(f"  {command}")
