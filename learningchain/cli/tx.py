"""`lc tx`: transactions that are not about jobs."""

import base64
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from google.protobuf.message import DecodeError

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.errors import TooLarge
from abci_app.protocol.hashing import compute_tx_hash, get_key_proof_bytes
from abci_app.protocol.limits import (
    KEY_BYTES,
    MAX_ENDPOINT_BYTES,
    MAX_MEMO_BYTES,
    MAX_NAME_BYTES,
    MAX_TIME_MS,
    MAX_TX_BYTES,
    SIGNATURE_BYTES,
)
from learningchain.addresses import AddressRefused, check_url
from learningchain.amounts import format_credits
from learningchain.cli import exit_codes
from learningchain.cli.command import Sending, Session, command, make_group
from learningchain.cli.failure import Failure
from learningchain.cli.parse import read_address, read_credits, read_hex, read_text
from learningchain.cli.sending import describe_result
from learningchain.client import TxResult
from learningchain.client.errors import NothingSent, TxFailed, TxPending, TxRefused
from learningchain.client.sender import SPARE_BITS, search_registration, sign_register
from learningchain.wallet import Entry

app = make_group("Transactions: transfer, bond, keys, profile.")

MAX_SIGNED_BYTES: Final = 8 * MAX_TX_BYTES
"""Of a file with a transaction: --generate-only shows it three times, in base64 and hex."""
_FIELD: Final = re.compile(r"^(tx_hex|tx_base64): (\S+)$", re.ASCII | re.MULTILINE)
_HEX: Final = re.compile(r"[0-9a-fA-F\s]+", re.ASCII)

Amount = Annotated[str, typer.Argument(help="Credits, with up to 6 decimals")]


@command(app, "register")
def register(session: Session, sending: Sending) -> None:
    """Make the account of a key. It costs work (seconds to minutes of computing), not credits."""
    _require_own_account(sending.entry)
    key = session.open_key(sending.entry, sending.password_file)
    client = session.client()
    account = {"account": encode_address(key.address)}
    if client.get_account(key.address) is not None:
        session.say("this account exists already")
        session.out.show(account)
        return
    tag, bits = client.get_chain().chain_tag, client.get_required_bits() + SPARE_BITS
    session.say(f"searching for work: about {1 << bits:,} hashes; Ctrl-C stops it without harm")
    solution = client.run(search_registration(tag, key.public_key, bits))
    pending = client.ask(sign_register(client.inner, key, solution))
    if sending.generate_only:
        sending.show_signed(pending)
        return
    try:
        client.broadcast(pending.tx)
    except NothingSent as error:  # not so here: the node may have got it
        waited_s = sending.patience.seconds
        raise TxPending(pending.tx_hash, waited_s, pending.sent_height, pending.expires_at_height) from error
    session.say(f"transaction {pending.tx_hash.hex()} sent")
    data: dict[str, object] = {"tx_hash": pending.tx_hash.hex()}
    if sending.wait:
        with sending.patience.spend() as left_s:
            data = describe_result(client.sender(key).wait(pending, left_s))
    session.out.show(account | data)


@command(app, "transfer")
def transfer(
    session: Session,
    sending: Sending,
    to: Annotated[str, typer.Argument(help="Address lc1… (or the name of a key here) that receives")],
    amount: Amount,
    memo: Annotated[str, typer.Option(help="Public note, at most 128 bytes")] = "",
) -> None:
    """Send credits to another registered account."""
    recipient = read_address(session, to)
    checked = read_text(memo, MAX_MEMO_BYTES, "--memo")
    message = tx_pb2.Transfer(to=recipient, amount=read_credits(amount), memo=checked)
    session.say(f"transfer of {format_credits(message.amount)} credits to {encode_address(recipient)}")
    sending.send(message)


@command(app, "bond")
def bond(session: Session, sending: Sending, amount: Amount) -> None:
    """Lock credits as bond, to be drawn as checker. A ban burns the bond."""
    del session
    sending.send(tx_pb2.Bond(amount=read_credits(amount)))


@command(app, "unbond")
def unbond(session: Session, sending: Sending, amount: Amount) -> None:
    """Take credits out of the bond; they come back after the unbonding time."""
    del session
    sending.send(tx_pb2.Unbond(amount=read_credits(amount)))


@command(app, "set-checker")
def set_checker(
    session: Session,
    sending: Sending,
    highest_class: Annotated[str, typer.Argument(metavar="CLASS|off", help="Largest job class to check, or off")],
) -> None:
    """Opt in to (or out of) checking winners. Takes effect with the next epoch."""
    if highest_class == "off":
        sending.send(tx_pb2.SetChecker())
        return
    classes = session.client().get_chain().params.classes
    if highest_class not in map(str, range(len(classes))):
        known = ", ".join(f"{number} ({entry.name})" for number, entry in enumerate(classes))
        raise Failure(f"{highest_class} is not a class", f"choose one of {known}, or off", exit_codes.USAGE)
    sending.send(tx_pb2.SetChecker(enabled=True, highest_class=int(highest_class)))


@command(app, "set-profile")
def set_profile(
    session: Session,
    sending: Sending,
    name: Annotated[str | None, typer.Option(help="Public name, at most 64 bytes")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address where this node serves models, http://HOST:PORT")
    ] = None,
) -> None:
    """Change the public name or endpoint of the account; what is not given stays, "" takes it back."""
    if name is None and endpoint is None:
        raise Failure("nothing would change", "give --name, --endpoint or both", exit_codes.USAGE)
    read_text(name or "", MAX_NAME_BYTES, "--name")
    if endpoint:
        _check_endpoint(endpoint)
    view = session.client().get_account(sending.entry.account)
    old = view.profile if view is not None else None
    message = tx_pb2.SetProfile(
        name=name if name is not None else (old.name if old else ""),
        endpoint=endpoint if endpoint is not None else (old.endpoint if old else ""),
    )
    sending.send(message)


@command(app, "set-key")
def set_key(
    session: Session,
    sending: Sending,
    key: Annotated[str, typer.Argument(help="Name of a key here, or a public key in hex (then with --proof)")],
    scope: Annotated[str, typer.Option(help="owner, work (announce, reveal, vote, profile) or removed")] = "work",
    expires_at_ms: Annotated[
        int, typer.Option(min=0, max=MAX_TIME_MS, help="Block time in ms from when on it is void, 0 = never")
    ] = 0,
    proof: Annotated[str, typer.Option(help="Signature of the new key in hex: lc tx prove-key on its machine")] = "",
) -> None:
    """Add, change or remove a key of the account."""
    number = _read_scope(scope)
    owner = sending.entry.account
    if len(key) == 2 * KEY_BYTES:
        public_key = read_hex(key, KEY_BYTES, "the public key")
        signed = read_hex(proof, SIGNATURE_BYTES, "--proof") if number != tx_pb2.KEY_SCOPE_REMOVED else b""
    else:
        entry = session.keystore.get(key)
        public_key = entry.public_key
        signed = b"" if number == tx_pb2.KEY_SCOPE_REMOVED else _prove(session, sending, key, owner)
        if signed and entry.account != owner:
            session.say(
                f"the key {key} is kept here for the account {encode_address(entry.account)}, for which --from {key} "
                f"signs; recover it under another name to sign for this one: "
                f"{session.suggest(f'keys add NAME --recover --account {encode_address(owner)}')}"
            )
    sending.send(tx_pb2.SetKey(public_key=public_key, proof=signed, scope=number, expires_at_ms=expires_at_ms))


@command(app, "prove-key")
def prove_key(
    session: Session,
    sending: Sending,
    account: Annotated[str, typer.Argument(help="Address of the account that will get this key")],
) -> None:
    """Show the signature with which another machine adds this key to an account (lc tx set-key … --proof)."""
    owner = read_address(session, account)
    proof = _prove(session, sending, sending.entry.name, owner)
    session.out.show({"public_key": sending.entry.public_key.hex(), "proof": proof.hex()})


@command(app, "unjail")
def unjail(session: Session, sending: Sending) -> None:
    """Lift every jail of the account that is old enough."""
    del session
    sending.send(tx_pb2.Unjail())


@command(app, "send")
def send(
    session: Session,
    file: Annotated[
        Path, typer.Argument(help="What --generate-only showed, or base64 or hex of a transaction; - for stdin")
    ],
) -> None:
    """Broadcast a transaction made with --generate-only."""
    tx = _decode_signed(_read_signed(file))
    if len(tx) > MAX_TX_BYTES:
        # CometBFT refuses it before the chain can say why.
        raise TxRefused(TooLarge.code, compute_tx_hash(tx))
    try:
        tx_hash = session.client().broadcast(tx)
    except TxRefused:
        done = _find_sent(session, tx)
        if done is None:
            raise
        session.say(f"this transaction was carried out before, in block {done.height}")
        session.out.show(describe_result(done))
    else:
        session.out.show({"tx_hash": tx_hash.hex()})


def _require_own_account(entry: Entry) -> None:
    """Raise Failure for a key of another account: registered, it could never be added to that one any more."""
    if entry.account != entry.address:
        raise Failure(
            f"the key {entry.name} is for the account {encode_address(entry.account)}: "
            "one of its own would keep it from there for ever",
            f"add it to that account with a key of its owner: lc tx set-key {entry.name} --from OWNER",
        )


def _find_sent(session: Session, tx: bytes) -> TxResult | None:
    """Return what became of a transaction that was sent before; None if it is in no block. Raises TxFailed."""
    try:
        last = tx_pb2.TxBody.FromString(tx_pb2.SignedTx.FromString(tx).body_bytes).expires_at_height
    except DecodeError:
        return None
    client = session.client()
    first = last - client.get_chain().params.max_tx_lifetime
    found = client.find_tx(compute_tx_hash(tx), max(1, first), min(last, client.get_status().height))
    if found is not None and found.code != 0:
        raise TxFailed(found.code, found.tx_hash, found.height)
    return found


def _check_endpoint(endpoint: str) -> None:
    read_text(endpoint, MAX_ENDPOINT_BYTES, "--endpoint")
    try:
        check_url(endpoint)
    except AddressRefused as error:
        raise Failure(f"{endpoint} is no endpoint: {error}", "write http://HOST:PORT", exit_codes.USAGE) from None


def _prove(session: Session, sending: Sending, name: str, owner: bytes) -> bytes:
    secret = session.open_key(session.keystore.get(name), sending.password_file)
    return secret.sign(get_key_proof_bytes(session.client().get_chain().chain_tag, owner))


def _read_scope(text: str) -> tx_pb2.KeyScope:
    scopes = {
        "owner": tx_pb2.KEY_SCOPE_OWNER,
        "work": tx_pb2.KEY_SCOPE_WORK,
        "removed": tx_pb2.KEY_SCOPE_REMOVED,
    }
    if text not in scopes:
        raise Failure(f"{text} is not a scope", "choose owner, work or removed", exit_codes.USAGE)
    return scopes[text]


def _read_signed(file: Path) -> bytes:
    if str(file) == "-":
        data = sys.stdin.buffer.read(MAX_SIGNED_BYTES + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(MAX_SIGNED_BYTES + 1)
    if not data.strip():
        raise _fail_to_decode("there is nothing in it")
    if len(data) > MAX_SIGNED_BYTES:
        raise _fail_to_decode(f"there are more than {MAX_SIGNED_BYTES} bytes")
    return data


def _decode_signed(data: bytes) -> bytes:
    """Return the transaction in what --generate-only shows, as text or as JSON, or in base64 or hex alone."""
    try:
        text = data.decode("utf-8").strip()
        shown = json.loads(text) if text.startswith("{") else dict(_FIELD.findall(text))
        alone = shown.get("tx_hex") or shown.get("tx_base64") or text
        return bytes.fromhex(alone) if _HEX.fullmatch(alone) else base64.b64decode(alone, validate=True)
    except (ValueError, TypeError, RecursionError):
        raise _fail_to_decode("there is neither base64 nor hex of a transaction") from None


def _fail_to_decode(message: str) -> Failure:
    return Failure(message, "give what --generate-only showed, or its tx_base64 or tx_hex", exit_codes.USAGE)
