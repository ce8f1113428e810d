"""The state tree computed from scratch, slowly and by its definition alone, and a dict as a source of pages."""

from collections.abc import Mapping
from hashlib import sha256

from abci_app.protocol import keys

EMPTY = sha256(b"").digest()
PATH_BITS = 256
TREE_BITS = 60
TWINS = [
    bytes.fromhex("610000000000000000000000000c67fa076b3558ab"),
    bytes.fromhex("6100000000000000000000000007f7cba0ce30cd15"),
]
"""Different keys with the same first 60 bits of their paths, found by a search of 2^31 hashes."""


class DictPages(dict[bytes, bytes]):
    """Pages in memory."""

    def get_page(self, key: bytes) -> bytes | None:
        return self.get(key)

    def write(self, writes: Mapping[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value


class DictState:
    """Records and pages of one state in memory, to prove from."""

    def __init__(self, records: Mapping[bytes, bytes], pages: DictPages) -> None:
        self.records = records
        self.get_page = pages.get_page

    def get(self, key: bytes) -> bytes | None:
        return self.records.get(key)


def hash_leaf(key: bytes, value: bytes) -> bytes:
    return sha256(b"\0" + bytes([len(key)]) + key + b"\x20" + sha256(value).digest()).digest()


def get_bits(key: bytes) -> str:
    return f"{int.from_bytes(sha256(key).digest(), 'big'):0{PATH_BITS}b}"


def compute_root(records: Mapping[bytes, bytes], tree_bits: int = TREE_BITS) -> bytes:
    """Return the root of one store's tree, of trees that span `tree_bits` of the path each."""
    return _root_of_tree({get_bits(key): (key, value) for key, value in records.items()}, 0, tree_bits)


def compute_app_hash(records: Mapping[bytes, bytes]) -> bytes:
    """Return the app hash of a whole state."""
    stores: dict[str, dict[bytes, bytes]] = {name: {} for name in keys.STORES}
    for key, value in records.items():
        stores[keys.STORE_OF[key[0]]][key] = value
    leaves = [hash_leaf(name.encode(), compute_root(stores[name])) for name in sorted(stores)]
    a, b, c, d, e = leaves
    return hash_inner(hash_inner(hash_inner(a, b), hash_inner(c, d)), e)


def hash_inner(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def _root_of_tree(records: Mapping[str, tuple[bytes, bytes]], start: int, size: int) -> bytes:
    places: dict[str, dict[str, tuple[bytes, bytes]]] = {}
    for path, record in records.items():
        places.setdefault(path[start : start + size], {})[path] = record
    leaves = {}
    for place, under in places.items():
        if len(under) == 1:
            [(key, value)] = under.values()
            leaves[place] = hash_leaf(key, value)
        else:
            leaves[place] = hash_leaf(b"", _root_of_tree(under, start + size, size))
    return _root_of_leaves(leaves, 0)


def _root_of_leaves(leaves: Mapping[str, bytes], depth: int) -> bytes:
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return next(iter(leaves.values()))
    left, right = ({place: leaf for place, leaf in leaves.items() if place[depth] == bit} for bit in "01")
    return hash_inner(_root_of_leaves(left, depth + 1), _root_of_leaves(right, depth + 1))
