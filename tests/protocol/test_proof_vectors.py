"""Frozen proofs, each accepted by the proof runtime of CometBFT v0.38.25 (crypto/merkle, as its light proxy uses it).

The states hold keys of every store, one with bytes that a URL escapes, and two keys whose paths agree in 60 bits, which
needs a further tree.
"""

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.tendermint.crypto.proof_pb2 import ProofOps
from abci_app.protocol.proof import check_absence, check_value, prove
from abci_app.protocol.tree import CHAINED, update_state
from tests.support.trees import TWINS, DictPages, DictState, compute_app_hash

STATES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "proof_vectors.json").read_text())


def get_records(state: dict[str, Any]) -> dict[bytes, bytes]:
    return {bytes.fromhex(entry["key"]): bytes.fromhex(entry["value"]) for entry in state["proofs"]}


def build(records: dict[bytes, bytes]) -> tuple[DictState, bytes]:
    pages = DictPages()
    update = update_state(pages, dict(records))
    pages.write(update.page_writes)
    return DictState(records, pages), update.app_hash


@pytest.mark.parametrize("state", STATES, ids=lambda state: f"{len(state['proofs'])} records")
def test_proofs_are_what_cometbft_accepted(state: dict[str, Any]) -> None:
    source, app_hash = build(get_records(state))
    assert app_hash.hex() == state["app_hash"]
    for entry in state["proofs"]:
        key = bytes.fromhex(entry["key"])
        accepted = b64decode(entry["proof"])
        assert prove(source, key).SerializeToString(deterministic=True) == accepted
        check_value(app_hash, key, bytes.fromhex(entry["value"]), ProofOps.FromString(accepted))


def test_the_frozen_app_hashes_follow_from_the_definition() -> None:
    for state in STATES:
        assert compute_app_hash(get_records(state)).hex() == state["app_hash"]


def test_the_vectors_hold_two_keys_that_share_60_bits() -> None:
    paths = [sha256(key).hexdigest() for key in TWINS]
    assert paths[0][:15] == paths[1][:15]
    proofs = [prove(build(get_records(state))[0], TWINS[0]) for state in STATES if TWINS[0] in get_records(state)]
    assert [[op.key for op in proof.ops] for proof in proofs] == [[TWINS[0], b"", b"accounts"]] * 2


def test_one_of_two_keys_that_share_60_bits_is_proved_absent() -> None:
    records = {TWINS[0]: b"first", b"a1": b"other"}
    source, app_hash = build(records)
    check_absence(app_hash, TWINS[1], prove(source, TWINS[1]))


def test_a_further_tree_goes_when_only_one_of_its_keys_is_left() -> None:
    pages = DictPages()
    records: dict[bytes, bytes | None] = {b"a1": b"other", **dict.fromkeys(TWINS, b"x")}
    pages.write(update_state(pages, records).page_writes)
    assert any(CHAINED + b"acebed136f33da15" in page for page in pages.values())
    update = update_state(pages, {TWINS[0]: None})
    pages.write(update.page_writes)
    assert update.app_hash == compute_app_hash({b"a1": b"other", TWINS[1]: b"x"})
    assert b"acebed136f33da15" not in pages
