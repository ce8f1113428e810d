"""`lc worker`: prepare, start and look at a worker."""

import asyncio
import errno
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import structlog
import tomlkit
import typer
from structlog.typing import EventDict, Processor

from learningchain.cli import exit_codes
from learningchain.cli.command import Place, Session, command, make_group
from learningchain.cli.failure import Failure, split_text
from learningchain.cli.keys import PasswordFile, ask_new_password, describe_entry, tell_secret
from learningchain.cli.output import clean, has_colours
from learningchain.wallet import SecretKey
from learningchain.wallet.files import make_private_folder, write_private
from worker.journal import JournalError
from worker.report import STOPPED
from worker.sandbox import OwnFailureError
from worker.service import open_key, run_worker
from worker.settings import FILE_NAME, TEMPLATE, SettingsError, load_settings

PLACE: Final = Place(Path("~/.learningchain/worker"), "Folder of this worker: settings, keys, journal, models")
KEY: Final = "worker"
STALE_SECONDS: Final = 30.0
"""A running worker writes its status with every block."""

DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""A machine's own condition: the cause in words is enough."""

app = make_group("Train jobs and check winners on this machine.")


@command(app, "init", PLACE)
def init(
    session: Session,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="No password: for machines that start without a person")
    ] = False,
    password_file: PasswordFile = None,
) -> None:
    """Make the settings file and the key of a worker; the file says what can be chosen."""
    home = session.settings.home
    path = home / FILE_NAME
    if path.exists():
        raise Failure(f"{path} exists already", "edit it, or choose another --home")
    if KEY in session.keystore.list_names():  # made by hand, or by an earlier run that did not get further
        entry = session.keystore.get(KEY)
        session.say(
            f"the key {KEY} is here already; its backup: lc keys show {KEY} --words --home {shlex.quote(str(home))}"
        )
    else:
        password = None if unencrypted else ask_new_password(session, KEY, password_file)
        make_private_folder(home)
        key = SecretKey.generate()
        entry = session.keystore.add(KEY, key, password)
        tell_secret(session, key, not unencrypted)
    document = tomlkit.parse(TEMPLATE)
    document["node"] = session.settings.node
    write_private(path, tomlkit.dumps(document).encode("utf-8"), overwrite=False)
    session.say(f"next: look into {path}, then lc worker start --home {shlex.quote(str(home))}")
    session.out.show({**describe_entry(entry), "settings": str(path)})


@command(app, "start", PLACE)
def start(session: Session, password_file: PasswordFile = None) -> None:
    """Run the worker until Ctrl-C; trainings go on at the next start. Logs go to stderr."""
    _configure_logging(session.out.is_json)
    try:
        settings = load_settings(session.settings.home)
        settings.make_policy()  # before a password is asked for
        if session.node_given is not None:
            settings.node = session.node_given
        key = open_key(
            session.settings.home, settings, lambda: session.ask_password(f"password of {settings.key}", password_file)
        )
        asyncio.run(run_worker(session.settings.home, settings, key))
    except (SettingsError, JournalError, OwnFailureError) as error:
        raise Failure(*split_text(str(error))) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise Failure(
            f"the disk of {session.settings.home} cannot be written: {error.strerror}", "free some space"
        ) from error


@command(app, "status", PLACE)
def status(session: Session) -> None:
    """Show what the worker does, which jobs it refused and why."""
    path = session.settings.home / "status.json"
    start_line = f"lc worker start --home {shlex.quote(str(session.settings.home))}"
    try:
        shown, age = json.loads(path.read_bytes()), time.time() - path.stat().st_mtime
    except ValueError:
        raise Failure(
            f"{path} is damaged, as a power cut may leave it", f"a worker writes it anew: {start_line}"
        ) from None
    except FileNotFoundError:
        raise Failure(
            f"{path} does not exist: no worker has run here",
            start_line,
            exit_codes.NOT_FOUND,
        ) from None
    if age > STALE_SECONDS and shown.get("state") != STOPPED:
        session.say(f"this is {age:.0f} s old: the worker does not run, or its node makes no blocks")
    session.out.show({**shown, "age_seconds": max(0, round(age))})


def _clean_values(_logger: object, _name: str, entry: EventDict) -> EventDict:
    """Take out of a log entry what would steer a terminal: URLs and reasons are strangers' words."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in entry.items()}


class _Stderr:
    """Writes log lines. A reader that went away is no reason for a worker to stop."""

    def msg(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            sys.stderr = Path("/dev/null").open("w", encoding="utf-8")  # noqa: SIM115

    debug = info = warning = error = critical = msg


def _configure_logging(as_json: bool) -> None:
    """Log to stderr, a line per event: for people, or as JSON."""
    render: tuple[Processor, ...] = (structlog.processors.JSONRenderer(),)  # ASCII, whatever strangers wrote
    if not as_json:
        render = (_clean_values, structlog.dev.ConsoleRenderer(colors=has_colours(sys.stderr)))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *render,
        ],
        logger_factory=lambda *_: _Stderr(),
    )
