"""`lc demo`: builds a network, plays the three jobs, shows and checks what came out of them."""

import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from learningchain.cli import exit_codes
from learningchain.cli.command import Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.client import errors
from learningchain.demo.report import FAILED, SUMMARY, prepare_folder, show_balances, show_end, write_files
from learningchain.demo.screen import Screen
from learningchain.demo.stage import DemoFailed, Stage
from learningchain.demo.story import play_lie, play_race, play_runner_up, summarize
from learningchain.devnet.plan import DevnetError, DevnetHome
from learningchain.devnet.supervisor import open_devnet
from learningchain.node_home import NodeError

IMAGE_VARIABLE: Final = "LC_DIGITS_IMAGE"
VALIDATORS, WORKERS = 4, 2

app = make_group("A chain of four validators carries three real jobs.")


@command(app, "demo")
def demo(
    session: Session,
    out: Annotated[Path, typer.Option(help="Folder for summary, picture and models")] = Path("build/demo"),
    image: Annotated[str, typer.Option(envvar=IMAGE_VARIABLE, help="Digits job image by digest")] = "",
) -> None:
    """A chain of four validators carries three real jobs: a race, a cheater, a cheater with a runner-up."""
    if not image:
        raise Failure("the digits image is missing", "run 'make demo', which builds it and sets everything up")
    signal.signal(signal.SIGTERM, _interrupt)
    prepare_folder(out)
    # Unix sockets have short paths, so the network lives in a folder of its own with a short name.
    root = Path(tempfile.mkdtemp(prefix="lc-demo-"))
    try:
        summary = _run(out, image, root)
    except (DemoFailed, DevnetError, NodeError, errors.ClientError) as error:
        raise _keep_logs(error, root, out / FAILED) from error
    except KeyboardInterrupt:
        raise Failure("stopped; nothing keeps running", "start again: lc demo", exit_codes.INTERRUPTED) from None
    finally:
        shutil.rmtree(root, ignore_errors=True)
    session.out.show(summary, lambda console: console.print(str(out / SUMMARY)))


def _keep_logs(error: Exception, root: Path, kept: Path) -> Failure:
    """Copy the network's logs, without its keys and data, and return the failure to be shown."""
    shutil.copytree(root, kept, ignore=shutil.ignore_patterns("*.sock", "keys", "priv_validator_key.json", "data"))
    return Failure(str(error), f"the logs are in {kept}; try again when the cause is gone")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(out: Path, image: str, root: Path) -> dict[str, Any]:
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
            return _play(stage, out)
        finally:
            stage.close()
    finally:
        with suppress(KeyboardInterrupt):  # a second Ctrl-C must not leave processes behind
            screen.say("stopping everything …")
            devnet.stop()


def _play(stage: Stage, out: Path) -> dict[str, Any]:
    stage.wait_until_ready()
    stage.screen.mark("four checkers serve models, ada and bob have fresh accounts with 0 credits", "good")
    show_balances(stage)
    race, model = play_race(stage)
    acts = [race, play_lie(stage, model), play_runner_up(stage, model)]
    summary = summarize(stage, acts, stage.screen.seconds)
    write_files(stage, out, race, summary)
    show_end(stage, out, summary)
    return summary
