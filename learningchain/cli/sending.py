"""Options and steps that all commands share which send a transaction."""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from abci_app.protocol.bech32 import encode_address
from learningchain.cli import failure, interrupts
from learningchain.cli.session import Session
from learningchain.client import Pending, SyncSender, TxResult
from learningchain.client.errors import BadAnswer, NodeUnreachable
from learningchain.client.journal import JournalError
from learningchain.client.sender import get_default_intent
from learningchain.client.sync import Patience
from learningchain.wallet import Entry, SecretKey


@dataclass(slots=True)
class Sending:
    """How a transaction is signed and sent."""

    session: Session
    key: str | None
    generate_only: bool
    wait: bool
    password_file: Path | None
    patience: Patience
    """What is left of the timeout."""
    forgone: str = ""
    """Why the list of what was sent is not kept any more, empty while it is."""
    _sender: SyncSender | None = None
    _entry: Entry | None = None
    _secret: SecretKey | None = None

    @property
    def entry(self) -> Entry:
        """The key that signs."""
        if self._entry is None:
            self._entry = self.session.pick_key(self.key)
        return self._entry

    @property
    def secret(self) -> SecretKey:
        """The secret key; asks for its password once, as what gives it may give it once only, a pipe or a person."""
        if self._secret is None:
            self._secret = self.session.open_key(self.entry, self.password_file)
        return self._secret

    @property
    def sender(self) -> SyncSender:
        """The sender for that key; asks for its password."""
        if self._sender is None:
            journal = self.session.make_journal(self.secret.public_key)
            self._sender = self.session.client().sender(self.secret, self.entry.account, journal)
        return self._sender

    def forgo_journal(self, reason: str) -> None:
        """Keep what is sent from now on in memory only: for a message that the chain carries out once."""
        self.forgone = reason
        self._sender = self.session.client().sender(self.secret, self.entry.account)

    def was_sent(self, intent: str) -> bool:
        """Tell whether an earlier run sent a transaction whose intent begins so and whose fate was not shown yet.

        What it did may be the very reason why the chain would refuse another one; sending tells what became of it.
        """
        return any(pending.intent.startswith(intent) for pending in self.sender.list_pending())

    def send(
        self,
        message: Message,
        intent: str | None = None,
        describe: Callable[[Pending, TxResult | None], Mapping[str, object]] | None = None,
        tell_next: Callable[[TxResult], str] | None = None,
        goes_on: bool = False,
    ) -> TxResult | None:
        """Sign, send, wait, and show the result with what `describe` adds; None if nothing was waited for.

        `describe` is told what was sent: by an earlier run of the command, that is not this `message`.
        `tell_next` is a line for people after a success. Who `goes_on` after it does so also where a full disk keeps
        it from being shown or forgotten: the next transaction tells what became of this one.

        With --generate-only the signed transaction is shown instead. Running the same command again while the first
        transaction is undecided sends the same bytes again (`intent` tells what is the same).
        """
        if self.generate_only:
            self.show_signed(self.sender.prepare(message))
            return None
        intent = intent or get_default_intent(message)
        self._settle(intent)
        earlier = {entry.tx_hash for entry in self.sender.list_pending()}
        pending = self._submit(message, intent)
        again = " before, by an earlier run of this command" if pending.tx_hash in earlier else ""
        with self._bearing_the_disk(goes_on):
            self.session.say(f"transaction {pending.tx_hash.hex()} sent{again}")
        result = self._wait(pending) if self.wait else None
        data = {"tx_hash": pending.tx_hash.hex()} if result is None else describe_result(result)
        with self._bearing_the_disk(goes_on):
            self.session.out.show({**(describe(pending, result) if describe is not None else {}), **data})
            if result is not None:
                if tell_next is not None:
                    self.session.say(tell_next(result))
                # Not before it was shown: whoever could not read it runs the command again, and must not pay again.
                self._forget(pending)
        return result

    def renew_patience(self) -> None:
        """Begin with the whole timeout again."""
        self.patience = Patience(self.patience.seconds)
        self.session.client().patience = self.patience

    def lift_patience(self) -> None:
        """Let questions take as long as the client lets each of them."""
        self.session.client().patience = None

    def _submit(self, message: Message, intent: str) -> Pending:
        with self.patience.spend() as left_s, self._telling_what_may_land(intent):
            return self.sender.submit(message, intent, left_s)

    def _wait(self, pending: Pending) -> TxResult:
        with self.patience.spend() as left_s, self._telling_what_may_land(pending.intent):
            return self.sender.wait(pending, left_s, keep=True)

    def _forget(self, pending: Pending) -> None:
        """Take a transaction whose result was shown out of the journal. From then on the same command is a new one.

        Ctrl-C would have it run again, so it counts no more.
        """
        try:
            with self.patience.spend() as left_s:
                self.sender.forget([pending], left_s)
            interrupts.ignore()
        except KeyboardInterrupt:
            if pending in self.sender.list_pending():
                raise
            interrupts.ignore()
        except JournalError as error:
            error.hint += "; the same command shows this result once more before it does anything new"
            raise

    @contextlib.contextmanager
    def _bearing_the_disk(self, goes_on: bool) -> Iterator[None]:
        """Tell, as far as that can be done, what the disk refuses to one who goes on; it ends everybody else."""
        try:
            yield
        except (OSError, JournalError) as error:
            if not goes_on:
                raise
            with contextlib.suppress(OSError):
                self.session.say(f"{failure.describe(error).message}; going on")

    @contextlib.contextmanager
    def _telling_what_may_land(self, intent: str) -> Iterator[None]:
        """Add to an error of the node what it means for a transaction that is signed."""
        try:
            yield
        except (NodeUnreachable, BadAnswer) as error:
            if any(pending.intent == intent for pending in self.sender.list_pending()):
                error.hint = f"the transaction may still land: run the same command again; {error.hint}"
            raise

    def _settle(self, intent: str | None) -> None:
        """Tell what became of transactions of earlier runs; what may still land is sent again.

        One of the same intent is left alone: sending finds it and waits for it.
        """
        sender = self.sender  # made before: it asks for the password, and what people take to type does not count
        with self.patience.spend() as left_s:
            told = sender.settle(keep_intent=intent, keep=True, timeout_s=left_s)
        for settled in told:
            kind = settled.pending.intent.partition(" ")[0]
            if settled.result is None:
                self.session.say(f"an earlier {kind} ({settled.pending.tx_hash.hex()}) expired without effect")
            else:
                done = "was carried out" if settled.result.code == 0 else f"failed (error {settled.result.code})"
                self.session.say(f"an earlier {kind} {done} in block {settled.result.height}")
        with self.patience.spend() as left_s:
            self.sender.forget([settled.pending for settled in told], left_s)

    def show_signed(self, pending: Pending) -> None:
        """Show a signed transaction and the line that broadcasts it."""
        text = base64.b64encode(pending.tx).decode("ascii")
        node = self.session.settings.node
        target = (
            f"--unix-socket {node.removeprefix('unix://')} http://localhost" if node.startswith("unix://") else node
        )
        call = {"jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_sync", "params": {"tx": text}}
        request = json.dumps(call, separators=(",", ":"))
        self.session.out.show(
            {
                "tx_base64": text,
                "tx_hex": pending.tx.hex(),
                "tx_hash": pending.tx_hash.hex(),
                "account": encode_address(self.entry.account),
                "nonce": str(pending.nonce),
                "expires_at_height": str(pending.expires_at_height),
                "curl": f"curl -s -H 'Content-Type: application/json' -d '{request}' {target}",
            }
        )


def describe_result(result: TxResult) -> dict[str, object]:
    """Return a result as JSON data."""
    return {
        "tx_hash": result.tx_hash.hex(),
        "height": str(result.height),
        "code": result.code,
        "events": [{"type": event.type, **dict(event.attributes)} for event in result.events],
    }
