"""Command line of the set-up: up, down, status, run, clean."""

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from shlex import quote
from types import FrameType

from tools.setup import engine, packages, registry
from tools.setup.processes import read_record
from tools.setup.runs import run_command
from tools.setup.services import ENV_FILE, KEEP, Wish, running_services, take_down
from tools.setup.settings import CACHE, ROOT, STATE, VENV, SetupError

INTERRUPTED = 130
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class Interrupted(BaseException):
    """The user, the terminal or the system asked this process to end."""


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Turn the first signal into an exception; the clean-up that follows is not interrupted again."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, say_patience)
    raise Interrupted(signal.Signals(number).name)


def say_patience(_number: int, _frame: FrameType | None) -> None:
    """Answer impatience in words."""
    print("cleaning up, a moment", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="set up and leave the services running")
    run = commands.add_parser("run", help="set up, run a command with the services, stop them")
    for command in (up, run):
        command.add_argument("--tests", action="store_true", help="also what only the tests need (a second CometBFT)")
        command.add_argument("--no-containers", action="store_true", help="only Python and CometBFT")
    run.add_argument("--limit", type=float, default=0, metavar="SECONDS", help="time for all of it, set-up included")
    run.add_argument("argv", nargs="+", metavar="COMMAND", help="after --, with its arguments")
    commands.add_parser("down", help="stop what `up` left running")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("clean", help="stop everything and delete the state and cache folders")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform a command; return its exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, interrupt)
    try:
        return perform(options)
    except SetupError as error:
        print(f"\nset-up failed: {error}", file=sys.stderr)
        if error.remedy:
            print(f"next: {error.remedy}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        print(f"\nset-up failed: {error}", file=sys.stderr)
        print("next: make room on the disk, then run the same command again", file=sys.stderr)
        return 1
    except Interrupted as reason:
        print(f"\nended by {reason}; everything that was started has been stopped", file=sys.stderr)
        return INTERRUPTED


def perform(options: argparse.Namespace) -> int:
    """Dispatch to the command."""
    if options.command == "status":
        return show_status()
    if options.command == "down":
        return go_down()
    if options.command == "clean":
        return clean()
    wish = Wish(containers=not options.no_containers, tests=options.tests)
    if options.command == "up":
        with running_services(wish, keep=True):
            print(
                f"running; for your shell: . {quote(str(ENV_FILE))}\nto stop: python3 -m tools.setup down",
                file=sys.stderr,
            )
        return 0
    if options.tests and os.geteuid() != 0:
        raise SetupError("the tests of the sandbox mount file systems and need root", packages.WITH_SUDO)
    started = time.monotonic()
    with running_services(wish) as services:
        seconds = time.monotonic() - started
        print(f"set-up done in {seconds:.1f} s", file=sys.stderr, flush=True)
        seconds_left = options.limit - seconds if options.limit else None
        return run_command(options.argv, services.environ, seconds_left, options.limit)


def show_status() -> int:
    """Print what runs."""
    pids = {"private Docker Engine": read_record(engine.RECORD), "registry": read_record(registry.RECORD)}
    for name, pid in pids.items():
        print(f"{name}: {f'process {pid}' if pid else 'not running'}")
    print(f"kept by `up`: {'yes' if KEEP.exists() else 'no'}; state folder: {STATE}")
    return 0


def go_down() -> int:
    """Stop the kept services."""
    if not take_down():
        print("another process still uses the services; they stop when it ends", file=sys.stderr)
    return 0


def clean() -> int:
    """Stop the services and delete what the set-up downloaded, built and kept; the Python environment stays."""
    if not take_down():
        print("another process still uses the services; end it first", file=sys.stderr)
        return 1
    for folder in (STATE, CACHE, ROOT / "build"):
        engine.remove_tree(folder)
    print(f"deleted {STATE}, {CACHE} and build; for the Python environment: rm -r {VENV}", file=sys.stderr)
    return 0
