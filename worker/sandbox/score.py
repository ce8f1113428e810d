"""Reads score.json: bytes of an untrusted image to a loss in units of 1e-9, the same on every machine.

No float is involved, and nothing here takes longer for a longer exponent: `1e3000000` cost minutes in a naive parser.
"""

import json
from typing import NoReturn

from abci_app.protocol.limits import MAX_LOSS
from learningchain import amounts

SCORE_BYTES = 64 * 1024
NESTING = 32  # our own limit: the interpreter's differs between versions


class InvalidScoreError(ValueError):
    """The file holds no valid score; the message says why."""


class _Number(str):
    """A JSON number as it was written; a JSON string is a plain str."""

    __slots__ = ()


def parse_loss(text: str) -> int:
    """Return the decimal number `text` in units of 1e-9, half to even. Raises InvalidScoreError.

    Accepted are at most 40 characters of -?digits[.digits][e±dd], within ±2^62 after conversion.
    """
    try:
        nano = amounts.parse_loss(text)
    except ValueError as error:
        raise InvalidScoreError(str(error)) from None
    if abs(nano) > MAX_LOSS:
        raise InvalidScoreError(f"loss {text} is outside ±2^62 units of 1e-9: normalise it")
    return nano


def parse_score(content: bytes) -> int:
    """Return the loss that score.json announces, in units of 1e-9. Raises InvalidScoreError."""
    if len(content) > SCORE_BYTES:
        raise InvalidScoreError(f"score.json is larger than {SCORE_BYTES} bytes")
    pairs = _parse_object(content)
    losses = [value for key, value in pairs if key == "loss"]
    if len(losses) != 1:
        raise InvalidScoreError(f"score.json must hold loss once, not {len(losses)} times")
    if not isinstance(losses[0], _Number):
        raise InvalidScoreError("loss is not a number")
    return parse_loss(losses[0])


class _Object(list[tuple[str, object]]):
    """A JSON object with its pairs as they were written, duplicates included."""


def _parse_object(content: bytes) -> _Object:
    try:
        text = content.decode("utf-8")
        _check_nesting(text)
        value = json.loads(
            text, parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant, object_pairs_hook=_Object
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidScoreError(f"score.json is not JSON in UTF-8: {error}") from None
    if not isinstance(value, _Object):
        raise InvalidScoreError("score.json is not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidScoreError(f"score.json holds {name}, which is not JSON")


def _check_nesting(text: str) -> None:
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > NESTING:
                raise InvalidScoreError(f"score.json is nested deeper than {NESTING}")
        elif character in "]}":
            depth -= 1
