"""The genesis state as JSON: the `app_state` of CometBFT's genesis file.

One form only: every field present, no other field, numbers as decimal strings, keys and digests in lowercase
hexadecimal, addresses as `lc1…`. White space and the order of fields, accounts and validators mean nothing.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.jsonform import ADDRESS_FIELDS, message_to_json

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")


class BadGenesis(ValueError):
    """The genesis state is not usable; the text says where and why."""


def parse_genesis(app_state: bytes) -> pb.Genesis:
    """Return the genesis with accounts and validators in key order. Raises BadGenesis for anything out of form."""
    try:
        data = json.loads(
            app_state.decode("utf-8"), object_pairs_hook=refuse_duplicates, parse_float=_refuse, parse_int=_refuse
        )
    except RecursionError:
        raise BadGenesis("app_state is nested too deeply") from None
    except BadGenesis:
        raise
    except ValueError as error:
        raise BadGenesis(f"app_state is not JSON in UTF-8: {error}") from None
    genesis = pb.Genesis()
    _fill(genesis, data, "app_state")
    return sort_genesis(genesis)


def render_genesis(genesis: pb.Genesis) -> str:
    """Return the JSON of a genesis, indented by 2, for people to read and for `parse_genesis`."""
    return json.dumps(message_to_json(genesis), indent=2) + "\n"


def sort_genesis(genesis: pb.Genesis) -> pb.Genesis:
    """Return the same genesis with accounts and validators in key order, which its encoding depends on."""
    accounts: list[pb.GenesisAccount] = sorted(genesis.accounts, key=lambda account: account.public_key)
    validators: list[pb.GenesisValidator] = sorted(genesis.validators, key=lambda validator: validator.consensus_key)
    return pb.Genesis(params=genesis.params, accounts=accounts, validators=validators)


def refuse_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of a JSON parser's pairs. Raises BadGenesis for a name that comes twice."""
    out: dict[str, Any] = {}
    for name, value in pairs:
        if name in out:
            raise BadGenesis(f"the field {name!r} is given twice")
        out[name] = value
    return out


def _refuse(text: str) -> Any:
    raise BadGenesis(f"write the number {text} as a decimal string")


def _fill(message: Message, data: Any, path: str) -> None:
    if not isinstance(data, dict):
        raise BadGenesis(f"{path} must be an object")
    fields = {field.name: field for field in message.DESCRIPTOR.fields}
    unknown, missing = sorted(data.keys() - fields.keys()), sorted(fields.keys() - data.keys())
    if unknown or missing:
        raise BadGenesis(f"{path}: unknown fields {unknown}, missing fields {missing}")
    for name, field in fields.items():
        _fill_field(message, field, data[name], f"{path}.{name}")


def _fill_field(message: Message, field: Any, data: Any, path: str) -> None:
    if field.is_repeated:
        if not isinstance(data, list):
            raise BadGenesis(f"{path} must be a list")
        for number, item in enumerate(data):
            _fill(getattr(message, field.name).add(), item, f"{path}[{number}]")
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _fill(getattr(message, field.name), data, path)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _parse_scalar(field, data, path))


def _parse_scalar(field: Any, data: Any, path: str) -> int | str | bytes:
    if not isinstance(data, str):
        raise BadGenesis(f"{path} must be a string")
    if field.type == FieldDescriptor.TYPE_UINT64:
        return _parse_number(data, path)
    if field.type == FieldDescriptor.TYPE_STRING:
        if not data.isascii():  # JSON may name half a character, which no encoding has
            raise BadGenesis(f"{path} must be ASCII")
        return data
    if field.name in ADDRESS_FIELDS:
        try:
            return decode_address(data)
        except ValueError as error:
            raise BadGenesis(f"{path}: {error}") from None
    if not _HEX.fullmatch(data):
        raise BadGenesis(f"{path} must be lowercase hexadecimal")
    return bytes.fromhex(data)


def _parse_number(text: str, path: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= 2**64:
        raise BadGenesis(f"{path} must be a decimal number from 0 to 2^64-1 without leading zeros")
    return int(text)
