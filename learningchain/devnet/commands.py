"""`lc devnet`: a network on this machine to play with."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from learningchain.cli import exit_codes
from learningchain.cli.command import Place, Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.cli.output import make_table
from learningchain.devnet.plan import MAX_NODES, DevnetHome, DevnetPlan, load_plan
from learningchain.devnet.supervisor import detach, find_running, open_devnet, run, take_down
from learningchain.node import get_status
from learningchain.node_home import NodeError

PLACE: Final = Place(Path("~/.learningchain/devnet"), "Folder of the devnet")

app = make_group("A whole network on this machine.")


@command(app, "up", PLACE)
def up(
    session: Session,
    validators: Annotated[int, typer.Option(min=1, max=MAX_NODES, help="Validators, each with a checking worker")] = 4,
    workers: Annotated[int, typer.Option(min=0, max=MAX_NODES, help="Training workers")] = 2,
    detached: Annotated[bool, typer.Option("--detach", help="Return when it is ready and leave it running")] = False,
) -> None:
    """Start a network, made at the first time; without --detach it ends with Ctrl-C."""
    home = _get_home(session)
    if detached:
        _show_ready(session, home, detach(home, validators, workers))
        session.say(f"stop it with: lc devnet down --home {shlex.quote(str(home.root))}")
    else:
        session.say("starting; Ctrl-C ends it …")
        run(open_devnet(home, validators, workers), lambda plan: _show_ready(session, home, plan))


@command(app, "status", PLACE)
def status(session: Session) -> None:
    """Show the nodes of a devnet with their heights, and what its training workers do or refuse."""
    home = _get_home(session)
    plan = load_plan(home)
    if plan is None:
        raise Failure(
            f"there is no devnet in {home.root}",
            f"make one: lc devnet up --home {shlex.quote(str(home.root))}",
            exit_codes.NOT_FOUND,
        )
    data = {
        "chain_id": plan.chain_id,
        "running": find_running(home) is not None,
        "nodes": [_describe_node(entry.name, plan.get_node_url(index)) for index, entry in enumerate(plan.validators)],
        "workers": [_describe_worker(home, name) for name in plan.workers],
    }
    session.out.show(data, _render(data))


@command(app, "down", PLACE)
def down(session: Session) -> None:
    """End a detached devnet; its folder stays."""
    home = _get_home(session)
    ended = take_down(home)
    session.say("the devnet has ended" if ended else f"no devnet runs in {home.root}")
    session.out.show({"home": str(home.root), "ended": ended})


def _get_home(session: Session) -> DevnetHome:
    return DevnetHome(session.settings.home.absolute())


def _show_ready(session: Session, home: DevnetHome, plan: DevnetPlan) -> None:
    session.say(f"ready; the key 'contractor' holds credits: lc job list --home {shlex.quote(str(home.root))}")
    session.out.show({"chain_id": plan.chain_id, "node": plan.get_node_url(0), "home": str(home.root)})


def _describe_node(name: str, url: str) -> dict[str, Any]:
    try:
        found = get_status(url)
    except NodeError:
        return {"name": name, "node": url, "height": None, "peers": None}
    return {"name": name, "node": url, "height": str(found.height), "peers": found.peers}


def _describe_worker(home: DevnetHome, name: str) -> dict[str, Any]:
    found = home.read_worker_status(name)
    known = {field: found.get(field) for field in ("account", "doing", "refused")}
    return {"name": name, "home": str(home.get_worker(name)), **known}


def _render(data: dict[str, Any]) -> Callable[[Console], None]:
    def render(console: Console) -> None:
        console.print(f"chain {data['chain_id']}, {'running' if data['running'] else 'not running'}")
        rows = [
            [node["name"], node["node"], node["height"] or "-", "-" if node["peers"] is None else str(node["peers"])]
            for node in data["nodes"]
        ]
        console.print(make_table(None, ["validator", "node", "height", "peers"], rows))
        rows = [[worker["name"], worker["account"] or "-", _tell_work(worker)] for worker in data["workers"]]
        console.print(make_table(None, ["worker", "account", "work"], rows))

    return render


def _tell_work(worker: dict[str, Any]) -> str:
    refused = (f"refuses job {job}: {why['reason']}" for job, why in (worker["refused"] or {}).items())
    return "; ".join([*(worker["doing"] or []), *refused]) or "-"
