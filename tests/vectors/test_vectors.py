"""docs/vectors.json is up to date, holds, covers what it says, and notices every change."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from abci_app.protocol import errors
from learningchain.client.transactions import KIND_OF
from tests.vectors.check import CHECKS, check_all
from tests.vectors.generate import PATH, generate, render

Path = tuple[str | int, ...]
NOT_CARRIED_OUT = {"declare_validator", "retire_validator"}
"""Messages that this version refuses; validators come from the genesis."""
FREE = {
    "chain": {"genesis_time_ms"},
    "committee": {"job_class", "highest_class", "excluded"},
    "proposals": {"height"},
    "mempool": {"mempool_size"},
    "scenario": {"time_ms", "block_hash", "proposer_address", "signed", "missed"},
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


def test_every_message_has_a_success(vectors: dict[str, Any]) -> None:
    found = {name for entry in vectors["transactions"] for name in KIND_OF.values() if name in entry["body"]}
    assert found == set(KIND_OF.values()) - NOT_CARRIED_OUT


def test_every_envelope_error_happens(vectors: dict[str, Any]) -> None:
    codes = {item["code"] for entry in vectors["scenario"] for item in entry["txs"]}
    codes |= {entry["code"] for entry in vectors["proposals"]}
    codes |= {item["code"] for item in vectors["mempool"]["txs"]}
    envelope = {code for code, reason in errors.REASONS.items() if issubclass(reason, errors.EnvelopeError)}
    assert envelope <= codes


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


@pytest.mark.parametrize("section", [name for name in CHECKS if name != "scenario"])
def test_changing_any_value_fails(vectors: dict[str, Any], section: str) -> None:
    unnoticed = []
    for path in list_binding(vectors, section):
        changed = replace({section: vectors[section]}, (section, *path))
        try:
            CHECKS[section](changed[section], {**vectors, section: changed[section]})
            unnoticed.append(path)
        except (AssertionError, ValueError, KeyError):
            continue
    assert unnoticed == []


def test_changing_any_value_of_the_scenario_fails(vectors: dict[str, Any]) -> None:
    """A sample, since a replay takes a while: every fifth leaf, and of these all kinds."""
    unnoticed = []
    paths = list(list_binding(vectors, "scenario"))[::5]
    assert {path[-1] for path in paths} == {"height", "tx", "code", "name", "app_hash"}
    for path in paths:
        changed = replace({"scenario": vectors["scenario"]}, ("scenario", *path))
        try:
            CHECKS["scenario"](changed["scenario"], vectors)
            unnoticed.append(path)
        except (AssertionError, ValueError, KeyError):
            continue
    assert unnoticed == []
