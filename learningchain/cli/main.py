"""The entry point of `lc` (also `learningchain`)."""

import importlib
import resource
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

GROUPS: Final = {
    "keys": "learningchain.cli.keys",
    "job": "learningchain.cli.job",
    "tx": "learningchain.cli.tx",
    "query": "learningchain.cli.query",
    "node": "learningchain.cli.node",
    "worker": "worker.cli",
    "devnet": "learningchain.devnet.commands",
    "demo": "learningchain.demo.commands",
    "config": "learningchain.cli.config",
}
"""Command groups and the modules whose `app` they are. Names, not imports: a client needs no worker installed."""


class LazyGroup(TyperGroup):
    """Loads a group of commands when it is asked for, so that `lc keys list` does not load the sandbox."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the groups that are installed."""
        del ctx
        return [name for name in GROUPS if _load(name) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a group, None if there is no such one."""
        del ctx
        return _load(cmd_name) if cmd_name in GROUPS else None


def _load(name: str) -> Any:
    module = GROUPS[name]
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            return None
        raise
    found = typer.main.get_command(loaded.app)
    found.name = name
    return found


app = typer.Typer(
    name="lc",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="LearningChain: have models trained, train models for others, run the chain.",
    epilog="Exit codes are in docs/cli.md. Data goes to stdout, everything else to stderr.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("learningchain"))
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit")
    ] = False,
) -> None:
    """Nothing happens before a command is named."""


def main() -> None:
    """Run the command line."""
    # A crash must not write secret keys into a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    app()
