"""The upper pages of the state tree, made anew from the nodes below them.

They change in nearly every block and say nothing that the nodes under them do not say, so a store may hold them in
memory only.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import groupby

from abci_app.protocol.tree_page import EMPTY_HASH, SLOTS, TOP, Node, encode_page

_SLOT_OF = {digit: SLOTS | slot for slot, digit in enumerate(b"0123456789abcdef")}


def build_upper_pages(nodes: Iterable[tuple[bytes, Node]]) -> dict[bytes, bytes]:
    """Return all pages above some depth by name, from the nodes there that are not empty.

    `nodes` are in ascending order of the names that pages of theirs have or would have (see tree), which are equally
    long, of at least two bytes, and reach no deeper than one tree. The pages are those that updates would have left.
    """
    pages: dict[bytes, bytes] = {}
    level = nodes
    while True:
        above: list[tuple[bytes, Node]] = []
        for name, below in groupby(level, key=lambda item: item[0][:-1]):
            page, top = _build_page({_SLOT_OF[child[-1]]: node for child, node in below})
            above.append((name, top))
            if top[1] is None or len(name) == 1:  # a page with a single leaf vanishes, but not the top of a tree
                pages[name] = page
        if not above or len(above[0][0]) == 1:
            return pages
        level = above


def _build_page(below: Mapping[int, Node]) -> tuple[bytes, Node]:
    """Return a page, and its top, from what its slots hold by position."""
    nodes = {position: node for position, (node, _) in below.items()}
    leaves = {position: key for position, (_, key) in below.items() if key is not None}
    for position in range(SLOTS - 1, 0, -1):
        children = [child for child in (2 * position, 2 * position + 1) if child in nodes]
        if len(children) == 1 and children[0] in leaves:
            nodes[position] = nodes.pop(children[0])
            leaves[position] = leaves.pop(children[0])
        elif children:
            left, right = (nodes.get(child, EMPTY_HASH) for child in (2 * position, 2 * position + 1))
            nodes[position] = sha256(b"\1" + left + right).digest()
    return encode_page(nodes, leaves), (nodes[TOP], leaves.get(TOP))
