"""Checking of proofs, with nothing trusted but the app hash.

Stricter than CometBFT's light proxy: every operation must stand where the key's path demands.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from abci_app.pb.learningchain.v1.proof_pb2 import AbsenceOp
from abci_app.pb.tendermint.crypto.proof_pb2 import Proof, ProofOp, ProofOps, ValueOp
from abci_app.protocol.keys import STORE_OF, STORES
from abci_app.protocol.proof.build import ABSENT, PRESENT, get_store
from abci_app.protocol.tree import MAX_KEY_BYTES, TREE_DIGITS, hash_leaf, hash_leaf_of
from abci_app.protocol.tree_page import EMPTY_HASH, HASH_BYTES

_PATH_BITS: Final = 256
_DIGIT_BITS: Final = 4


class ProofError(Exception):
    """A proof does not show what it should; ask another node."""


def check_value(app_hash: bytes, key: bytes, value: bytes, proof: ProofOps) -> None:
    """Raise ProofError unless the proof shows that the record under `key` is `value`."""
    ops = [_read_value_op(op) for op in proof.ops]
    if not ops or ops[0].key != key:
        raise ProofError("the proof is not about this key")
    _check_way(app_hash, key, hash_leaf(key, value), ops[0].proof, ops[1:])


def check_absence(app_hash: bytes, key: bytes, proof: ProofOps) -> None:
    """Raise ProofError unless the proof shows that there is no record under `key`."""
    if not proof.ops or proof.ops[0].type != ABSENT:
        raise ProofError("this is no proof of absence")
    first = _read_absence_op(proof.ops[0])
    outer = [_read_value_op(op) for op in proof.ops[1:]]
    witness = first.witness_key
    if not witness:
        _check_way(app_hash, key, EMPTY_HASH, first.proof, outer)
        return
    if witness == key or len(witness) > MAX_KEY_BYTES or len(first.witness_value_hash) != HASH_BYTES:
        raise ProofError("the leaf shown instead of the key is not another one")
    if STORE_OF.get(witness[0]) != get_store(key):  # a witness may be of no store: it comes from the node
        raise ProofError("the leaf shown instead of the key is from another store")
    _check_way(app_hash, witness, hash_leaf_of(witness, first.witness_value_hash), first.proof, outer)
    _check_in_the_way(key, witness, [first.proof, *(op.proof for op in outer[:-1])])


def _check_way(app_hash: bytes, key: bytes, node: bytes, first: Proof, outer: Sequence[ValueOp]) -> None:
    """Check that `node` stands on the key's path, and that the operations lead from it to the app hash."""
    if not outer:
        raise ProofError("the proof has no operation for the store")
    proofs = [first, *(op.proof for op in outer[:-1])]
    for level, proof in zip(reversed(range(len(proofs))), proofs, strict=True):
        _check_place(key, level, proof)
    for proof, op in zip(proofs, outer, strict=True):
        node = hash_leaf(op.key, _compute_root(node, proof))
    _check_store(app_hash, key, node, outer)


def _check_place(key: bytes, level: int, proof: Proof) -> None:
    """Check that a tree's proof is about the place to which the key's path leads in it."""
    depth = len(proof.aunts)
    start = level * TREE_DIGITS * _DIGIT_BITS
    if depth > TREE_DIGITS * _DIGIT_BITS or start + depth > _PATH_BITS or proof.total != 1 << depth:
        raise ProofError("the proof has a wrong number of hashes")
    if proof.index != _get_bits(key, start, depth):
        raise ProofError("the proof is about another place of the tree")


def _check_store(app_hash: bytes, key: bytes, node: bytes, outer: Sequence[ValueOp]) -> None:
    """Check the operations' keys, and the last one against the app hash."""
    *chained, last = outer
    store = get_store(key)
    if any(op.key for op in chained) or last.key != store.encode():
        raise ProofError("the proof is not about this key's store")
    if last.proof.total != len(STORES) or last.proof.index != STORES.index(store):
        raise ProofError("the proof puts the store in a wrong place")
    if _compute_root(node, last.proof) != app_hash:
        raise ProofError("the proof does not lead to the app hash")


def _check_in_the_way(key: bytes, witness: bytes, proofs: Sequence[Proof]) -> None:
    """Check that the witness's way takes the place the key's would need. `proofs` are one per tree, innermost first.

    In the tree in which the two paths part, or else in the innermost, the leaf shown must stand above their parting.
    """
    size = TREE_DIGITS * _DIGIT_BITS
    common = _PATH_BITS - (_get_bits(key, 0, _PATH_BITS) ^ _get_bits(witness, 0, _PATH_BITS)).bit_length()
    level = min(common // size, len(proofs) - 1)
    if common < level * size + len(proofs[-1 - level].aunts):
        raise ProofError("the leaf shown instead of the key is not in its way")


def _get_bits(key: bytes, start: int, count: int) -> int:
    path = int.from_bytes(sha256(key).digest(), "big")
    return path >> (_PATH_BITS - start - count) & (1 << count) - 1


def _compute_root(node: bytes, proof: Proof) -> bytes:
    """Return the root to which a proof leads from `node`."""
    if proof.leaf_hash != node:
        raise ProofError("the proof begins with another hash: it is about another value, or the app hash is another")
    return _climb(node, proof.aunts, proof.index, proof.total)


def _climb(node: bytes, aunts: Sequence[bytes], index: int, total: int) -> bytes:
    """Return the root of CometBFT's list tree of `total` leaves, as its crypto/merkle does; aunts from the node up."""
    if total == 1:
        if aunts:
            raise ProofError("the proof has a wrong number of hashes")
        return node
    if not aunts or len(aunts[-1]) != HASH_BYTES:
        raise ProofError("the proof has a wrong number of hashes or a hash of a wrong size")
    split = 1 << (total - 1).bit_length() - 1
    if index < split:
        left, right = _climb(node, aunts[:-1], index, split), aunts[-1]
    else:
        left, right = aunts[-1], _climb(node, aunts[:-1], index - split, total - split)
    return sha256(b"\1" + left + right).digest()


def _read_value_op(op: ProofOp) -> ValueOp:
    if op.type != PRESENT:
        raise ProofError(f"operation of unknown type {op.type[:64]!r}")
    try:
        value_op = ValueOp.FromString(op.data)
    except DecodeError as error:
        raise ProofError("an operation cannot be decoded") from error
    if value_op.key != op.key:
        raise ProofError("an operation names two keys")
    return value_op


def _read_absence_op(op: ProofOp) -> AbsenceOp:
    try:
        absence_op = AbsenceOp.FromString(op.data)
    except DecodeError as error:
        raise ProofError("an operation cannot be decoded") from error
    if absence_op.witness_key != op.key:
        raise ProofError("an operation names two keys")
    return absence_op
