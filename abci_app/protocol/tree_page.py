"""Pages of the state tree: four levels of it, stored as one value.

Nodes have positions as in a binary heap: 1 is the page's top, the children of p are 2p and 2p + 1, and 16 … 31 are the
sixteen slots four levels below the top. Only non-empty nodes are kept. A leaf stands where its subtree begins to hold
nothing else, at any position; an inner node (two or more leaves) in a slot has a page of its own.

Stored: number of nodes, number of leaves, positions (leaves first), lengths of the leaves' keys, hashes, keys.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from struct import Struct
from typing import Final

TOP: Final = 1
SLOTS: Final = 16
HASH_BYTES: Final = 32
EMPTY_HASH: Final = sha256(b"").digest()
"""Hash of a subtree without leaves."""

Node = tuple[bytes, bytes | None]
"""A subtree that is not empty: its hash, and if it is a leaf, its key."""

_HEADER_BYTES: Final = 2
_FULL: Final = bytes((2 * SLOTS - 1, 0))
"""How a page begins of which every slot holds an inner node."""
_FULL_AT: Final = _HEADER_BYTES + len(range(TOP, 2 * SLOTS)) - HASH_BYTES * TOP
"""Where the hash of position 0 would stand in such a page."""
_POSITIONS: Final = (1 << SLOTS) - (1 << TOP)
"""Bits of the positions above the slots."""
_HASHES: Final = tuple(Struct("32s" * count) for count in range(2 * SLOTS))


@cache
def _get_keys_struct(lengths: bytes) -> Struct:
    return Struct("".join(f"{length}s" for length in lengths))


class Page:
    """One page, decoded. Every change goes on to the top when `rehash` is called."""

    __slots__ = ("_stored", "leaves", "nodes", "reshaped", "stale")

    def __init__(self, stored: bytes | None) -> None:
        """Decode a stored page; None is an empty one."""
        self.nodes: dict[int, bytes] = {}
        """Hashes by position."""
        self.leaves: dict[int, bytes] = {}
        """Keys of the nodes that are leaves, by position."""
        self.stale = 0
        """Bit p is set if the inner node at p must be hashed again."""
        self.reshaped = stored is None
        """Whether positions or keys changed since decoding."""
        self._stored = stored
        if stored is None:
            return
        count, leaf_count = stored[0], stored[1]
        lengths_at = _HEADER_BYTES + count
        hashes_at = lengths_at + leaf_count
        positions = stored[_HEADER_BYTES:lengths_at]
        self.nodes = dict(zip(positions, _HASHES[count].unpack_from(stored, hashes_at), strict=True))
        if leaf_count:
            keys = _get_keys_struct(stored[lengths_at:hashes_at])
            self.leaves = dict(zip(positions, keys.unpack_from(stored, hashes_at + HASH_BYTES * count), strict=False))

    def find(self, slot: int) -> int:
        """Return the position of the lowest node at or above a slot, 0 if the page is empty."""
        position = SLOTS | slot
        while position and position not in self.nodes:
            position >>= 1
        return position

    def set(self, position: int, node: Node) -> None:
        """Put a subtree where it belongs: no other leaf may stand at, above or below. What is above becomes inner."""
        self.nodes[position], key = node
        if self.leaves.get(position) != key or self.reshaped:
            self.reshaped = True
            self.leaves.pop(position, None)
            if key is not None:
                self.leaves[position] = key
        position >>= 1
        self.stale |= 1 << position
        while position and position not in self.nodes:
            self.nodes[position] = b""
            position >>= 1

    def place(self, slot: int, node: Node, other: int) -> None:
        """Add a subtree to a slot that has no node. `other` is the slot to which a leaf at `find(slot)` belongs."""
        self.reshaped = True
        place = SLOTS | slot
        above = self.find(slot)
        if above in self.leaves:
            down = (slot ^ other).bit_length() - 1
            pushed = self.nodes.pop(above), self.leaves.pop(above)
            self.set((SLOTS | other) >> down, pushed)
            own = place >> down
        else:
            own = place
            while own >> 1 != above:
                own >>= 1
        self.set(own if node[1] is not None else place, node)

    def remove(self, position: int) -> None:
        """Take a subtree out and let a leaf that is now alone rise."""
        del self.nodes[position]
        self.leaves.pop(position, None)
        self.settle(position >> 1)

    def settle(self, position: int) -> None:
        """Restore the rule that a subtree with exactly one leaf is that leaf, from an inner node upwards."""
        self.reshaped = True
        while position:
            children = [child for child in (2 * position, 2 * position + 1) if child in self.nodes]
            if len(children) > 1 or any(child not in self.leaves for child in children):
                self.stale |= 1 << position
                return
            self.nodes.pop(position, None)
            for child in children:
                self.nodes[position] = self.nodes.pop(child)
                self.leaves[position] = self.leaves.pop(child)
            position >>= 1

    def replace(self, position: int, node: Node | None) -> None:
        """Put what has become of the inner node in a slot."""
        if node is None:
            self.remove(position)
            return
        self.set(position, node)
        if node[1] is not None:
            self.settle(position >> 1)

    def rehash(self) -> None:
        """Bring all inner nodes up to date, each hashed once."""
        nodes, stale = self.nodes, self.stale
        get = nodes.get
        while stale > 1:  # bit 0 stands for what is above the top
            position = stale.bit_length() - 1
            stale ^= 1 << position
            left, right = get(2 * position), get(2 * position + 1)
            if left or right:  # else it is a leaf, or nothing any more
                nodes[position] = sha256(b"\1" + (left or EMPTY_HASH) + (right or EMPTY_HASH)).digest()
            stale |= 1 << (position >> 1)
        self.stale = 0

    def encode(self) -> bytes:
        """Return the stored form; equal pages give equal bytes. Keys have at most 255 bytes."""
        stored = self._stored
        if stored is None or self.reshaped:
            return encode_page(self.nodes, self.leaves)
        hashes_at = _HEADER_BYTES + stored[0] + stored[1]
        return stored[:hashes_at] + b"".join(self.nodes.values()) + stored[hashes_at + HASH_BYTES * stored[0] :]


def find_node(stored: bytes, slot: int, key: bytes) -> tuple[int, bool]:
    """Return the position of the leaf with this key and True, or of the inner node in this slot and False, or 0."""
    count, leaf_count = stored[0], stored[1]
    lengths_at = _HEADER_BYTES + count
    positions = stored[_HEADER_BYTES:lengths_at]
    position = SLOTS | slot
    while position and position not in positions:
        position >>= 1
    index = positions.find(position)
    if index >= leaf_count:
        return (position if position >= SLOTS else 0), False
    hashes_at = lengths_at + leaf_count
    key_at = hashes_at + HASH_BYTES * count + sum(stored[lengths_at : lengths_at + index])
    return (position if stored[key_at : key_at + stored[lengths_at + index]] == key else 0), True


def get_top(stored: bytes) -> bytes | None:
    """Return the hash at the top of a stored page, None if this cannot be a page."""
    index = stored[_HEADER_BYTES : _HEADER_BYTES + stored[0]].find(TOP) if stored else -1
    at = sum(stored[:_HEADER_BYTES]) + _HEADER_BYTES + HASH_BYTES * index
    top = stored[at : at + HASH_BYTES]
    return top if index >= 0 and len(top) == HASH_BYTES else None


def replace_node(stored: bytes, position: int, node: bytes) -> tuple[bytes, bytes]:
    """Return a stored page with another hash at one position, all above it hashed again, and the top's hash.

    Does what Page does for one change that leaves all positions and keys as they are, in half the time.
    """
    count = stored[0]
    hashes_at = _HEADER_BYTES + count + stored[1]
    positions = stored[_HEADER_BYTES : _HEADER_BYTES + count]
    page = bytearray(stored)
    at = hashes_at + HASH_BYTES * positions.find(position)
    page[at : at + HASH_BYTES] = node
    while position > TOP:
        beside = positions.find(position ^ 1)
        at = hashes_at + HASH_BYTES * beside
        other = stored[at : at + HASH_BYTES] if beside >= 0 else EMPTY_HASH
        node = sha256(b"\1" + other + node if position & 1 else b"\1" + node + other).digest()
        position >>= 1
        at = hashes_at + HASH_BYTES * positions.find(position)
        page[at : at + HASH_BYTES] = node
    return bytes(page), node


def is_full(stored: bytes) -> bool:
    """Tell whether all slots of a stored page hold inner nodes, as in all but the lowest pages of a large tree."""
    return stored.startswith(_FULL)


def replace_slots(stored: bytes, changes: Iterable[tuple[int, bytes]]) -> tuple[bytes, bytes]:
    """Return a full page with other hashes in some slots, all above them hashed again, and the top's hash.

    In a full page nodes stand in the order of their positions, so two children lie side by side.
    """
    page = bytearray(stored)
    stale = 0
    for slot, node in changes:
        at = _FULL_AT + HASH_BYTES * (SLOTS | slot)
        page[at : at + HASH_BYTES] = node
        stale |= 1 << ((SLOTS | slot) >> 1)
    while stale:
        position = stale.bit_length() - 1
        at = _FULL_AT + 2 * HASH_BYTES * position
        node = sha256(b"\1" + page[at : at + 2 * HASH_BYTES]).digest()
        at = _FULL_AT + HASH_BYTES * position
        page[at : at + HASH_BYTES] = node
        stale = (stale ^ 1 << position | 1 << (position >> 1)) & _POSITIONS
    return bytes(page), node


def encode_page(nodes: Mapping[int, bytes], leaves: Mapping[int, bytes]) -> bytes:
    """Return the stored form of a page with these hashes and leaf keys by position."""
    leaf_positions = sorted(leaves)
    positions = [*leaf_positions, *(position for position in sorted(nodes) if position not in leaves)]
    keys = [leaves[position] for position in leaf_positions]
    head = bytes((len(positions), len(keys), *positions, *(len(key) for key in keys)))
    return b"".join((head, *(nodes[position] for position in positions), *keys))
