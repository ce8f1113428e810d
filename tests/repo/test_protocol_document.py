"""docs/protocol.md, errors.md and parameters.md say what the code does: tables, schemas, limits and test values."""

import asyncio
import hashlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from abci_app.pb.learningchain.v1 import proof_pb2, state_pb2, tx_pb2
from abci_app.protocol import errors, events, hashing, keys, limits, params
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.ed25519_vectors import VECTORS
from abci_app.protocol.tree import compute_app_hash, hash_leaf, update_state
from abci_app.server.dispatch import CODE_INTERNAL
from abci_app.server.query import BAD_ARGUMENT, HEIGHT_NOT_HELD, NOT_FOUND, QUERY_INTERNAL, UNKNOWN_PATH
from abci_app.server.views import APP_VERSION, Views
from abci_app.store.memory import MemoryStore
from learningchain.client.errors import TxRefused
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("protocol.md", "errors.md", "parameters.md")
TYPES = {
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
}


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def read_table(page: str, first_header: str) -> list[list[str]]:
    """Return the cells of all tables of a page whose first column has this header, without header and rule."""
    rows: list[list[str]] = []
    for block in read(page).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines and lines[0].startswith(f"| {first_header} |"):
            rows += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return rows


def unquote(cell: str) -> str:
    assert cell.startswith("`"), cell
    return cell.strip("`")


def to_number(cell: str) -> int:
    return int(cell.replace(" ", ""))


def test_every_error_stands_there_with_number_name_and_hint() -> None:
    rows = [row for row in read_table("errors.md", "number") if len(row) == 3]
    documented = {int(number): (unquote(name), hint) for number, name, hint in rows}
    assert len(documented) == len(rows)
    assert documented == {code: (reason.name, reason.hint) for code, reason in errors.REASONS.items()}


def test_envelope_and_message_errors_stand_in_their_own_tables() -> None:
    envelope, message = read("errors.md").split("## Message")
    for code, reason in errors.REASONS.items():
        part = envelope if issubclass(reason, errors.EnvelopeError) else message
        assert f"| {code} | `{reason.name}` |" in part


def test_the_codes_of_queries_are_all_there() -> None:
    numbers = [int(row[0]) for row in read_table("errors.md", "number") if len(row) == 2]
    assert numbers == [UNKNOWN_PATH, BAD_ARGUMENT, NOT_FOUND, HEIGHT_NOT_HELD, QUERY_INTERNAL]


def test_the_number_of_a_nodes_own_defect_is_there_and_known_to_clients() -> None:
    assert f"{CODE_INTERNAL} (`internal_error`)" in " ".join(read("errors.md").split())
    refused = TxRefused(CODE_INTERNAL, b"")
    assert (refused.name, CODE_INTERNAL in errors.REASONS) == ("internal_error", False)
    assert "another --node" in refused.hint


def test_every_error_of_a_rule_is_named_in_the_protocol() -> None:
    """In brackets, as (237) or (220, 222); no number that does not exist, none left out but those of whole chapters."""
    text = re.sub(r"\s+", " ", read("protocol.md"))
    named = {int(number) for group in re.findall(r"\((\d+(?:, \d+)*)\)", text) for number in group.split(", ")}
    assert {code for code in errors.REASONS if code not in named} == set()
    assert {number for number in named if number >= 100} <= set(errors.REASONS)


def get_event_attributes() -> dict[str, tuple[str, ...]]:
    """Call each constructor of events once and return what it makes."""
    samples: dict[Any, Any] = {int: 1, str: "x", bytes: b"a" * 20}
    found = {}
    for _, function in inspect.getmembers(events, inspect.isfunction):
        signature = inspect.signature(function)
        if signature.return_annotation is not events.Event or function.__name__.startswith("_"):
            continue
        event = function(*(samples[parameter.annotation] for parameter in signature.parameters.values()))
        found[event.type] = tuple(name for name, _ in event.attributes)
    return found


def test_every_event_stands_there_with_its_attributes_in_order() -> None:
    documented = {unquote(row[0]): tuple(re.findall(r"`(\w+)`", row[1])) for row in read_table("protocol.md", "event")}
    assert documented == get_event_attributes()


def test_the_indexed_attributes_are_listed() -> None:
    text = re.search(r"Attributes called (.*?) may be indexed", read("protocol.md"), re.DOTALL)
    assert text is not None
    assert set(re.findall(r"`(\w+)`", text[1])) == events.INDEXED


def test_every_event_is_named_where_the_rules_write_it() -> None:
    rules = read("protocol.md").split("## 15. Events")[0]
    assert [name for name in get_event_attributes() if f"`{name}`" not in rules] == []


def test_every_parameter_stands_there_with_unit_bounds_and_values() -> None:
    rows = [row for row in read_table("parameters.md", "parameter") if len(row) == 8]
    documented = [params.Rule(unquote(row[0]), row[1], *(to_number(cell) for cell in row[2:])) for row in rows]
    assert documented == list(params.RULES)


def test_every_parameter_is_explained() -> None:
    rows = [row for row in read_table("parameters.md", "parameter") if len(row) == 2]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert names == [rule.name for rule in params.RULES]


def test_every_evaluation_class_stands_there() -> None:
    rows = read_table("parameters.md", "set")
    names = [bound[0] for bound in params.CLASS_BOUNDS]
    assert rows[0][3:] == [bound[1] for bound in params.CLASS_BOUNDS]
    assert [to_number(cell) for cell in rows[1][3:]] == [bound[2] for bound in params.CLASS_BOUNDS]
    assert [to_number(cell) for cell in rows[2][3:]] == [bound[3] for bound in params.CLASS_BOUNDS]
    documented = [(row[0], int(row[1]), row[2], *(to_number(cell) for cell in row[3:])) for row in rows[3:]]
    assert documented == [
        (name, number, entry.name, *(getattr(entry, field) for field in names))
        for name in params.SETS
        for number, entry in enumerate(params.get_params(name).classes)
    ]


def test_every_fixed_limit_stands_there() -> None:
    documented = {unquote(row[0]): to_number(row[1]) for row in read_table("parameters.md", "limit")}
    assert documented == {name: value for name, value in vars(limits).items() if name.isupper()}


def describe_field(field: Any) -> str:
    kind = field.message_type or field.enum_type
    name = kind.name if kind is not None else TYPES[field.type]
    return f"{field.number} {'repeated ' if field.is_repeated else ''}{name} {field.name}"


def describe_enum(enum: EnumDescriptor) -> str:
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return ", ".join(f"{value.number} {value.name.removeprefix(prefix)}" for value in enum.values)


def read_schemas() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in re.findall(r"```schema\n(.*?)```", read(page), re.DOTALL):
            for entry in re.sub(r"\n  +", " ", block).splitlines():
                name, _, fields = entry.partition(": ")
                yield name, fields


def test_every_message_stands_there_with_the_numbers_and_types_of_its_fields() -> None:
    expected = {}
    for module in (tx_pb2, state_pb2, proof_pb2):
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            expected[name] = ", ".join(describe_field(field) for field in message.fields) or "no fields"
        for name, enum in module.DESCRIPTOR.enum_types_by_name.items():
            expected[f"enum {name}"] = describe_enum(enum)
    documented = list(read_schemas())
    assert len(documented) == len(dict(documented))
    assert dict(documented) == expected


def test_the_layout_of_the_state_is_that_of_the_keys() -> None:
    prefixes = ["a", "s", "p", "j", "r", "v", "cp", "cs", "cn", "cr", "co", "ce", "ct"]
    expected = [
        (prefix, keys.STORE_OF[ord(prefix[0])], keys.get_record_type(prefix.encode()).DESCRIPTOR.name)
        for prefix in prefixes
    ]
    rows = read_table("protocol.md", "state key")
    assert [(unquote(row[0].split()[0]), row[1], row[2]) for row in rows] == expected
    assert {prefix[0] for prefix in prefixes} == {chr(letter) for letter in keys.STORE_OF}


def test_every_view_is_listed() -> None:
    paths = [path for row in read_table("protocol.md", "view") for path in re.findall(r"`/(\w+)", row[0])]
    assert set(paths) == {*Views(MemoryStore()).table, "check"}


def list_names(value: Any) -> set[str]:
    """Return the names of all fields in an answer."""
    if isinstance(value, list):
        return set().union(*map(list_names, value))
    return set(value).union(*map(list_names, value.values())) if isinstance(value, dict) else set()


def list_fields(message: Descriptor) -> set[str]:
    """Return the names of a message's fields and of those of the messages in it."""
    inner = (list_fields(field.message_type) for field in message.fields if field.message_type is not None)
    return {field.name for field in message.fields}.union(*inner)


def test_every_view_stands_there_with_its_fields() -> None:
    market = Market()
    market.must("checker0", tx_pb2.SetProfile(endpoint="http://127.0.0.1:8000"))
    job, address = market.open_vote(), encode_address(market.address("checker0"))
    candidate = encode_address(market.job(job).candidates[0].account)
    transport = MemoryTransport(market)
    market.block()
    public_key, tx = market.wallet("checker0").public_key.hex(), market.sign("checker0", tx_pb2.Unjail())
    values = {"<job id>": str(job), "<round>": "0", "<public key>": public_key}
    for paths, described, _ in read_table("protocol.md", "view"):
        path = paths.split("`")[1].replace("<address>", candidate if "candidacies" in paths else address)
        for name, value in values.items():
            path = path.replace(name, value)
        answer = json.loads(asyncio.run(transport.query(path, tx if path == "/check" else b"")).value)
        assert {answer.pop("proved"), type(answer.pop("height"))} == {False, str}
        named = set(re.findall(r"`(\w+)`", described))
        messages = [state_pb2.DESCRIPTOR.message_types_by_name[name] for name in re.findall(r"\b[A-Z]\w+", described)]
        assert set(answer) <= named, path
        assert list_names(answer) - set().union(*map(list_fields, messages)) | set(answer) == named, path


class NoPages:
    def get_page(self, key: bytes) -> bytes | None:
        return None


def test_the_test_values_are_true() -> None:
    tag, key = hashing.compute_chain_tag("example-1", b""), bytes(range(32))
    account, model, salt, receipt = hashing.compute_address(key), b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
    empty = hashlib.sha256(b"").digest()
    assert [unquote(row[1]) for row in read_table("protocol.md", "value")] == [
        tag.hex(),
        encode_address(account),
        hashing.get_tx_sign_bytes(tag, b"\x0a").hex(),
        hashing.compute_work(tag, key, bytes(8)).hex(),
        hashing.compute_model_commitment(tag, 7, account, model, salt).hex(),
        hashing.compute_vote_commitment(tag, 7, 2, account, 1, -5, receipt, salt).hex(),
        str(hashing.compute_seat_draw(tag, 7, 2, 3, model, salt)),
        hash_leaf(b"cr", b"").hex(),
        compute_app_hash([empty] * len(keys.STORES)).hex(),
        update_state(NoPages(), {b"cr": b"\x08\x01"}).app_hash.hex(),
    ]


def test_the_app_version_is_true() -> None:
    assert f"Headers carry app version {APP_VERSION}," in read("protocol.md")


def test_the_number_of_frozen_signature_cases_is_true() -> None:
    assert f"{len(VECTORS)} edge cases are frozen" in read("protocol.md")


def test_the_changelog_has_the_present_version_with_its_four_headings() -> None:
    with (DOCS.parent / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    entry = re.search(rf"^## {re.escape(version)}\b.*?\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert entry is not None
    assert re.findall(r"^### (.*)$", entry[1], re.MULTILINE) == ["State machine breaking", "Added", "Changed", "Fixed"]
