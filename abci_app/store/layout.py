"""Keys of the database that holds the state: records and pages of the tree, both in the order of the tree's paths.

So a record lies beside its leaf, and a block that changes it dirties one neighbourhood of the file instead of two. A
page is found under its name, which is a store's letter and digits of the path (see protocol.tree); a record under the
name that a page of its path would have, a slash, and its state key. No name of a page has a slash.
"""

from typing import Final

from abci_app.protocol.keys import STORE_OF
from abci_app.protocol.tree import get_path
from abci_app.store.interface import Writes

RECORD_DIGITS: Final = 6
"""Hexadecimal digits of the path before a record: beyond 16 million records several of them share a place."""
MAX_UPPER_DIGITS: Final = RECORD_DIGITS - 1
"""How deep the upper pages may reach, so that a record is found below them."""
FIRST_STORE: Final = b"a"
"""Not above any store's letter; only the page of the roots comes before."""
END_OF_NAMES: Final = b"\xff"
"""Above whatever follows a name in a longer key of its neighbourhood."""

_LETTER_OF: Final = {bytes((first,)): store[:1].encode() for first, store in STORE_OF.items()}
_SLASH: Final = b"/"
_SLASH_AT: Final = 1 + RECORD_DIGITS


def get_letter(key: bytes) -> bytes:
    """Return the letter of a state key's store, of which only the first byte counts; empty if it has none."""
    return _LETTER_OF.get(key[:1], b"")


def locate_record(key: bytes) -> bytes:
    """Return where the record under a state key is stored."""
    return get_path(get_letter(key), key)[:_SLASH_AT] + _SLASH + key


def locate_records(records: Writes) -> dict[bytes, bytes | None]:
    """Return changed records by where they are stored."""
    return {locate_record(key): value for key, value in records.items()}


def get_record_key(entry: bytes) -> bytes | None:
    """Return the state key of what is stored under `entry`, None if that is a page."""
    return entry[_SLASH_AT + 1 :] if entry[_SLASH_AT : _SLASH_AT + 1] == _SLASH else None
