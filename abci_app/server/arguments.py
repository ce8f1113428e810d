"""Arguments of views, from text. Every function raises QueryError with what is expected."""

from collections.abc import Collection, Mapping

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.jsonform import enum_from_json
from abci_app.protocol.limits import KEY_BYTES, MAX_INT64
from abci_app.server.query import BAD_ARGUMENT, QueryError, Question

_JOB_STATE = pb.JobState.DESCRIPTOR


def require_parts(question: Question, *names: str) -> tuple[str, ...]:
    """Return the parts of the path, as many as there are names for them."""
    if len(question.parts) != len(names):
        expected = "".join(f"/<{name}>" for name in names) or "nothing"
        raise QueryError(BAD_ARGUMENT, f"the path needs {expected} after the view's name")
    return question.parts


def require_options(question: Question, allowed: Collection[str]) -> Mapping[str, str]:
    """Return the options, none but those allowed."""
    for name in question.options:
        if name not in allowed:
            raise QueryError(BAD_ARGUMENT, f"there is no option {name!r}; there are {', '.join(allowed) or 'none'}")
    return question.options


def parse_number(text: str, name: str) -> int:
    """Return a whole number from 0 to 2^63-1."""
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > MAX_INT64:
        raise QueryError(BAD_ARGUMENT, f"{name} is a whole number, not {text[:40]!r}")
    return int(text)


def parse_account(text: str) -> bytes:
    """Return an address."""
    try:
        return decode_address(text)
    except ValueError as error:
        raise QueryError(BAD_ARGUMENT, f"{text[:80]!r} is no address: {error}") from error


def parse_key(text: str) -> bytes:
    """Return a public key from 64 hex digits."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or len(text) != 2 * KEY_BYTES:
        raise QueryError(BAD_ARGUMENT, f"a public key is written with {2 * KEY_BYTES} hex digits")
    return key


def parse_job_states(text: str) -> frozenset[int]:
    """Return the job states of `OPEN,REVEAL`; all of them for an empty text."""
    names = text.split(",") if text else [value.name.removeprefix("JOB_STATE_") for value in _JOB_STATE.values]
    try:
        return frozenset(enum_from_json(_JOB_STATE, name) for name in names)
    except ValueError as error:
        raise QueryError(BAD_ARGUMENT, f"state: {error}") from error
