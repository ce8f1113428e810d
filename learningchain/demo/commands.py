"""`lc demo`: builds a network, plays the three jobs, shows and checks what came out of them."""

import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.table import Table

from learningchain.amounts import format_credits
from learningchain.client import errors
from learningchain.demo.picture import draw_race
from learningchain.demo.screen import Screen
from learningchain.demo.stage import DemoFailed, Stage
from learningchain.demo.story import BOUNTY, Act, play_lie, play_race, play_runner_up, summarize
from learningchain.devnet.plan import DevnetError, DevnetHome
from learningchain.devnet.supervisor import open_devnet
from learningchain.node_home import NodeError

IMAGE_VARIABLE: Final = "LC_DIGITS_IMAGE"
VALIDATORS, WORKERS = 4, 2

app = typer.Typer(help="A chain of four validators carries three real jobs (about four minutes).")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for summary, picture and model")] = Path("build/demo"),
    image: Annotated[str, typer.Option(envvar=IMAGE_VARIABLE, help="digits job image by digest")] = "",
) -> None:
    """A chain of four validators carries three real jobs: a race, a cheater, a cheater with a runner-up."""
    if not image:
        _fail("the digits image is missing: run 'make demo', which builds it and sets everything up")
    signal.signal(signal.SIGTERM, _interrupt)
    out.mkdir(parents=True, exist_ok=True)
    # Unix sockets have short paths, so the network lives in a folder of its own with a short name.
    root = Path(tempfile.mkdtemp(prefix="lc-demo-", dir=os.environ.get("LC_RUN") or None))
    try:
        _run(out, image, root)
    except (DemoFailed, DevnetError, NodeError, errors.ClientError) as error:
        kept = out / "failed"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(root, kept, ignore=shutil.ignore_patterns("*.sock", "keys", "priv_validator_key.json", "data"))
        _fail(f"{error}\nThe logs are in {kept}.")
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; nothing keeps running.\n")
        raise typer.Exit(130) from None
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(out: Path, image: str, root: Path) -> None:
    screen = Screen()
    screen.title("A chain of four validators, four checkers, two training workers, one contractor")
    devnet = open_devnet(DevnetHome(root), VALIDATORS, WORKERS)
    try:
        screen.say("starting four validators: each one CometBFT and one Python application …")
        devnet.start_nodes(on_wait=lambda: screen.murmur("waiting for the first blocks …"))
        screen.mark(f"the chain {devnet.plan.chain_id} makes blocks", "good")
        devnet.start_workers()
        stage = Stage(devnet, screen, image, out)
        try:
            _play(stage, out)
        finally:
            stage.close()
    finally:
        with suppress(KeyboardInterrupt):  # a second Ctrl-C must not leave processes behind
            screen.say("stopping everything …")
            devnet.stop()


def _play(stage: Stage, out: Path) -> None:
    stage.wait_until_ready()
    stage.screen.mark("four checkers serve models, ada and bob have fresh accounts with 0 credits", "good")
    _show_balances(stage)
    race, model = play_race(stage)
    lie = play_lie(stage, model)
    second = play_runner_up(stage, model)
    acts = [race, lie, second]
    summary = summarize(stage, acts, stage.screen.seconds)
    _write(out, "summary.json", json.dumps(summary, indent=2) + "\n")
    _write(out, "race.svg", _draw(race, stage))
    _show_end(stage, out, summary)


def _draw(act: Act, stage: Stage) -> str:
    story = act.story
    seconds = (story.expiry_ms - story.submitted_ms) / 1000
    title = f"Job {story.job_id}: handwritten digits, log-loss on {_HELD_OUT} held-out scans"
    return draw_race(title, story.racers, seconds, stage.get_name(act.job.winner), f"+{BOUNTY} credits")


_HELD_OUT: Final = 360


def _write(folder: Path, name: str, text: str) -> None:
    part = folder / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / name)


def _show_balances(stage: Stage) -> None:
    table = Table("account", "credits", title="Balances", title_justify="left")
    for name, balance in stage.get_balances().items():
        table.add_row(name, balance)
    stage.screen.table(table)


def _show_end(stage: Stage, out: Path, summary: dict[str, Any]) -> None:
    screen = stage.screen
    screen.title("Timeline")
    for entry in screen.timeline:
        screen.plain(f"{entry.seconds:6.1f} s  {entry.text}")
    screen.title("Result")
    _show_balances(stage)
    supply = {name: format_credits(int(value)) for name, value in summary["supply"].items()}
    genesis = supply.pop("genesis")
    screen.plain(f"supply: {' + '.join(f'{value} {name}' for name, value in supply.items())} = {genesis} credits ✓")
    screen.plain(f"the loss race as a picture: {out / 'race.svg'}")
    screen.plain(f"all figures:                {out / 'summary.json'}")
    screen.plain("\nNext, a network to play with:")
    screen.plain("  make up && . .state/env && .venv/bin/lc devnet up --detach")
    screen.plain("  .venv/bin/lc job submit $LC_DIGITS_IMAGE --bounty 20 --for 60s --home ~/.learningchain/devnet")
    screen.plain("  .venv/bin/lc job watch 1 --home ~/.learningchain/devnet     # and later: lc devnet down, make down")


def _fail(message: str) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)
