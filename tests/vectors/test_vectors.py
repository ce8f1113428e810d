"""docs/vectors.json is up to date, holds, covers what it says, and notices every change."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from abci_app.pb.tendermint.crypto.proof_pb2 import ProofOp, ProofOps
from abci_app.protocol import errors
from abci_app.protocol.keys import STORE_OF
from abci_app.protocol.proof import ProofError, check_absence, check_value
from learningchain.client.transactions import KIND_OF
from tests.vectors.check import CHECKS, check_all
from tests.vectors.generate import PATH, generate, render

Path = tuple[str | int, ...]
BLOCK = {"time_ms", "block_hash", "proposer_address", "signed", "missed"}
FREE = {
    "chain": {"genesis_time_ms"},
    "committee": {"job_class", "highest_class", "excluded"},
    "proposals": {"height"},
    "mempool": {"mempool_size"},
    "proofs": {"refused"},
    "scenario": BLOCK,
    "refusals": {*BLOCK, "genesis_time_ms"},
}
"""Inputs of which another value can give the same result."""


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return loaded


def test_the_file_is_what_the_generator_writes() -> None:
    assert PATH.read_text("utf-8") == render(generate()), "run: python -m tests.vectors.generate"


def test_every_vector_holds(vectors: dict[str, Any]) -> None:
    check_all(vectors)


def test_every_message_is_there_layer_by_layer(vectors: dict[str, Any]) -> None:
    found = {name for entry in vectors["transactions"] for name in KIND_OF.values() if name in entry["body"]}
    assert found == set(KIND_OF.values())


def test_every_message_that_this_version_carries_out_has_a_success(vectors: dict[str, Any]) -> None:
    successes = {item["tx"] for entry in vectors["scenario"] for item in entry["txs"] if item["code"] == 0}
    kinds = {name for entry in vectors["transactions"] if entry["tx"] in successes for name in entry["body"]}
    assert set(KIND_OF.values()) - kinds == {"declare_validator", "retire_validator"}


def test_every_error_number_happens(vectors: dict[str, Any]) -> None:
    blocks = [*vectors["scenario"], *vectors["refusals"]["blocks"]]
    codes = {item["code"] for entry in blocks for item in entry["txs"]}
    codes |= {entry["code"] for entry in vectors["proposals"]}
    codes |= {item["code"] for item in vectors["mempool"]["txs"]}
    assert codes == {0, *errors.REASONS}


def test_the_client_believes_the_accepted_proofs_and_no_other(vectors: dict[str, Any]) -> None:
    proofs = vectors["proofs"]
    assert [entry["note"] for entry in proofs["accepted"] if not is_believed(entry)] == []
    assert [entry["note"] for entry in proofs["refused"] if is_believed(entry)] == []


def test_proofs_show_presence_and_absence_in_one_tree_and_in_further_ones(vectors: dict[str, Any]) -> None:
    accepted = vectors["proofs"]["accepted"]
    found = {(entry["value"] is None, bool(entry["ops"][0]["key"]), len(entry["ops"])) for entry in accepted}
    assert found == {(False, True, 2), (False, True, 3), (True, False, 2), (True, True, 2), (True, True, 3)}


def is_believed(entry: dict[str, Any]) -> bool:
    """Tell whether the client would take what an entry claims."""
    read = bytes.fromhex
    proof = ProofOps(ops=[ProofOp(type=op["type"], key=read(op["key"]), data=read(op["data"])) for op in entry["ops"]])
    app_hash, key = read(entry["app_hash"]), read(entry["key"])
    try:
        if entry["value"] is None:
            check_absence(app_hash, key, proof)
        else:
            check_value(app_hash, key, read(entry["value"]), proof)
    except ProofError:
        return False
    return bool(entry["store"] == STORE_OF[key[0]])  # a client asks by key; the store follows


def list_leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in ("note", "about"):
                yield from list_leaves(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from list_leaves(item, (*path, index))
    else:
        yield path


def list_binding(vectors: dict[str, Any], section: str) -> Iterator[Path]:
    """Yield the leaves of a section of which every other value is wrong."""
    free = FREE.get(section, set())
    for path in list_leaves(vectors[section]):
        if not free.intersection(path) and not (path[-1] == "tx" and is_broken(vectors[section], path)):
            yield path


def is_broken(section: Any, path: Path) -> bool:
    """Tell whether a transaction's envelope fails: other bytes may fail in the same way."""
    holder: Any = section
    for step in path[:-1]:
        holder = holder[step]
    code = holder.get("code", 0)
    return bool(code) and issubclass(errors.REASONS[code], errors.EnvelopeError)


def change(value: Any) -> Any:
    """Return another value of the same form."""
    if value is None:
        return "00"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value == "":
        return "00"
    last = value[-1]
    return value[:-1] + ("1" if last != "1" else "2")


def replace(vectors: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(vectors)
    holder: Any = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = change(holder[path[-1]])
    return changed


REPLAYS = {"scenario": 5, "refusals": 29}
"""Of sections that take a while to check every so many-th leaf is tried."""


@pytest.mark.parametrize("section", CHECKS)
def test_changing_any_value_fails(vectors: dict[str, Any], section: str) -> None:
    paths = list(list_binding(vectors, section))[:: REPLAYS.get(section, 1)]
    if section in REPLAYS:
        assert {path[-1] for path in paths} >= {"height", "tx", "code", "name", "app_hash"}
    assert [path for path in paths if is_accepted(vectors, section, path)] == []


def is_accepted(vectors: dict[str, Any], section: str, path: Path) -> bool:
    """Tell whether a section still holds with another value at a path."""
    changed = replace({section: vectors[section]}, (section, *path))
    try:
        CHECKS[section](changed[section], {**vectors, section: changed[section]})
    except (AssertionError, ValueError, KeyError):
        return False
    return True
