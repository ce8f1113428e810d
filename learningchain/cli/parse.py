"""From words on the command line to values; every refusal says what to write instead."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from abci_app.protocol.bech32 import decode_address
from learningchain.amounts import parse_credits, parse_duration, parse_loss
from learningchain.cli import exit_codes
from learningchain.cli.failure import Failure
from learningchain.cli.session import Session

T = TypeVar("T")

JobId = Annotated[int, typer.Argument(min=1, help="Number of the job")]


def read_credits(text: str, what: str = "the amount") -> int:
    """Return ucredit. Raises Failure."""
    return _read(parse_credits, text, what)


def read_loss(text: str, what: str = "the loss") -> int:
    """Return units of 1e-9. Raises Failure."""
    return _read(parse_loss, text, what)


def read_duration(text: str, what: str) -> int:
    """Return milliseconds. Raises Failure."""
    return _read(parse_duration, text, what)


def read_address(session: Session, text: str) -> bytes:
    """Return the bytes of an `lc1…` address, or of the account of a key here. Raises Failure, KeystoreError."""
    if not text.startswith("lc1"):
        return session.keystore.get(text).account
    try:
        return decode_address(text)
    except ValueError as error:
        raise Failure(f"{text} is not an address", f"{error}; compare every character", exit_codes.USAGE) from None


def read_hex(text: str, length: int, what: str) -> bytes:
    """Return `length` bytes given in hex. Raises Failure."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != length:
        raise Failure(f"{what} is not {length} bytes in hex", f"write {2 * length} of 0-9 and a-f", exit_codes.USAGE)
    return value


def _read(parse: Callable[[str], T], text: str, what: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise Failure(f"{what} cannot be read", str(error), exit_codes.USAGE) from None
