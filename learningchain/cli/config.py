"""`lc config`: settings of the tools."""

from typing import Annotated

import typer

from learningchain.cli.command import Session, command, make_group
from learningchain.settings import FILE, save_setting

app = make_group("Settings of the tools.")


@command(app, "show")
def show(session: Session) -> None:
    """Show the settings in force and where they are kept."""
    data = {name: None if value is None else str(value) for name, value in session.settings.model_dump().items()}
    session.out.show({**data, "file": str(session.settings.home / FILE)})


@command(app, "set")
def set_value(
    session: Session,
    name: Annotated[str, typer.Argument(help="node, key, output, chain_tag or password_file")],
    value: Annotated[str, typer.Argument(help="The new value")],
) -> None:
    """Write one setting into the settings file; comments and the others stay."""
    save_setting(session.settings.home, name, value)
    session.out.show({name: value})
