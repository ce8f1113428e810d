"""Credits, losses and durations as people write them. Exact decimal arithmetic, no float anywhere."""

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from abci_app.protocol.limits import MAX_INT64, RESERVED_LOSS

CREDIT_DECIMALS: Final = 6
LOSS_DECIMALS: Final = 9
MAX_TEXT: Final = 40
"""Longest number accepted, in characters."""
_CREDITS: Final = re.compile(r"[0-9]{1,13}(\.[0-9]{1,6})?", re.ASCII)
_LOSS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)
_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NO_SCORE: Final = "no score"


def parse_credits(text: str) -> int:
    """Return ucredit for a number of credits with up to 6 decimals. Raises ValueError with a reason."""
    if not _CREDITS.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount in credits: write a number with up to 6 decimals, like 12.5")
    ucredit = int(Decimal(text).scaleb(CREDIT_DECIMALS))
    if ucredit > MAX_INT64:
        raise ValueError(f"{text} credits are more than can exist")
    return ucredit


def format_credits(ucredit: int) -> str:
    """Return credits without needless zeros: 1500000 is `1.5`."""
    return _format(ucredit, CREDIT_DECIMALS)


def parse_loss(text: str) -> int:
    """Return units of 1e-9 for a decimal loss, rounded half to even. Raises ValueError with a reason."""
    if len(text) > MAX_TEXT or not _LOSS.fullmatch(text):
        raise ValueError(f"{text[:MAX_TEXT]!r} is not a loss: write a decimal number like 0.0931")
    with localcontext() as context:
        context.prec = 200
        nano = int(Decimal(text).scaleb(LOSS_DECIMALS).to_integral_value(ROUND_HALF_EVEN))
    if abs(nano) > MAX_INT64:
        raise ValueError(f"the loss {text} is too large: use a normalised metric")
    return nano


def format_loss(nano: int) -> str:
    """Return a loss as decimal text; the reserved loss of a run without a score says so."""
    return _NO_SCORE if nano == RESERVED_LOSS else _format(nano, LOSS_DECIMALS)


def parse_duration(text: str) -> int:
    """Return milliseconds for `40s`, `90m`, `3h`, `2d` or `500ms`. Raises ValueError with a reason."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number with s, m, h or d, like 90m")
    return int(match[1]) * _MS[match[2]]


def format_duration(ms: int) -> str:
    """Return a duration in its two largest units: `2d 3h`, `4m 10s`, `7s`."""
    seconds = max(0, ms) // 1000
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _format(value: int, decimals: int) -> str:
    whole, part = divmod(abs(value), 10**decimals)
    digits = f"{part:0{decimals}d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' + digits if digits else ''}"
