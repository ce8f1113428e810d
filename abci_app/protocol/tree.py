"""The state tree: compact binary Merkle trees in CometBFT's hashing, updated once per block.

One tree per store. A record's path is SHA-256(state key); the tree splits its leaves by the bits of their paths, and a
subtree with exactly one leaf is that leaf. One tree spans 60 bits (a proof has a 63-bit index). Keys that agree in all
of them go into a further tree over the next 60 bits, chained under a leaf with an empty operation key whose value is
that tree's root, and so on. The root depends on the records alone, never on their history.

Pages (see tree_page) are stored under the first letter of the store's name and the path so far in hexadecimal digits,
one digit for a page's four levels, so a page lies beside its children. In a page the key of a chained leaf is a zero
byte and its page's name; state keys begin with a letter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from abci_app.protocol.keys import STORE_OF, STORES
from abci_app.protocol.tree_page import (
    EMPTY_HASH,
    HASH_BYTES,
    SLOTS,
    TOP,
    Node,
    Page,
    encode_page,
    find_node,
    is_full,
    replace_node,
    replace_slots,
)

MAX_KEY_BYTES: Final = 127
"""Of a state key: its length is one byte in CometBFT's encoding of a leaf."""
TREE_DIGITS: Final = 15
"""Hexadecimal digits of a path that one tree spans."""
ROOTS_PAGE: Final = b"*"
"""Name of the page with the roots of all stores."""

CHAINED: Final = b"\0"
"""First byte of a chained leaf's mark; the name of its tree's top page follows."""
_SLOT_OF: Final = {digit: slot for slot, digit in enumerate(b"0123456789abcdef")}


class TreeError(Exception):
    """The stored tree contradicts itself."""


class PageSource(Protocol):
    """Where stored pages come from."""

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page by its name."""


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What changes in one store's tree; a page of None is deleted."""

    root: bytes
    page_writes: dict[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """What changes in the whole state; a page of None is deleted."""

    app_hash: bytes
    page_writes: dict[bytes, bytes | None]


def hash_leaf(key: bytes, value: bytes) -> bytes:
    """Return the leaf hash that a `simple:v` operation checks. `key` has at most 127 bytes."""
    return hash_leaf_of(key, sha256(value).digest())


def hash_leaf_of(key: bytes, value_hash: bytes) -> bytes:
    """Return the leaf hash of a value of which only the SHA-256 is known."""
    return sha256(b"\0" + bytes((len(key),)) + key + b"\x20" + value_hash).digest()


def get_path(letter: bytes, key: bytes) -> bytes:
    """Return the path of a state key: its store's letter and 64 hexadecimal digits."""
    return letter + sha256(key).hexdigest().encode()


def compute_app_hash(roots: Sequence[bytes]) -> bytes:
    """Return the root of the map from the store names, in order, to their trees' roots."""
    nodes = [hash_leaf(name.encode(), root) for name, root in zip(STORES, roots, strict=True)]
    return compute_list_root(nodes)


def compute_list_root(nodes: Sequence[bytes]) -> bytes:
    """Return CometBFT's root over at least one node hash: the left part is the largest power of two below the whole."""
    if len(nodes) == 1:
        return nodes[0]
    split = 1 << (len(nodes) - 1).bit_length() - 1
    return sha256(b"\1" + compute_list_root(nodes[:split]) + compute_list_root(nodes[split:])).digest()


def load_page(pages: PageSource, name: bytes) -> bytes:
    """Return a page that must exist. Raises TreeError."""
    page = pages.get_page(name)
    if page is None:
        raise TreeError(f"page {name.decode()} of the state tree is missing")
    return page


def get_roots(pages: PageSource) -> list[bytes]:
    """Return the roots of all stores, in the order of STORES. Raises TreeError."""
    page = pages.get_page(ROOTS_PAGE)
    if page is None:
        return [EMPTY_HASH] * len(STORES)
    if len(page) != HASH_BYTES * len(STORES):
        raise TreeError(f"the page of the roots has {len(page)} bytes")
    return [page[at : at + HASH_BYTES] for at in range(0, len(page), HASH_BYTES)]


def update_state(pages: PageSource, changes: Mapping[bytes, bytes | None]) -> StateUpdate:
    """Return the app hash and the changed pages after setting each state key to its value, None to delete it.

    Raises ValueError for a key of no store or above MAX_KEY_BYTES.
    """
    roots = get_roots(pages)
    writes: dict[bytes, bytes | None] = {}
    for store, changed in group_by_store(changes).items():
        update = update_tree(pages, store[:1].encode(), changed)
        roots[STORES.index(store)] = update.root
        writes.update(update.page_writes)
    if writes:
        writes[ROOTS_PAGE] = b"".join(roots)
    return StateUpdate(compute_app_hash(roots), writes)


def group_by_store(changes: Mapping[bytes, bytes | None]) -> dict[str, list[tuple[bytes, bytes | None]]]:
    """Return the changes of each store that has any."""
    groups: dict[str, list[tuple[bytes, bytes | None]]] = {}
    for item in changes.items():
        store = STORE_OF.get(item[0][0]) if item[0] else None
        if store is None:
            raise ValueError(f"state key {item[0].hex()} belongs to no store")
        groups.setdefault(store, []).append(item)
    return groups


def update_tree(pages: PageSource, letter: bytes, changes: Iterable[tuple[bytes, bytes | None]]) -> TreeUpdate:
    """Return one tree's root and changed pages. `letter` names the tree; each key occurs once."""
    entries = []
    for key, value in changes:
        if len(key) > MAX_KEY_BYTES:
            raise ValueError(f"state key {key.hex()} has more than {MAX_KEY_BYTES} bytes")
        leaf = None
        if value is not None:  # hash_leaf, written out: this loop is most of a block's cost
            leaf = sha256(b"\0" + bytes((len(key),)) + key + b"\x20" + sha256(value).digest()).digest()
        entries.append((letter + sha256(key).hexdigest().encode(), key, leaf))
    entries.sort()
    return _Update(pages, letter).run(entries)


Entry = tuple[bytes, bytes, bytes | None]
"""Path, key (or mark of a chained leaf), leaf hash; a leaf hash of None deletes."""


def _split(depth: int, entries: list[Entry]) -> Iterator[tuple[bytes, list[Entry]]]:
    """Yield the entries that share one digit more than `depth`, and these digits."""
    first, count = 0, len(entries)
    while first < count:
        path = entries[first][0]
        last = first + 1
        while last < count and entries[last][0][depth] == path[depth]:
            last += 1
        yield path[: depth + 1], entries[first:last]
        first = last


class _Update:
    """One update of one tree. A depth is a number of hexadecimal digits of the path."""

    __slots__ = ("_letter", "_pages", "_writes")

    def __init__(self, pages: PageSource, letter: bytes) -> None:
        self._pages = pages
        self._letter = letter
        self._writes: dict[bytes, bytes | None] = {}

    def run(self, entries: list[Entry]) -> TreeUpdate:
        """Apply entries sorted by path."""
        if not entries:
            raise ValueError("an update needs at least one change")
        top = self._update_page(0, entries, self._pages.get_page(self._letter))
        if top is None:
            return TreeUpdate(EMPTY_HASH, self._writes)
        root, key = top
        if key is not None:
            self._keep_page(self._letter, root, key)
        return TreeUpdate(root, self._writes)

    def _update_page(self, depth: int, entries: list[Entry], stored: bytes | None) -> Node | None:
        """Apply entries that share their path's first `depth` digits to the page there (None: a new page)."""
        if stored is None:
            return self._update_many(depth + 1, entries, Page(None))
        if is_full(stored):
            return self._update_full(depth + 1, entries, stored)
        if len(entries) == 1:
            return self._update_one(depth + 1, entries, stored)
        return self._update_many(depth + 1, entries, Page(stored))

    def _update_full(self, depth: int, entries: list[Entry], stored: bytes) -> Node | None:
        """Apply entries to a full page, which stays full unless nearly all records under a slot are deleted."""
        inner: list[tuple[int, bytes]] = []
        others: list[tuple[int, Node | None]] = []
        for name, group in _split(depth, entries):
            child = self._update_page(depth, group, load_page(self._pages, name))
            slot = _SLOT_OF[name[depth]]
            if child is not None and child[1] is None:
                inner.append((slot, child[0]))
            else:
                others.append((slot, child))
        name = entries[0][0][:depth]
        if inner:
            stored, top = replace_slots(stored, inner)
        if not others:
            self._writes[name] = stored
            return top, None
        page = Page(stored)
        for slot, child in others:
            page.replace(SLOTS | slot, child)
        return self._close_page(name, page)

    def _update_one(self, depth: int, entries: list[Entry], stored: bytes) -> Node | None:
        """Apply a single entry; the most frequent case, a new value of a present key, without decoding pages."""
        [(path, key, leaf)] = entries
        position, is_leaf = find_node(stored, _SLOT_OF[path[depth]], key)
        if position <= TOP or leaf is None:
            return self._update_many(depth, entries, Page(stored))
        if not is_leaf:
            name = path[: depth + 1]
            child = self._update_page(depth, entries, load_page(self._pages, name))
            if child is None or child[1] is not None:  # a record that is set leaves the others where they were
                raise TreeError(f"page {name.decode()} of the state tree has less than two leaves")
            leaf = child[0]
        self._writes[path[:depth]], top = replace_node(stored, position, leaf)
        return top, None

    def _update_many(self, depth: int, entries: list[Entry], page: Page) -> Node | None:
        """Apply entries to a decoded page. `depth` is that of its slots."""
        nodes, leaves = page.nodes, page.leaves
        for name, group in _split(depth, entries):
            slot = _SLOT_OF[name[depth]]
            position = page.find(slot)
            _, key, leaf = group[0]
            if len(group) == 1 and leaf is not None and leaves.get(position) == key:
                nodes[position] = leaf
                page.stale |= 1 << (position >> 1)
            elif position < SLOTS or position in leaves:
                self._update_leaf(depth, group, page, slot)
            else:
                page.replace(position, self._update_page(depth, group, load_page(self._pages, name)))
        return self._close_page(entries[0][0][:depth], page)

    def _update_leaf(self, depth: int, entries: list[Entry], page: Page, slot: int) -> None:
        """Apply entries to a slot that is empty or has a leaf at or above it."""
        position = page.find(slot)
        key = page.leaves.get(position)
        other = slot if key is None else _SLOT_OF[self._get_leaf_path(key)[depth]]
        if key is None or other != slot:
            node = self._merge(depth, entries, None)
            if node is not None:
                page.place(slot, node, other)
            return
        node = self._merge(depth, entries, (page.nodes[position], key))
        if node is None:
            page.remove(position)
        elif node[1] is not None:
            page.set(position, node)
        else:
            del page.leaves[position]
            page.reshaped = True
            page.set(SLOTS | slot, node)

    def _close_page(self, name: bytes, page: Page) -> Node | None:
        """Write a page, or delete it when nothing or a single leaf is left of it."""
        page.rehash()
        top = page.nodes.get(TOP)
        if top is None or TOP in page.leaves:
            self._writes[name] = None
            return None if top is None else (top, page.leaves[TOP])
        self._writes[name] = page.encode()
        return top, None

    def _merge(self, depth: int, entries: list[Entry], before: Node | None) -> Node | None:
        """Apply entries to a subtree without inner nodes: empty, or one leaf."""
        merged = entries
        leaf, key = (b"", None) if before is None else before
        if key is not None:
            if key[:1] == CHAINED:
                merged = self._merge_chained(entries, (leaf, key))
            elif all(changed != key for _, changed, _ in entries):
                merged = sorted([*entries, (get_path(self._letter, key), key, leaf)])
        return self._build(depth, [entry for entry in merged if entry[2] is not None])

    def _merge_chained(self, entries: list[Entry], before: tuple[bytes, bytes]) -> list[Entry]:
        """Apply the entries that belong under a chained leaf; return the others and what it becomes."""
        name = before[1][1:]
        inside = [entry for entry in entries if entry[0].startswith(name)]
        outside = [entry for entry in entries if not entry[0].startswith(name)]
        node: Node | None = before
        if inside:
            node = self._chain(name, self._update_page(len(name) - 1, inside, load_page(self._pages, name)))
        if node is not None and node[1] is not None:
            outside.append((self._get_leaf_path(node[1]), node[1], node[0]))
        return sorted(outside)

    def _build(self, depth: int, entries: list[Entry]) -> Node | None:
        """Return the subtree of exactly these leaves, sorted by path, writing its pages."""
        if len(entries) <= 1:
            for _, key, leaf in entries:
                return None if leaf is None else (leaf, key)
            return None
        name = entries[0][0][: depth + 1]
        top = self._update_page(depth, entries, None)
        return self._chain(name, top) if depth % TREE_DIGITS == 0 else top

    def _chain(self, name: bytes, top: Node | None) -> Node | None:
        """Return a further tree as the leaf of the tree above it, or its only record if there is just one."""
        if top is None:
            return None
        root, key = top
        if key is not None:
            if key[:1] != CHAINED:
                return top
            self._keep_page(name, root, key)
        return hash_leaf(b"", root), CHAINED + name

    def _keep_page(self, name: bytes, root: bytes, key: bytes) -> None:
        """Write the top page of a tree with a single leaf; any other page with a single leaf vanishes."""
        self._writes[name] = encode_page({TOP: root}, {TOP: key})

    def _get_leaf_path(self, key: bytes) -> bytes:
        return key[1:] if key[:1] == CHAINED else get_path(self._letter, key)
