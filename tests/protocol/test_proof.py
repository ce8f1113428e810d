"""Proofs built from pages and checked against nothing but the app hash."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from random import Random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.pb.learningchain.v1.proof_pb2 import AbsenceOp
from abci_app.pb.tendermint.crypto.proof_pb2 import Proof, ProofOp, ProofOps, ValueOp
from abci_app.protocol import tree
from abci_app.protocol.proof import ProofError, check, check_absence, check_value, prove
from abci_app.protocol.proof.build import ABSENT, PRESENT
from abci_app.protocol.tree import MAX_KEY_BYTES, update_state
from tests.support.trees import DictPages, DictState, get_bits, hash_leaf

KEYS = [b"a%d" % number for number in range(40)]
small_trees = pytest.mark.parametrize("digits", [1, 2, 15])
states = st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=3), max_size=30)
quick = settings(max_examples=30)


@contextmanager
def trees_of(digits: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "TREE_DIGITS", digits)
        patch.setattr(check, "TREE_DIGITS", digits)
        yield


def make_state(records: dict[bytes, bytes]) -> tuple[DictState, bytes]:
    """Return a state of these records (and one of another store) and its app hash."""
    records = {b"cp": b"params", **records}
    pages = DictPages()
    update = update_state(pages, dict(records))
    pages.write(update.page_writes)
    return DictState(records, pages), update.app_hash


def make_large_state(count: int = 500) -> tuple[DictState, bytes]:
    return make_state({b"a%d" % number: b"value %d" % number for number in range(count)})


@small_trees
@given(records=states)
def test_every_key_is_proved_present_or_absent(digits: int, records: dict[bytes, bytes]) -> None:
    with trees_of(digits):
        state, app_hash = make_state(records)
        for key in KEYS:
            proof = prove(state, key)
            if key in records:
                check_value(app_hash, key, records[key], proof)
            else:
                check_absence(app_hash, key, proof)


def test_what_lies_below_two_further_trees_is_proved_present_and_absent() -> None:
    by_digits: dict[str, list[bytes]] = {}
    for number in range(2_000):
        by_digits.setdefault(sha256(b"a%d" % number).hexdigest()[:2], []).append(b"a%d" % number)
    for keys in by_digits.values():  # each shares two trees of a single digit with the others
        with trees_of(1):
            state, app_hash = make_state(dict.fromkeys([*keys[:2], b"a-other"], b"x"))
            for key in keys[:2]:
                proof = prove(state, key)
                assert len(proof.ops) >= 4
                check_value(app_hash, key, b"x", proof)
            for key in keys[2:]:
                check_absence(app_hash, key, prove(state, key))


def test_a_key_that_reads_like_the_name_of_a_page_is_that_of_a_record() -> None:
    state, app_hash = make_state({b"aa": b"x"})
    check_value(app_hash, b"aa", b"x", prove(state, b"aa"))
    check_absence(app_hash, b"a1", prove(state, b"a1"))


def check_other_way(app_hash: bytes, key: bytes, proof: ProofOps, present: bool) -> None:
    if present:
        check_absence(app_hash, key, proof)
    else:
        check_value(app_hash, key, b"", proof)


@small_trees
@quick
@given(records=states)
def test_no_proof_shows_what_is_not_so(digits: int, records: dict[bytes, bytes]) -> None:
    with trees_of(digits):
        state, app_hash = make_state(records)
        proofs = [prove(state, key) for key in KEYS]
        for key in KEYS:
            for proof in proofs:
                with pytest.raises(ProofError):
                    check_other_way(app_hash, key, proof, key in records)


def test_another_value_is_refused() -> None:
    state, app_hash = make_large_state()
    with pytest.raises(ProofError, match="app hash"):
        check_value(app_hash, b"a7", b"value 8", prove(state, b"a7"))


def test_another_app_hash_is_refused() -> None:
    state, _ = make_large_state()
    with pytest.raises(ProofError, match="app hash"):
        check_value(bytes(32), b"a7", b"value 7", prove(state, b"a7"))
    with pytest.raises(ProofError, match="app hash"):
        check_absence(bytes(32), b"a-missing", prove(state, b"a-missing"))


def test_a_proof_of_presence_is_made_of_simple_value_operations_only() -> None:
    state, _ = make_large_state()
    proof = prove(state, b"a7")
    assert [(op.type, op.key) for op in proof.ops] == [(PRESENT, b"a7"), (PRESENT, b"accounts")]


def test_a_proof_among_many_records_is_small() -> None:
    state, _ = make_large_state(20_000)
    sizes = [prove(state, b"a%d" % number).ByteSize() for number in range(500)]
    assert sum(sizes) < 800 * len(sizes)


def test_the_record_of_an_empty_tree_is_proved_absent() -> None:
    state, app_hash = make_state({})
    check_absence(app_hash, b"v1", prove(state, b"v1"))


@pytest.mark.parametrize("key", [b"", b"z", b"a" * 128])
def test_a_key_of_no_store_has_no_proof(key: bytes) -> None:
    state, app_hash = make_state({})
    proof = prove(state, b"a1")
    with pytest.raises(ValueError, match="no state key"):
        prove(state, key)
    with pytest.raises(ValueError, match="no state key"):
        check_absence(app_hash, key, proof)


@given(seed=st.integers(0, 2**32))
def test_no_changed_bit_of_a_proof_goes_unnoticed(seed: int) -> None:
    """A changed proof is refused or says the same (protobuf has several encodings of one message)."""
    random = Random(seed)
    state, app_hash = make_state({b"a%d" % number: b"x" for number in range(50)})
    key = b"a%d" % random.randrange(60)
    proof = prove(state, key)
    data = bytearray(proof.SerializeToString())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    try:
        changed = ProofOps.FromString(bytes(data))
    except DecodeError:
        return
    try:
        if key in state.records:
            check_value(app_hash, key, b"x", changed)
        else:
            check_absence(app_hash, key, changed)
    except ProofError:
        return
    assert read(changed) == read(proof)


def read(proof: ProofOps) -> list[object]:
    """Return what the operations of a proof say."""
    ops: list[object] = []
    for op in proof.ops:
        message = AbsenceOp.FromString(op.data) if op.type == ABSENT else ValueOp.FromString(op.data)
        message.DiscardUnknownFields()
        ops.append(message)
    return ops


def find_absent(state: DictState, with_witness: bool) -> tuple[bytes, ProofOps]:
    for number in range(100_000):
        key = b"a-%d" % number
        proof = prove(state, key)
        if bool(AbsenceOp.FromString(proof.ops[0].data).witness_key) == with_witness:
            return key, proof
    raise AssertionError("no such key")


def test_a_leaf_beside_the_way_does_not_show_absence() -> None:
    """Somebody shows a real leaf, though the key's path ends elsewhere, or a real record as its own witness."""
    state, app_hash = make_large_state()
    _, proof = find_absent(state, with_witness=True)
    for number in range(500):
        key = b"a%d" % number
        with pytest.raises(ProofError):
            check_absence(app_hash, key, proof)
    op = AbsenceOp.FromString(proof.ops[0].data)
    with pytest.raises(ProofError, match="not another one"):
        check_absence(app_hash, op.witness_key, proof)


@pytest.mark.parametrize("with_witness", [True, False])
def test_only_an_operation_of_absence_shows_absence(with_witness: bool) -> None:
    state, app_hash = make_large_state()
    key, proof = find_absent(state, with_witness)
    with pytest.raises(ProofError, match="no proof of absence"):
        check_absence(app_hash, key, ProofOps())
    proof.ops[0].type = PRESENT
    with pytest.raises(ProofError, match="no proof of absence"):
        check_absence(app_hash, key, proof)


def test_a_record_with_the_longest_key_is_proved_and_shows_the_absence_of_others() -> None:
    longest = b"a" * MAX_KEY_BYTES
    state, app_hash = make_state({longest: b"x"})
    check_value(app_hash, longest, b"x", prove(state, longest))
    check_absence(app_hash, b"a1", prove(state, b"a1"))


def test_an_inner_node_does_not_pass_for_an_empty_one() -> None:
    state, app_hash = make_large_state()
    key, proof = find_absent(state, with_witness=False)
    op = AbsenceOp.FromString(proof.ops[0].data)
    shorter = AbsenceOp.FromString(proof.ops[0].data)
    del shorter.proof.aunts[0]
    shorter.proof.total = op.proof.total // 2
    shorter.proof.index = op.proof.index >> 1
    proof.ops[0].data = shorter.SerializeToString()
    with pytest.raises(ProofError, match="app hash"):
        check_absence(app_hash, key, proof)


@pytest.mark.parametrize("part", ["total", "index"])
def test_an_operation_at_another_place_is_refused(part: str) -> None:
    """CometBFT's proxy would accept it: the header does not bind these numbers."""
    state, app_hash = make_large_state()
    proof = prove(state, b"a7")
    op = ValueOp.FromString(proof.ops[0].data)
    setattr(op.proof, part, getattr(op.proof, part) + 1)
    proof.ops[0].data = op.SerializeToString()
    with pytest.raises(ProofError):
        check_value(app_hash, b"a7", b"value 7", proof)


def test_a_total_that_does_not_fit_the_hashes_is_refused_also_where_they_lead_to_the_root() -> None:
    """In the left half of a tree a smaller total leaves the way up as it is."""
    state, app_hash = make_large_state()
    key = min(state.records, key=lambda key: sha256(key).digest() if key[:1] == b"a" else b"\xff")
    proof = prove(state, key)
    op = ValueOp.FromString(proof.ops[0].data)
    op.proof.total -= 1
    proof.ops[0].data = op.SerializeToString()
    with pytest.raises(ProofError, match="wrong number of hashes"):
        check_value(app_hash, key, state.records[key], proof)


@pytest.mark.parametrize(("trees", "hashes"), [(1, 61), (2, 61), (5, 17), (6, 0), (6, 1)])
def test_a_proof_of_more_bits_than_trees_and_paths_have_is_refused(trees: int, hashes: int) -> None:
    state, app_hash = make_large_state()
    proof = prove(state, b"a7")
    op = ValueOp.FromString(proof.ops[0].data)
    start = 60 * (trees - 1)
    index = int(get_bits(b"a7")[start : start + hashes] or "0", 2)
    op.proof.CopyFrom(Proof(total=1 << hashes, index=index, leaf_hash=op.proof.leaf_hash, aunts=[bytes(32)] * hashes))
    first = ProofOp(type=PRESENT, key=b"a7", data=op.SerializeToString())
    further = ProofOp(type=PRESENT, data=ValueOp(proof=Proof(total=1)).SerializeToString())
    ops = [first, *[further] * (trees - 1), proof.ops[1]]
    with pytest.raises(ProofError, match=r"wrong number of hashes$"):
        check_value(app_hash, b"a7", b"value 7", ProofOps(ops=ops))


def test_a_proof_from_another_store_is_refused() -> None:
    state, app_hash = make_state({b"a1": b"x", b"j1": b"x"})
    with pytest.raises(ProofError, match="not about this key"):
        check_value(app_hash, b"a1", b"x", prove(state, b"j1"))
    with pytest.raises(ProofError, match="another store"):
        check_absence(app_hash, b"a2", prove(state, b"j2"))


@pytest.mark.parametrize("witness", [b"z1", b"\0", b"accounts" * 20])
def test_a_witness_that_no_state_can_have_is_refused_like_any_wrong_proof(witness: bytes) -> None:
    state, app_hash = make_large_state()
    key, proof = find_absent(state, with_witness=True)
    op = AbsenceOp.FromString(proof.ops[0].data)
    op.witness_key = proof.ops[0].key = witness
    proof.ops[0].data = op.SerializeToString()
    with pytest.raises(ProofError, match="the leaf shown instead of the key"):
        check_absence(app_hash, key, proof)


def test_a_tree_of_another_store_shows_no_absence() -> None:
    """In the tree of jobs there is no account, whatever accounts there are."""
    state, app_hash = make_state({b"a1": b"x"})
    with pytest.raises(ProofError, match="not about this key's store"):
        check_absence(app_hash, b"a1", prove(state, b"j2"))


def test_a_record_that_holds_the_root_of_a_tree_does_not_pass_for_that_tree() -> None:
    """Records are written by anybody: only a leaf without key stands for a further tree."""
    root = hash_leaf(b"a2", b"made up")
    state, app_hash = make_state({b"a1": root})
    proof = prove(state, b"a1")
    made_up = ValueOp(key=b"a2", proof=Proof(total=1, leaf_hash=root))
    first = ProofOp(type=PRESENT, key=b"a2", data=made_up.SerializeToString())
    with pytest.raises(ProofError, match="not about this key's store"):
        check_value(app_hash, b"a2", b"made up", ProofOps(ops=[first, *proof.ops]))


@pytest.mark.parametrize(("total", "index"), [(6, 0), (5, 1)])
def test_a_store_at_another_place_is_refused(total: int, index: int) -> None:
    state, app_hash = make_large_state()
    proof = prove(state, b"a7")
    op = ValueOp.FromString(proof.ops[1].data)
    assert (op.proof.total, op.proof.index) == (5, 0)
    op.proof.total, op.proof.index = total, index
    proof.ops[1].data = op.SerializeToString()
    with pytest.raises(ProofError, match="puts the store in a wrong place"):
        check_value(app_hash, b"a7", b"value 7", proof)


@pytest.mark.parametrize("value_hash", [b"", bytes(31), bytes(33)])
def test_a_witness_whose_value_has_no_hash_is_refused(value_hash: bytes) -> None:
    state, app_hash = make_large_state()
    key, proof = find_absent(state, with_witness=True)
    op = AbsenceOp.FromString(proof.ops[0].data)
    op.witness_value_hash = value_hash
    proof.ops[0].data = op.SerializeToString()
    with pytest.raises(ProofError, match="the leaf shown instead of the key"):
        check_absence(app_hash, key, proof)


@pytest.mark.parametrize("change", ["none", "fewer", "more", "shorter"])
def test_hashes_beside_the_way_to_the_app_hash_are_as_many_and_as_long_as_they_are(change: str) -> None:
    state, app_hash = make_large_state()
    proof = prove(state, b"a7")
    op = ValueOp.FromString(proof.ops[1].data)
    first, *others = op.proof.aunts
    changed = {"none": [], "fewer": others, "more": [first, first, *others], "shorter": [first[:-1], *others]}[change]
    op.proof.ClearField("aunts")
    op.proof.aunts.extend(changed)
    proof.ops[1].data = op.SerializeToString()
    with pytest.raises(ProofError, match="wrong number of hashes"):
        check_value(app_hash, b"a7", b"value 7", proof)


def test_a_proof_cut_short_or_drawn_out_is_refused() -> None:
    state, app_hash = make_large_state()
    proof = prove(state, b"a7")
    for ops in ([], proof.ops[:1], proof.ops[1:], [*proof.ops, proof.ops[1]], [proof.ops[0], *proof.ops]):
        with pytest.raises(ProofError):
            check_value(app_hash, b"a7", b"value 7", ProofOps(ops=ops))


def test_garbage_is_refused() -> None:
    state, app_hash = make_large_state()
    for index in (0, 1):
        for kind, data in ((PRESENT, b"\xff"), ("ics23:iavl", b""), (ABSENT, b"\xff")):
            proof = prove(state, b"a7")
            proof.ops[index].type, proof.ops[index].data = kind, data
            with pytest.raises(ProofError):
                check_value(app_hash, b"a7", b"value 7", proof)
            with pytest.raises(ProofError):
                check_absence(app_hash, b"a7", proof)


@pytest.mark.parametrize("index", [0, 1])
def test_what_an_operation_says_of_itself_has_to_fit_what_is_in_it(index: int) -> None:
    state, app_hash = make_large_state()
    absent = find_absent(state, with_witness=True)[0]
    for part, changed, words in (("type", "ics23:iavl", "unknown type"), ("key", b"a8", "names two keys")):
        proof = prove(state, b"a7")
        setattr(proof.ops[index], part, changed)
        with pytest.raises(ProofError, match=words):
            check_value(app_hash, b"a7", b"value 7", proof)
        proof = prove(state, absent)
        setattr(proof.ops[index], part, changed)
        with pytest.raises(ProofError, match=words if index else f"{words}|no proof of absence"):
            check_absence(app_hash, absent, proof)


def test_the_place_of_a_leaf_follows_from_its_key_alone() -> None:
    state, _ = make_large_state()
    op = ValueOp.FromString(prove(state, b"a7").ops[0].data)
    path = int.from_bytes(sha256(b"a7").digest(), "big")
    assert op.proof.total == 2 ** len(op.proof.aunts)
    assert op.proof.index == path >> (256 - len(op.proof.aunts))
