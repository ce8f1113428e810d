"""The layout of the state: one letter per record type, fixed widths, byte order is number order."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys

ADDRESS = b"a" * 20
LAYOUT = [
    (keys.account(ADDRESS), b"a" + ADDRESS, "accounts", pb.Account),
    (keys.standing(ADDRESS), b"s" + ADDRESS, "accounts", pb.Standing),
    (keys.profile(ADDRESS), b"p" + ADDRESS, "accounts", pb.Profile),
    (keys.job(258), b"j" + bytes(6) + b"\x01\x02", "jobs", pb.Job),
    (keys.round_(258, 3), b"r" + bytes(6) + b"\x01\x02" + bytes(7) + b"\x03", "rounds", pb.Round),
    (keys.validator(b"v" * 32), b"v" + b"v" * 32, "validators", pb.Validator),
    (keys.PARAMS, b"cp", "chain", pb.Params),
    (keys.SUPPLY, b"cs", "chain", pb.Supply),
    (keys.COUNTERS, b"cn", "chain", pb.Counters),
    (keys.REGISTRATION_LOAD, b"cr", "chain", pb.RegistrationLoad),
    (keys.OUTAGE, b"co", "chain", pb.Outage),
    (keys.CURRENT_EPOCH, b"ce", "chain", pb.CurrentEpoch),
    (keys.checker_table(5), b"ct" + bytes(7) + b"\x05", "chain", pb.CheckerTable),
]


@pytest.mark.parametrize(("key", "expected", "store", "record"), LAYOUT)
def test_the_layout_is_frozen(key: bytes, expected: bytes, store: str, record: type) -> None:
    assert key == expected
    assert keys.STORE_OF[key[0]] == store
    assert keys.get_record_type(key) is record


def test_no_key_begins_as_hexadecimal_does_for_the_light_proxy() -> None:
    assert ord("x") not in keys.STORE_OF


@pytest.mark.parametrize("key", [b"x", b"cz", b"", b"c"])
def test_a_key_outside_the_layout_is_an_error(key: bytes) -> None:
    with pytest.raises((KeyError, IndexError)):
        keys.get_record_type(key)


def test_bonds_are_ordered_from_large_to_small_then_by_address() -> None:
    entries = [(5, b"b" * 20), (5, b"a" * 20), (7, b"z" * 20), (0, b"a" * 20), (2**64 - 1, b"a" * 20)]
    ordered = sorted(keys.index_bond(*entry) for entry in entries)
    assert [keys.split_bond(key) for key in ordered] == sorted(entries, key=lambda entry: (-entry[0], entry[1]))


def test_unbonding_entries_are_ordered_by_time_height_number() -> None:
    entries = [(2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 256), (1, 1, 3)]
    ordered = sorted(keys.index_unbonding(*entry) for entry in entries)
    assert [keys.split_unbonding(key) for key in ordered] == sorted(entries)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_numbers_outside_their_width_are_an_error(value: int) -> None:
    with pytest.raises(OverflowError):
        keys.job(value)
