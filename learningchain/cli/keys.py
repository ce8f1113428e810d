"""`lc keys`: making, listing and backing up keys."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from abci_app.protocol.bech32 import encode_address
from learningchain.cli.command import Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.cli.output import make_table
from learningchain.cli.parse import read_address
from learningchain.settings import save_setting
from learningchain.wallet import Entry, SecretKey

app = make_group("Keys: make, list, back up.")

Name = Annotated[str, typer.Argument(help="Name of the key: a-z, 0-9, - and _")]
PasswordFile = Annotated[Path | None, typer.Option(help="File whose first line is the password")]


@command(app, "add")
def add(
    session: Session,
    name: Name,
    recover: Annotated[
        bool, typer.Option("--recover", help="Read 24 backup words instead of making a new key")
    ] = False,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="No password: for test networks and unattended machines only")
    ] = False,
    account: Annotated[
        str | None, typer.Option(help="Address of the account this key was or will be added to (see lc tx set-key)")
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Make a new key (or recover one) and show its 24 backup words once, on stderr."""
    session.keystore.check_new(name)
    owner = None if account is None else read_address(session, account)
    key = _recover_key() if recover else SecretKey.generate()
    password = None if unencrypted else ask_new_password(session, name, password_file)
    entry = session.keystore.add(name, key, password, owner)
    # Before anything else that can fail: the words of a key that exists are shown once.
    if unencrypted or not recover:
        tell_secret(session, key, not unencrypted)
    if session.keystore.list_names() == [name]:
        save_setting(session.settings.home, "key", name)
    session.out.show(describe_entry(entry))


@command(app, "list")
def list_keys(session: Session) -> None:
    """List all keys."""
    entries = session.keystore.list_entries()
    rows = [[entry.name, encode_address(entry.account), "yes" if entry.encrypted else "NO"] for entry in entries]
    table = make_table(None, ["name", "account", "encrypted"], rows)
    session.out.show({"keys": [describe_entry(entry) for entry in entries]}, lambda console: console.print(table))


@command(app, "show")
def show(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name or address of the key")],
    words: Annotated[bool, typer.Option("--words", help="Show the 24 backup words; asks for the password")] = False,
    password_file: PasswordFile = None,
) -> None:
    """Show the public parts of a key."""
    entry = session.keystore.find(name)
    data = describe_entry(entry)
    if words:
        session.confirm("The words are the key itself. Nobody but you should see the screen. Show them?")
        data["words"] = session.open_key(entry, password_file).get_words()
    session.out.show(data)


@command(app, "password")
def password(
    session: Session,
    name: Name,
    password_file: PasswordFile = None,
    new_password_file: Annotated[Path | None, typer.Option(help="File whose first line is the new password")] = None,
) -> None:
    """Change the password of a key (or give it one); a wrong old password changes nothing."""
    key = session.open_key(session.keystore.get(name), password_file)
    session.keystore.replace_password(name, key, ask_new_password(session, name, new_password_file))
    session.out.show(describe_entry(session.keystore.get(name)))


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return the public parts of a key as JSON data."""
    return {
        "name": entry.name,
        "account": encode_address(entry.account),
        "address": encode_address(entry.address),
        "public_key": entry.public_key.hex(),
        "encrypted": entry.encrypted,
    }


def tell_secret(session: Session, key: SecretKey, encrypted: bool) -> None:
    """Show the backup of a new key, once, on stderr; of one that is not encrypted its file is the backup."""
    if encrypted:
        session.say("Write these 24 words on paper. Whoever has them has the key; without them a lost file is lost.")
        session.say(key.get_words())
    else:
        session.say("This key is not encrypted: whoever reads the file has the key.")


def ask_new_password(session: Session, name: str, password_file: Path | None) -> str:
    """Return a password for a new key, asked for twice unless it comes from a file. Raises Failure."""
    first = session.ask_password(f"new password for {name}", password_file)
    if password_file is None and session.settings.password_file is None:
        again = session.ask_password(f"new password for {name} again")
        if first != again:
            raise Failure("the two passwords differ", "run the command again; nothing was written")
    return first


def _recover_key() -> SecretKey:
    """Return the key of the backup words on stdin. Raises Failure."""
    if sys.stdin.isatty():
        sys.stderr.write("24 words, in one line: ")
        sys.stderr.flush()
    try:
        return SecretKey.from_words(sys.stdin.readline(2048))
    except ValueError as error:
        raise Failure(f"these words are no backup: {error}", "compare them with your paper, in order") from None
