"""What every command has: settings, output, keys and a connection that is made when it is needed."""

import getpass
import shlex
import sys
from pathlib import Path

from learningchain.cli import exit_codes
from learningchain.cli.failure import Failure
from learningchain.cli.hints import complete_commands
from learningchain.cli.output import Output
from learningchain.client import SyncClient, connect
from learningchain.client.journal import FileJournal
from learningchain.client.sync import Patience
from learningchain.registry import is_loopback
from learningchain.settings import Settings, load_settings
from learningchain.wallet import Entry, Keystore, SecretKey

MAX_PASSWORD_FILE: int = 4096


class Session:
    """One run of a command."""

    def __init__(
        self, home: Path | None = None, node: str | None = None, output: str | None = None, yes: bool = False
    ) -> None:
        """Take the common options; None stands for not given."""
        self.home_given, self.node_given = home, node
        self.settings: Settings = load_settings(home=home, node=node, output=output)
        self.out = Output(self.settings.output)
        self.yes = yes
        self.keystore = Keystore(self.settings.home / "keys")
        self.patience: Patience | None = None
        """How long the node is waited for in all, where a command has a limit for that."""
        self._client: SyncClient | None = None

    def client(self) -> SyncClient:
        """Return the connection to the node of the settings."""
        if self._client is None:
            tag = bytes.fromhex(self.settings.chain_tag) if self.settings.chain_tag else None
            try:
                self._client = SyncClient(connect(self.settings.node, tag))
                self._client.patience = self.patience
            except ValueError as error:
                raise Failure(str(error), "correct --node, LC_NODE or the setting node", exit_codes.USAGE) from None
        return self._client

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._client is not None:
            self._client.close()

    def say(self, text: str) -> None:
        """Write a line for people to stderr."""
        self.out.say(text)

    def suggest(self, words: str) -> str:
        """Return a command to run next, for the same home and node as this one."""
        return complete_commands(shlex.join(["lc", *words.split()]), self.home_given, self.node_given)

    def confirm(self, question: str, option: str = "--yes", agreed: bool | None = None) -> None:
        """Ask for consent on the terminal unless it is given: by --yes, or by an `option` of its own that says so.

        Raises Failure when it is not given.
        """
        if self.yes if agreed is None else agreed:
            return
        if not sys.stdin.isatty():
            raise Failure(f"{question} This needs an answer, and there is no terminal", f"add {option} if you agree")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("nothing was done", "run the command again when you agree", exit_codes.FAILED)

    def pick_key(self, name: str | None) -> Entry:
        """Return the key of --from, else the one of the settings, else the only one. Raises KeystoreError, Failure."""
        if name is not None:  # also an empty one, of a variable that is not set: no other key must sign instead
            return self.keystore.find(name)
        if self.settings.key:
            return self.keystore.find(self.settings.key)
        entries = self.keystore.list_entries()
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise Failure("there is no key yet", "make one: lc keys add NAME", exit_codes.NOT_FOUND)
        names = ", ".join(entry.name for entry in entries)
        raise Failure(f"there are several keys ({names})", "choose one with --from NAME, or: lc config set key NAME")

    def open_key(self, entry: Entry, password_file: Path | None = None) -> SecretKey:
        """Return the secret key, asking for its password if it has one."""
        return self.keystore.open(entry.name, lambda: self.ask_password(f"password of {entry.name}", password_file))

    def ask_password(self, what: str, password_file: Path | None = None) -> str:
        """Return a password from a file's first line or from the terminal, never from arguments or environment."""
        path = password_file or self.settings.password_file
        try:
            password = self._read_password(what, path)
            password.encode("utf-8")
        except UnicodeError:
            where = "" if path is None else f" in {path}"
            raise Failure(
                f"the {what}{where} is not UTF-8 text", "use a password of letters, digits and signs"
            ) from None
        except EOFError:
            raise Failure(f"no {what} was given", "run the command again and type it") from None
        return password

    def _read_password(self, what: str, path: Path | None) -> str:
        if path is not None:
            with path.open("r", encoding="utf-8") as file:
                return file.readline(MAX_PASSWORD_FILE).rstrip("\r\n")
        if not sys.stdin.isatty():
            raise Failure(f"the {what} is needed, and there is no terminal", "give it with --password-file FILE")
        return getpass.getpass(f"{what}: ", stream=sys.stderr)

    def allows_loopback(self) -> bool:
        """Tell whether sources on this machine are contacted: as in a devnet, where the node is here too."""
        node = self.settings.node
        return node.startswith("unix://") or is_loopback(node.partition("://")[2].partition("/")[0])

    def make_journal(self, public_key: bytes) -> FileJournal:
        """Return the journal of a key on this chain."""
        chain_tag = self.client().get_chain().chain_tag
        return FileJournal(self.settings.home / "journal", chain_tag, public_key, self.say)
