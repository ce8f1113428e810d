"""Turns a plain function into a command with the common options, one way of failing and documented exit codes."""

import inspect
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import typer

from learningchain.cli import exit_codes, interrupts
from learningchain.cli.failure import EXPECTED, INTERRUPTED_HINT, Report, describe, describe_defect
from learningchain.cli.hints import complete_commands
from learningchain.cli.output import Output
from learningchain.cli.parse import check_given
from learningchain.cli.sending import Sending
from learningchain.cli.session import Session
from learningchain.client.sync import Patience
from learningchain.settings import NoHome

__all__ = ["Place", "Sending", "Session", "command", "make_group"]

_COMMON: Final = "Common options"
_SENDING: Final = "Options of transactions"
_POSITIVE: Final = 0.1


def _read_folder(text: str) -> Path:
    """Refuse the empty word of a variable that is not set: as a path it is the current folder."""
    if not text:
        raise typer.BadParameter("it is empty: name a folder")
    return Path(text)


def _make_home_option(text: str) -> tuple[Any, Any]:
    option = typer.Option(help=text, rich_help_panel=_COMMON, parser=_read_folder, metavar="<path>")
    return Annotated[Path | None, option], None


_SESSION_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "home": _make_home_option("Folder of keys and settings [env: LC_HOME]"),
    "node": (
        Annotated[str | None, typer.Option(help="RPC address of a node [env: LC_NODE]", rich_help_panel=_COMMON)],
        None,
    ),
    "output": (
        Annotated[
            Literal["text", "json"] | None,
            typer.Option("--output", "-o", help="Form of the data on stdout", rich_help_panel=_COMMON),
        ],
        None,
    ),
    "yes": (
        Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to questions", rich_help_panel=_COMMON)],
        False,
    ),
}
_SENDING_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "from_key": (
        Annotated[str | None, typer.Option("--from", help="Key that signs: name or address", rich_help_panel=_SENDING)],
        None,
    ),
    "generate_only": (
        Annotated[
            bool,
            typer.Option("--generate-only", help="Show the signed transaction, send nothing", rich_help_panel=_SENDING),
        ],
        False,
    ),
    "wait": (
        Annotated[bool, typer.Option(help="Wait until the transaction is in a block", rich_help_panel=_SENDING)],
        True,
    ),
    "timeout": (
        Annotated[
            float,
            typer.Option(min=_POSITIVE, help="Longest wait for the node in all, seconds", rich_help_panel=_SENDING),
        ],
        60.0,
    ),
    "password_file": (
        Annotated[
            Path | None, typer.Option(help="File whose first line is the key's password", rich_help_panel=_SENDING)
        ],
        None,
    ),
}


def make_group(text: str) -> typer.Typer:
    """Return an empty group of commands; `text` tells what they are about."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that the commands of a group use in place of the user's home; LC_HOME does not name it."""

    folder: Path
    """Without --home; may begin with ~."""
    help: str
    """What --home is for these commands."""

    def get_options(self) -> dict[str, tuple[Any, Any]]:
        """Return the common options with this --home."""
        return _SESSION_OPTIONS | {"home": _make_home_option(f"{self.help} [default: {self.folder}]")}

    def get_home(self) -> Path:
        """Return the folder. Raises SettingsError if the user has no home."""
        try:
            return self.folder.expanduser()
        except RuntimeError as error:
            raise NoHome from error


def command(
    app: typer.Typer, name: str, place: Place | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function as the command `name`.

    A parameter annotated with Session or Sending is made from the common options, which the command gets for it; a
    Sending needs a Session beside it. All other parameters are the command's own.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name)(_wrap(function, place))
        return function

    return register


def _wrap(function: Callable[..., None], place: Place | None) -> Callable[..., None]:
    own = inspect.signature(function, eval_str=True).parameters
    sends = any(parameter.annotation is Sending for parameter in own.values())

    def run(**given: Any) -> None:
        common = {key: given.pop(key) for key in _SESSION_OPTIONS}
        sending = {key: given.pop(key) for key in _SENDING_OPTIONS} if sends else {}
        _run(function, own, place, common, sending, given)

    options = _SESSION_OPTIONS if place is None else place.get_options()
    options = options | (_SENDING_OPTIONS if sends else {})
    plain = [parameter for parameter in own.values() if parameter.annotation not in (Session, Sending)]
    parameters = [
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in plain),
        *(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in options.items()
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    return run


def _run(
    function: Callable[..., None],
    own: Any,
    place: Place | None,
    common: dict[str, Any],
    sending: dict[str, Any],
    given: dict[str, Any],
) -> None:
    session: Session | None = None
    try:
        for value in (*common.values(), *sending.values(), *given.values()):
            check_given(value)
        if place is not None and common["home"] is None:
            common["home"] = place.get_home()
        session = Session(**common)
        with closing(session):
            for name, parameter in own.items():
                if parameter.annotation is Session:
                    given[name] = session
                elif parameter.annotation is Sending:
                    given[name] = _make_sending(session, sending)
            function(**given)
            interrupts.ignore()
    except EXPECTED as error:
        _show(session, place, common, describe(error))
    except KeyboardInterrupt:
        _show(session, place, common, Report("stopped by Ctrl-C", INTERRUPTED_HINT, exit_codes.INTERRUPTED))
    except Exception as error:  # noqa: BLE001 (the last net: it is shown with its traceback)
        _show(session, place, common, describe_defect(error))


def _show(session: Session | None, place: Place | None, common: dict[str, Any], report: Report) -> NoReturn:
    hint = complete_commands(report.hint, common["home"], common["node"], place is not None)
    out = session.out if session is not None else Output(common["output"] or os.environ.get("LC_OUTPUT", ""))
    raise typer.Exit(out.fail(replace(report, hint=hint))) from None


def _make_sending(session: Session, options: dict[str, Any]) -> Sending:
    session.patience = Patience(options["timeout"])
    return Sending(
        session,
        options["from_key"],
        options["generate_only"],
        options["wait"],
        options["password_file"],
        session.patience,
    )
