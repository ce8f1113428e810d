"""Records and messages as JSON objects, and back: what the query views show and the tools print.

Integers of 64 bits are decimal strings (JavaScript would round them), addresses bech32, other bytes lower-case hex,
enums their name without prefix. Every field is present; an unset sub-message is null.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from abci_app.protocol.bech32 import decode_address, encode_address

M = TypeVar("M", bound=Message)

ADDRESS_FIELDS: Final = frozenset({"account", "contractor", "excluded", "operator", "to", "winner"})
"""Names of the bytes fields that hold addresses."""
_INT64: Final = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def message_to_json(message: Message) -> dict[str, Any]:
    """Return the JSON object of a record or message."""
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            out[field.name] = [_value_to_json(field, item) for item in getattr(message, field.name)]
        elif field.message_type is None or message.HasField(field.name):
            out[field.name] = _value_to_json(field, getattr(message, field.name))
        elif field.containing_oneof is None:
            out[field.name] = None
    return out


def message_from_json(data: Mapping[str, Any], kind: type[M]) -> M:
    """Return the message of a JSON object; absent fields keep their default. Raises ValueError with a reason."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.DESCRIPTOR.name} is not a JSON object")
    message = kind()
    for name, value in data.items():
        field = kind.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise ValueError(f"{kind.DESCRIPTOR.name} has no field {name!r}")
        if value is not None:
            _set_field(message, field, value)
    return message


def bytes_to_json(name: str, value: bytes) -> str:
    """Return the text of a bytes field called `name`."""
    return encode_address(value) if value and name in ADDRESS_FIELDS else value.hex()


def enum_to_json(enum: EnumDescriptor, number: int) -> str:
    """Return the name of an enum's value without the enum's prefix."""
    value = enum.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(_get_prefix(enum))


def enum_from_json(enum: EnumDescriptor, text: str) -> int:
    """Return the number of an enum's value. Raises ValueError with the names there are."""
    value = enum.values_by_name.get(_get_prefix(enum) + text)
    if value is None:
        names = ", ".join(name.removeprefix(_get_prefix(enum)) for name in enum.values_by_name)
        raise ValueError(f"{text!r} is none of {names}")
    return value.number


def _get_prefix(enum: EnumDescriptor) -> str:
    """Return the prefix of the names of an enum's values: `JOB_STATE_` for JobState."""
    unspecified: str = enum.values_by_number[0].name
    return unspecified.removesuffix("UNSPECIFIED")


def _value_to_json(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return message_to_json(value)
    if field.enum_type is not None:
        return enum_to_json(field.enum_type, value)
    if isinstance(value, bytes):
        return bytes_to_json(field.name, value)
    return str(value) if field.cpp_type in _INT64 else value


def _set_field(message: Message, field: Any, value: Any) -> None:
    try:
        if not field.is_repeated:
            _set_value(message, field, value)
            return
        if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
            raise ValueError("a list is expected")
        target = getattr(message, field.name)
        for item in value:
            if field.message_type is None:
                target.append(_value_from_json(field, item))
            else:
                added = target.add()
                added.CopyFrom(message_from_json(item, type(added)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field.name}: {error}") from None


def _set_value(message: Message, field: Any, value: Any) -> None:
    if field.message_type is None:
        setattr(message, field.name, _value_from_json(field, value))
        return
    target = getattr(message, field.name)
    target.CopyFrom(message_from_json(value, type(target)))
    target.SetInParent()


def _value_from_json(field: Any, value: Any) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    if field.enum_type is not None:
        return enum_from_json(field.enum_type, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return decode_address(value) if value and field.name in ADDRESS_FIELDS else _parse_hex(value)
    return _parse_integer(value) if field.cpp_type in _INT64 else value


def _parse_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not hex") from None


def _parse_integer(text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 20:
        raise ValueError(f"{text[:80]!r} is not a decimal integer of 64 bits")
    return int(text)
