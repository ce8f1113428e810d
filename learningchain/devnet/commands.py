"""`lc devnet`: a network on this machine to play with."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from learningchain.devnet.plan import DevnetError, DevnetHome, DevnetPlan, load_plan
from learningchain.devnet.supervisor import detach, find_running, open_devnet, run, take_down
from learningchain.node import get_status
from learningchain.node_home import NodeError

DEFAULT_HOME = Path("~/.learningchain/devnet").expanduser()

app = typer.Typer(help="A whole network on this machine.", no_args_is_help=True)
HomeOption = Annotated[Path, typer.Option("--home", help="folder of the devnet")]


@app.command()
def up(
    validators: Annotated[int, typer.Option(help="validators, each with a checking worker")] = 4,
    workers: Annotated[int, typer.Option(help="training workers")] = 2,
    home: HomeOption = DEFAULT_HOME,
    detached: Annotated[bool, typer.Option("--detach", help="return when it is ready and leave it running")] = False,
) -> None:
    """Start a network; without --detach it ends with Ctrl-C."""
    place = DevnetHome(home.absolute())
    try:
        if detached:
            _show_ready(place, detach(place, validators, workers))
            typer.echo(f"Stop it with: lc devnet down --home {home}", err=True)
        else:
            typer.echo("Starting; Ctrl-C ends it …", err=True)
            run(open_devnet(place, validators, workers), lambda plan: _show_ready(place, plan))
    except (DevnetError, NodeError) as error:
        _fail(str(error))


@app.command()
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Show the nodes of a devnet and their heights, as JSON."""
    place = DevnetHome(home.absolute())
    try:
        plan = load_plan(place)
    except DevnetError as error:
        _fail(str(error))
    if plan is None:
        _fail(f"there is no devnet in {home}: make one with 'lc devnet up --home {home}'")
    nodes = []
    for index, entry in enumerate(plan.validators):
        url = plan.get_node_url(index)
        try:
            found = get_status(url)
            nodes.append({"name": entry.name, "node": url, "height": str(found.height), "peers": found.peers})
        except NodeError:
            nodes.append({"name": entry.name, "node": url, "height": "", "peers": 0})
    running = find_running(place) is not None
    typer.echo(
        json.dumps({"chain_id": plan.chain_id, "running": running, "nodes": nodes, "workers": plan.workers}, indent=2)
    )


@app.command()
def down(home: HomeOption = DEFAULT_HOME) -> None:
    """End a detached devnet; its folder stays."""
    try:
        ended = take_down(DevnetHome(home.absolute()))
    except DevnetError as error:
        _fail(str(error))
    typer.echo("The devnet has ended." if ended else f"No devnet runs in {home}.", err=True)


def _show_ready(home: DevnetHome, plan: DevnetPlan) -> None:
    typer.echo(json.dumps({"chain_id": plan.chain_id, "node": plan.get_node_url(0), "home": str(home.root)}))
    typer.echo(f"Ready. The key 'contractor' holds credits: lc job list --home {home.root}", err=True)


def _fail(message: str) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)
