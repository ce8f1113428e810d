"""Building of proofs from the pages of the state tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from abci_app.pb.learningchain.v1.proof_pb2 import AbsenceOp
from abci_app.pb.tendermint.crypto.proof_pb2 import Proof, ProofOp, ProofOps, ValueOp
from abci_app.protocol.keys import STORE_OF, STORES
from abci_app.protocol.tree import (
    CHAINED,
    MAX_KEY_BYTES,
    compute_list_root,
    get_path,
    get_roots,
    hash_leaf,
    load_page,
)
from abci_app.protocol.tree_page import EMPTY_HASH, SLOTS, TOP, Page

PRESENT: Final = "simple:v"
ABSENT: Final = "learningchain:absent:v1"
"""Types of operations."""


class ProofSource(Protocol):
    """State of one height to prove from."""

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a state key."""

    def get_page(self, key: bytes) -> bytes | None:
        """Return a page of the state tree."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The way through one tree, to where it ends or to a further tree."""

    aunts: tuple[bytes, ...]
    """Hashes beside the way, from the root down."""
    index: int
    """The directions taken, 1 bit each."""
    node: bytes
    """Hash of what stands at the end."""
    key: bytes | None
    """Its state key, or the mark of a chained leaf. None: it is empty."""


def prove(source: ProofSource, key: bytes) -> ProofOps:
    """Return the proof of the record under a state key, or of its absence. Raises ValueError for a key of no store."""
    store = get_store(key)
    letter = store[:1].encode()
    branches = _walk(source, get_path(letter, key))
    end = branches[-1].key
    if end == key:
        first = _make_value_op(key, branches[-1])
    else:
        witness = b""
        if end is not None:
            witness = _find_record(source, end)
            branches = _walk(source, get_path(letter, witness))
        first = _make_absence_op(source, witness, branches[-1])
    chained = [_make_value_op(b"", branch) for branch in reversed(branches[:-1])]
    return ProofOps(ops=[first, *chained, _make_store_op(get_roots(source), store)])


def get_store(key: bytes) -> str:
    """Return the name of a state key's store. Raises ValueError if it has none."""
    store = STORE_OF.get(key[0]) if key else None
    if store is None or len(key) > MAX_KEY_BYTES:
        raise ValueError(f"{key.hex() or 'the empty key'} is no state key")
    return store


def _walk(source: ProofSource, path: bytes) -> list[Branch]:
    """Return the way to the end of a path, one branch per tree, outermost first."""
    branches = [_descend(source, path, 0)]
    while (key := branches[-1].key) is not None and key[:1] == CHAINED and path.startswith(key[1:]):
        branches.append(_descend(source, path, len(key) - 2))
    return branches


def _descend(source: ProofSource, path: bytes, depth: int) -> Branch:
    """Follow a path through the tree whose top page is `depth` digits down."""
    page = Page(source.get_page(path[: depth + 1]))
    aunts: list[bytes] = []
    index, position = 0, TOP
    while position in page.nodes and position not in page.leaves:
        if position >= SLOTS:
            depth += 1
            page, position = Page(load_page(source, path[: depth + 1])), TOP
        below = SLOTS | int(path[depth + 1 : depth + 2], 16)
        child = below >> (below.bit_length() - position.bit_length() - 1)
        aunts.append(page.nodes.get(child ^ 1, EMPTY_HASH))
        index = index << 1 | child & 1
        position = child
    return Branch(tuple(aunts), index, page.nodes.get(position, EMPTY_HASH), page.leaves.get(position))


def _find_record(source: ProofSource, key: bytes) -> bytes:
    """Return the state key of a leaf: its own, or that of some record under a chained leaf."""
    while key[:1] == CHAINED:
        name = key[1:]
        page = Page(load_page(source, name))
        while not page.leaves:
            slot = max(page.nodes) - SLOTS
            name += f"{slot:x}".encode()
            page = Page(load_page(source, name))
        key = page.leaves[min(page.leaves)]
    return key


def _make_proof(branch: Branch) -> Proof:
    return Proof(total=1 << len(branch.aunts), index=branch.index, leaf_hash=branch.node, aunts=reversed(branch.aunts))


def _make_value_op(key: bytes, branch: Branch) -> ProofOp:
    return _wrap(ValueOp(key=key, proof=_make_proof(branch)))


def _make_absence_op(source: ProofSource, witness: bytes, branch: Branch) -> ProofOp:
    value = source.get(witness) if witness else None
    value_hash = b"" if value is None else sha256(value).digest()
    op = AbsenceOp(witness_key=witness, witness_value_hash=value_hash, proof=_make_proof(branch))
    return ProofOp(type=ABSENT, key=witness, data=op.SerializeToString(deterministic=True))


def _make_store_op(roots: Sequence[bytes], store: str) -> ProofOp:
    nodes = [hash_leaf(name.encode(), root) for name, root in zip(STORES, roots, strict=True)]
    index = STORES.index(store)
    proof = Proof(total=len(nodes), index=index, leaf_hash=nodes[index], aunts=_get_list_aunts(nodes, index))
    return _wrap(ValueOp(key=store.encode(), proof=proof))


def _wrap(op: ValueOp) -> ProofOp:
    return ProofOp(type=PRESENT, key=op.key, data=op.SerializeToString(deterministic=True))


def _get_list_aunts(nodes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes beside the way from a node of CometBFT's list tree up to its root."""
    if len(nodes) == 1:
        return []
    split = 1 << (len(nodes) - 1).bit_length() - 1
    if index < split:
        return [*_get_list_aunts(nodes[:split], index), compute_list_root(nodes[split:])]
    return [*_get_list_aunts(nodes[split:], index - split), compute_list_root(nodes[:split])]
