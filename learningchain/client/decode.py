"""Answers of query views, taken apart strictly: what does not fit is a BadAnswer."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import Message

from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.jsonform import message_from_json
from learningchain.client.errors import BadAnswer

M = TypeVar("M", bound=Message)


def parse_object(value: bytes) -> dict[str, Any]:
    """Return the JSON object of a view. Raises BadAnswer."""
    try:
        parsed = json.loads(value, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadAnswer("the node's view is not JSON") from None
    if not isinstance(parsed, dict):
        raise BadAnswer("the node's view is not a JSON object")
    return parsed


def _refuse(number: str) -> NoReturn:
    """Take no view for JSON that has what no view has, and other JSON does not know: NaN, or 1e999 for infinity."""
    raise ValueError(f"{number} is no whole number")


def get_record(view: Mapping[str, Any], name: str, kind: type[M]) -> M:
    """Return the record under `name`. Raises BadAnswer saying which field does not fit."""
    try:
        return message_from_json(view.get(name) or {}, kind)
    except ValueError as error:
        raise BadAnswer(f"the node's view has an unusable {name}: {error}") from None


def get_records(view: Mapping[str, Any], name: str, kind: type[M]) -> list[M]:
    """Return a list of records. Raises BadAnswer."""
    return [get_record({name: item}, name, kind) for item in get_list(view, name)]


def get_list(view: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects. Raises BadAnswer."""
    value = view.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadAnswer(f"the node's view has no list of {name}")
    return value


def get_text(view: Mapping[str, Any], name: str) -> str:
    """Return a text field. Raises BadAnswer."""
    value = view.get(name)
    if not isinstance(value, str):
        raise BadAnswer(f"the node's view has no {name}")
    return value


def get_int(view: Mapping[str, Any], name: str) -> int:
    """Return a whole number, written as text if it has 64 bits. Raises BadAnswer."""
    value = view.get(name)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal() and len(text) <= 20):
        raise BadAnswer(f"the node's view has no number {name}")
    return int(text)


def get_bytes(view: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes of an address (`lc1…`) or of hex. Raises BadAnswer."""
    text = get_text(view, name)
    try:
        return decode_address(text) if text.startswith("lc1") else bytes.fromhex(text)
    except ValueError:
        raise BadAnswer(f"the node's view has an unusable {name}") from None
