"""Event names and attributes are read by other programs: they never change, new ones may be added."""

import inspect

import pytest

from abci_app.protocol import events
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.events import INDEXED, Event, parse_attributes

FROZEN = {
    "job.submitted": ("job_id", "contractor", "bounty", "job_class", "expiry_ms"),
    "job.raised": ("job_id", "contractor", "bounty"),
    "job.announced": ("job_id", "account", "loss", "ranked_loss", "place"),
    "job.reveal_opened": ("job_id", "round", "candidate", "deadline_ms"),
    "job.revealed": ("job_id", "round", "candidate", "model_digest", "size"),
    "job.vote_opened": ("job_id", "round", "deadline_ms"),
    "job.tally_opened": ("job_id", "round", "deadline_ms"),
    "job.window_renewed": ("job_id", "round", "deadline_ms"),
    "job.round_decided": ("job_id", "round", "candidate", "outcome"),
    "job.settled": ("job_id", "state", "contractor", "winner", "bounty"),
    "job.pruned": ("job_id",),
    "account.registered": ("account",),
    "account.banned": ("account", "burned"),
    "account.suspended": ("account", "until_ms", "strikes"),
    "account.jailed": ("account", "duty"),
    "account.unjailed": ("account",),
    "account.key_set": ("account", "public_key", "scope"),
    "account.profile_set": ("account",),
    "account.checker_set": ("account", "checker"),
    "credits.transferred": ("sender", "recipient", "amount"),
    "credits.bonded": ("account", "amount"),
    "credits.unbonding": ("account", "amount", "release_ms"),
    "credits.released": ("account", "amount"),
    "validator.changed": ("consensus_key", "account", "power"),
}
ADDRESS = b"a" * 20
BYTES = {"public_key", "model_digest", "consensus_key"}
TEXTS = {"outcome", "state", "duty", "scope"}


def make_all() -> list[Event]:
    """Call every constructor with a value of the right kind for each parameter."""
    out = []
    for name, function in inspect.getmembers(events, inspect.isfunction):
        if inspect.signature(function).return_annotation is Event and not name.startswith("_"):
            out.append(function(*(make_value(parameter) for parameter in inspect.signature(function).parameters)))
    return out


def make_value(parameter: str) -> int | bytes | str:
    if parameter in {"account", "candidate", "contractor", "winner", "sender", "recipient", "operator"}:
        return ADDRESS
    if parameter in BYTES:
        return b"k" * 32
    return "word" if parameter in TEXTS else -7


def test_names_and_attributes_are_frozen() -> None:
    made = {event.type: tuple(name for name, _ in event.attributes) for event in make_all()}
    assert made == FROZEN
    assert len(make_all()) == len(FROZEN)


def test_attributes_are_strings_addresses_bech32_other_bytes_hexadecimal() -> None:
    for event in make_all():
        for name, value in parse_attributes(event).items():
            if name in BYTES:
                assert value == "6b" * 32
            elif name in TEXTS:
                assert value == "word"
            else:
                assert value in (encode_address(ADDRESS), "-7"), (event.type, name)


@pytest.mark.parametrize("name", sorted(INDEXED))
def test_only_ids_and_addresses_are_indexed(name: str) -> None:
    values = {parse_attributes(event)[name] for event in make_all() if name in parse_attributes(event)}
    assert values == ({"-7"} if name == "job_id" else {encode_address(ADDRESS)})
