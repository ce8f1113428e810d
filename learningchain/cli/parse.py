"""From words on the command line to values; every refusal says what to write instead."""

import math
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import typer

from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.errors import BadText
from abci_app.protocol.limits import MAX_MARGIN
from abci_app.protocol.text import check_text
from learningchain.amounts import format_loss, parse_credits, parse_duration, parse_loss
from learningchain.cli import exit_codes
from learningchain.cli.failure import Failure
from learningchain.cli.session import Session

T = TypeVar("T")

MAX_UINT64: Final = 2**64 - 1
"""Largest whole number in a transaction or a question."""

JobId = Annotated[int, typer.Argument(min=1, help="Number of the job")]
Registries = Annotated[
    list[str] | None,
    typer.Option("--registry", help="Host of an image that is asked at a private address too; may be repeated"),
]


def check_given(value: object) -> None:
    """Refuse what can be typed, but neither sent nor written nor waited for. Raises Failure."""
    if isinstance(value, list):
        for item in value:
            check_given(item)
    elif isinstance(value, str) and not is_text(value):
        raise Failure(f"{value!r} is not UTF-8 text", "write it in UTF-8", exit_codes.USAGE)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Failure(f"{value} is not a number to count with", "write a finite number", exit_codes.USAGE)
    elif isinstance(value, int) and abs(value) > MAX_UINT64:
        raise Failure(f"{value} has more than 64 bits", f"write a number up to {MAX_UINT64}", exit_codes.USAGE)


def is_text(text: str) -> bool:
    """Tell whether text can be written as UTF-8; bytes from outside that are not UTF-8 become what cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_text(text: str, most_bytes: int, what: str) -> str:
    """Return text that a transaction can carry. Raises Failure."""
    try:
        check_text(text, most_bytes)
    except BadText:
        raise Failure(
            f"{what} cannot be taken: it has {len(text.encode('utf-8'))} bytes",
            f"write at most {most_bytes} bytes of text without line breaks and other control characters",
            exit_codes.USAGE,
        ) from None
    return text


def read_credits(text: str, what: str = "the amount") -> int:
    """Return ucredit. Raises Failure."""
    return _read(parse_credits, text, what)


def read_loss(text: str, what: str = "the loss") -> int:
    """Return units of 1e-9. Raises Failure."""
    return _read(parse_loss, text, what)


def read_margin(text: str, what: str) -> int:
    """Return units of 1e-9 of a difference between losses. Raises Failure."""
    nano = read_loss(text, what)
    if not 0 <= nano <= MAX_MARGIN:
        raise Failure(
            f"{what} cannot be {text}", f"write a number from 0 to {format_loss(MAX_MARGIN)}", exit_codes.USAGE
        )
    return nano


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
