"""Checks the vectors of proofs with a verifier of its own, written from docs/protocol.md."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from abci_app.pb.learningchain.v1.proof_pb2 import AbsenceOp
from abci_app.pb.tendermint.crypto.proof_pb2 import Proof, ValueOp

STORES: Final = ("accounts", "chain", "jobs", "rounds", "validators")
SPAN: Final = 60
"""Bits of a path in one tree."""


def holds(entry: Mapping[str, Any]) -> bool:
    """Tell whether the operations show that the key has this value, or with None that it has no record."""
    *trees, store = entry["ops"]
    key, number = bytes.fromhex(entry["key"]), STORES.index(entry["store"])
    last, key_of_last = read_value_op(store)
    if not trees or key_of_last != entry["store"].encode() or (last.total, last.index) != (len(STORES), number):
        return False
    first = trees[0]
    if entry["value"] is None:
        root = compute_root_of_absence(key, first, trees)
    else:
        root = climb_trees(key, key, hash_leaf(key, sha256(bytes.fromhex(entry["value"]))), trees)
    if root is None or last.leaf_hash != hash_leaf(entry["store"].encode(), sha256(root)):
        return False
    return climb(last.leaf_hash, last.index, last.total, last.aunts) == bytes.fromhex(entry["app_hash"])


def compute_root_of_absence(key: bytes, first: Mapping[str, str], trees: Sequence[Mapping[str, str]]) -> bytes | None:
    """Return the root of the store's tree, None if the operations do not show that the key is absent."""
    if first["type"] != "learningchain:absent:v1":
        return None
    op = AbsenceOp.FromString(bytes.fromhex(first["data"]))
    witness = op.witness_key
    if witness.hex() != first["key"] or witness == key or (not witness and op.witness_value_hash):
        return None
    if witness:
        parting = len(get_bits(key)) - (int(get_bits(key), 2) ^ int(get_bits(witness), 2)).bit_length()
        number = min(parting // SPAN, len(trees) - 1)
        if len(read_proof(trees[len(trees) - 1 - number]).aunts) > parting - SPAN * number:
            return None
    leaf = hash_leaf(witness, op.witness_value_hash) if witness else sha256(b"")
    return climb_trees(witness or key, witness, leaf, trees)


def climb_trees(path: bytes, first_key: bytes, node: bytes, trees: Sequence[Mapping[str, str]]) -> bytes | None:
    """Return the root of the outermost tree, None if an operation does not stand where the path leads."""
    for above, op in enumerate(trees):
        number = len(trees) - 1 - above
        proof, key = read_proof(op), bytes.fromhex(op["key"])
        if above:
            node = hash_leaf(b"", sha256(node))
        depth = len(proof.aunts)
        place = get_bits(path)[SPAN * number : SPAN * number + depth]
        right_key = key == (b"" if above else first_key)
        if not right_key or depth > SPAN or (proof.total, proof.index) != (2**depth, int(place or "0", 2)):
            return None
        if proof.leaf_hash != node:
            return None
        for aunt, bit in zip(proof.aunts, reversed(place), strict=True):
            node = hash_inner(aunt, node) if bit == "1" else hash_inner(node, aunt)
    return node


def read_proof(op: Mapping[str, str]) -> Proof:
    """The proof of an operation of either type. Raises ValueError if it names two keys."""
    if op["type"] == "learningchain:absent:v1":
        return AbsenceOp.FromString(bytes.fromhex(op["data"])).proof
    return read_value_op(op)[0]


def read_value_op(op: Mapping[str, str]) -> tuple[Proof, bytes]:
    """Proof and key. Raises ValueError if the type is another one, or the operation names two keys."""
    data = ValueOp.FromString(bytes.fromhex(op["data"]))
    if op["type"] != "simple:v" or data.key.hex() != op["key"]:
        raise ValueError("not one simple:v operation")
    return data.proof, data.key


def climb(node: bytes, index: int, total: int, aunts: Sequence[bytes]) -> bytes:
    """The root of CometBFT's list tree."""
    if total == 1:
        return node
    left = 1 << (total - 1).bit_length() - 1
    if index < left:
        return hash_inner(climb(node, index, left, aunts[:-1]), aunts[-1])
    return hash_inner(aunts[-1], climb(node, index - left, total - left, aunts[:-1]))


def get_bits(key: bytes) -> str:
    """The path of a state key."""
    return f"{int.from_bytes(sha256(key), 'big'):0256b}"


def hash_leaf(key: bytes, value_hash: bytes) -> bytes:
    """A leaf."""
    return sha256(b"\0" + bytes([len(key)]) + key + bytes([len(value_hash)]) + value_hash)


def hash_inner(left: bytes, right: bytes) -> bytes:
    """An inner node."""
    return sha256(b"\1" + left + right)


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()
