"""The vectors of proofs: of the scenario's last state, of keys that share 60 bits, and what no client may believe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, Final

from abci_app.pb.learningchain.v1.proof_pb2 import AbsenceOp
from abci_app.pb.tendermint.crypto.proof_pb2 import ProofOp, ProofOps, ValueOp
from abci_app.protocol.keys import STORE_OF
from abci_app.protocol.proof import prove
from abci_app.protocol.proof.build import ABSENT
from abci_app.protocol.tree import update_state
from tests.support.trees import TWINS, DictPages, DictState

FURTHER: Final = {TWINS[0]: b"first", TWINS[1]: b"second", b"a1": b"other"}
"""A state with a further tree. Its values are no real records: no two real addresses are known to share 60 bits."""
PREFIXES: Final = (b"a", b"s", b"v", b"cp")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """A state to prove from."""

    source: DictState
    app_hash: bytes

    def describe(self, note: str, key: bytes, proof: ProofOps | None = None, **other: Any) -> Entry:
        """Return a claim about a key with its true value and proof unless others are given."""
        value = self.source.get(key)
        proof = prove(self.source, key) if proof is None else proof
        ops = [{"type": op.type, "key": op.key.hex(), "data": op.data.hex()} for op in proof.ops]
        entry = {
            "note": note,
            "app_hash": self.app_hash.hex(),
            "store": STORE_OF[key[0]],
            "key": key.hex(),
            "value": None if value is None else value.hex(),
            "ops": ops,
        }
        return entry | other


def take(records: Mapping[bytes, bytes]) -> Snapshot:
    """Return a state with its tree."""
    pages = DictPages()
    update = update_state(pages, dict(records))
    pages.write(update.page_writes)
    return Snapshot(DictState(dict(records), pages), update.app_hash)


def describe_proofs(records: Mapping[bytes, bytes]) -> dict[str, list[Entry]]:
    """Return claims that hold and claims that do not, about a real state and about one with a further tree."""
    real, further = take(records), take(FURTHER)
    return {
        "accepted": [*_list_true(real), *_list_true_further(further)],
        "refused": [*_list_false(real), *_list_false_further(further)],
    }


def _list_true(state: Snapshot) -> Iterator[Entry]:
    for prefix in PREFIXES:
        yield state.describe("present", _find(state, prefix))
    yield state.describe("absent: nothing stands there", _find_absent(state, empty=True))
    yield state.describe("absent: another record stands in its way", _find_absent(state, empty=False))


def _list_true_further(state: Snapshot) -> Iterator[Entry]:
    yield state.describe("present in a further tree", TWINS[0])
    lone = take({TWINS[0]: b"first", b"a1": b"other"})
    yield lone.describe("absent: a record that shares 60 bits stands in its way", TWINS[1])
    path = sha256(TWINS[0]).digest()[0]
    beside = next(key for key in _count_keys() if sha256(key).digest()[0] == path and state.source.get(key) is None)
    yield state.describe("absent: a further tree stands in its way", beside)


def _list_false(state: Snapshot) -> Iterator[Entry]:
    key, other = _find_neighbours(state)
    stolen, true = prove(state.source, other), prove(state.source, key)
    empty = prove(state.source, _find_absent(state, empty=True))
    value = (state.source.get(other) or b"").hex()
    yield state.describe("another value", key, value=value)
    yield state.describe("the proof of another key", key, stolen, value=value)
    yield state.describe("under the name of another store", key, store="jobs")
    yield state.describe("the operation and its data name two keys", key, _rename(true, other))
    yield state.describe("a total that is not 2 to the number of aunts", key, _shrink(true))
    yield state.describe("absent: an empty place, but not the key's", key, empty, value=None)
    yield state.describe("absent: the witness is the key itself", key, _deny(state, key), value=None)
    yield state.describe("absent: the witness stands below where the ways part", key, _deny(state, other), value=None)


def _list_false_further(state: Snapshot) -> Iterator[Entry]:
    yield state.describe("absent: below where the ways part", TWINS[0], _deny(state, TWINS[1]), value=None)


def _find(state: Snapshot, prefix: bytes) -> bytes:
    return min(key for key in state.source.records if key.startswith(prefix))


def _find_neighbours(state: Snapshot) -> tuple[bytes, bytes]:
    """Return two keys of accounts whose leaves stand beside each other, in the left half of their tree."""
    found: dict[tuple[int, int], bytes] = {}
    for key in sorted(state.source.records):
        place = ValueOp.FromString(prove(state.source, key).ops[0].data).proof
        if STORE_OF[key[0]] == "accounts" and place.index < place.total // 2:
            if (beside := found.get((place.total, place.index ^ 1))) is not None:
                return beside, key
            found[place.total, place.index] = key
    raise LookupError("no two leaves stand beside each other")


def _count_keys() -> Iterator[bytes]:
    return (b"a" + number.to_bytes(20, "big") for number in count())


def _find_absent(state: Snapshot, *, empty: bool) -> bytes:
    """Return an account's key without a record, whose way ends at nothing or at another record."""
    return next(
        key
        for key in _count_keys()
        if (op := prove(state.source, key).ops[0]).type == ABSENT and (op.key == b"") == empty
    )


def _deny(state: Snapshot, witness: bytes) -> ProofOps:
    """Return the proof of a record, made into one of absence that shows it as witness."""
    proof = prove(state.source, witness)
    shown = ValueOp.FromString(proof.ops[0].data).proof
    value_hash = sha256(state.source.get(witness) or b"").digest()
    op = AbsenceOp(witness_key=witness, witness_value_hash=value_hash, proof=shown)
    return ProofOps(
        ops=[ProofOp(type=ABSENT, key=witness, data=op.SerializeToString(deterministic=True)), *proof.ops[1:]]
    )


def _rename(proof: ProofOps, key: bytes) -> ProofOps:
    first = ValueOp.FromString(proof.ops[0].data)
    first.key = key
    return _replace_first(proof, first)


def _shrink(proof: ProofOps) -> ProofOps:
    """In a list of one leaf less the left half stands as it stood: CometBFT gets the same root."""
    first = ValueOp.FromString(proof.ops[0].data)
    first.proof.total -= 1
    return _replace_first(proof, first)


def _replace_first(proof: ProofOps, first: ValueOp) -> ProofOps:
    op = ProofOp(type=proof.ops[0].type, key=proof.ops[0].key, data=first.SerializeToString(deterministic=True))
    return ProofOps(ops=[op, *proof.ops[1:]])
