"""The entry point of `lc` (also `learningchain`)."""

import importlib
import io
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from learningchain.cli import exit_codes, interrupts
from learningchain.cli.failure import Report, describe
from learningchain.cli.output import Output

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


STDERR: Final = 2
"""Number of the last standard stream."""


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

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run; where JSON is asked for, mistakes on the command line are told as JSON too."""
        words = sys.argv[1:] if args is None else list(args)
        out = Output("json" if _asks_for_json(words) else "text")
        try:
            # Without its stand-alone mode the library returns exit codes and raises its own errors.
            code = super().main(words, *more, **{**options, "standalone_mode": False})
        except TyperException as error:
            _tell_mistake(out, error)
            code = exit_codes.USAGE
        except typer.Abort:  # what the library makes of an end of input
            code = out.fail(Report("the input ended", "run the command again", exit_codes.FAILED))
        except OSError as error:  # help or version could not be written
            code = out.fail(describe(error))
        except SystemExit as error:
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            code = exit_codes.CLOSED  # the library ends with 1 when the reader went away
        sys.exit(code if isinstance(code, int) else exit_codes.OK)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Tell the form of the output before the words are understood; the last one counts, as it does afterwards."""
    form = os.environ.get("LC_OUTPUT", "")
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word in ("--output", "-o"):
            form = following
        elif word.startswith("--output="):
            form = word.partition("=")[2]
        elif word.startswith("-o"):
            form = word.removeprefix("-o")
    return form == "json"


def _tell_mistake(out: Output, error: TyperException) -> None:
    show = getattr(error, "show", None)
    if show is not None and not out.is_json:
        with suppress(OSError):  # as in Output.fail
            show()
        return
    context = getattr(error, "ctx", None)
    path = "lc" if context is None else context.command_path
    out.fail(Report(error.format_message(), f"see {path} --help", exit_codes.USAGE))


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
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
    interrupts.take_over()
    _open_closed_streams()
    _take_any_text()
    # A crash must not write secret keys into a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        app(prog_name="lc")
    finally:
        interrupts.ignore()
        _let_go_of_unwritten()


def _open_closed_streams() -> None:
    """Let closed standard streams lead nowhere: a file opened later must not take their numbers and get the output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 (stays open)
            setattr(sys, name, stream)


def _let_go_of_unwritten() -> None:
    """Drop what a stream could not write, which was told before: Python would end with 120 as it tries once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _take_any_text() -> None:
    """Let text that the streams' encoding cannot hold pass in and out: it is looked at where it is used."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
