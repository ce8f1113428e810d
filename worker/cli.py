"""`lc worker`: prepare, start and look at a worker."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from learningchain.wallet import Keystore, KeystoreError, SecretKey
from worker.journal import JournalError
from worker.sandbox import OwnFailureError
from worker.service import open_key, run_worker
from worker.settings import FILE_NAME, TEMPLATE, SettingsError, load_settings

app = typer.Typer(help="Train jobs and check winners on this machine.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", help="folder of this worker: settings, keys, journal, models")]
DEFAULT_HOME = Path("~/.learningchain/worker").expanduser()


@app.command()
def init(
    home: HomeOption = DEFAULT_HOME,
    plain_key: Annotated[bool, typer.Option("--plain-key", help="do not encrypt the key: for servers")] = False,
) -> None:
    """Write the settings file and make a key."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / FILE_NAME
    if path.exists():
        _fail(f"{path} exists already: edit it, or choose another --home")
    path.write_text(TEMPLATE, encoding="utf-8")
    path.chmod(0o600)
    password = None if plain_key else typer.prompt("Password of the new key", hide_input=True, confirmation_prompt=True)
    try:
        entry = Keystore(home / "keys").add("worker", SecretKey.generate(), password)
    except KeystoreError as error:
        _fail(str(error))
    typer.echo(f"Wrote {path} and a key. Back it up: lc keys show worker --words --home {home}", err=True)
    typer.echo(entry.address.hex())


@app.command()
def start(home: HomeOption = DEFAULT_HOME) -> None:
    """Run the worker until Ctrl-C; trainings go on at the next start."""
    try:
        settings = load_settings(home)
        key = open_key(home, settings, lambda: str(typer.prompt("Password", hide_input=True)))
        asyncio.run(run_worker(home, settings, key))
    except (SettingsError, KeystoreError, JournalError, OwnFailureError) as error:
        _fail(str(error))


@app.command()
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Show what the worker does, which jobs it refused and why."""
    path = home / "status.json"
    try:
        typer.echo(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1))
    except FileNotFoundError:
        _fail(f"{path} does not exist: start the worker with 'lc worker start --home {home}'")


def _fail(message: str) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)
