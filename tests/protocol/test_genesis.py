import json
from collections.abc import Callable
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.audit import audit
from abci_app.protocol.genesis import (
    ConsensusLimits,
    build_genesis_state,
    check_consensus_limits,
    check_genesis,
    check_validator_list,
    compute_genesis_tag,
    compute_supply,
)
from abci_app.protocol.genesis_json import BadGenesis, parse_genesis, render_genesis
from abci_app.protocol.limits import MAX_INT64, UCREDIT
from abci_app.protocol.params import get_params
from tests.support.chain import GENESIS_MS, Chain, DictState, Holding, consensus_key

Change = Callable[[dict[str, Any]], object]
LEAST_BLOCK = 731 + 101 * 111 + 16_384 + 8
"""For 100 validators and no evidence, in bytes."""


@pytest.fixture
def genesis() -> pb.Genesis:
    validators = {"val0": 1_000 * UCREDIT, "val1": 500 * UCREDIT + 1}
    return Chain(accounts={"alice": Holding(5, 7, 1)}, validators=validators).genesis


def parse(data: object) -> pb.Genesis:
    return parse_genesis(json.dumps(data).encode())


# --- form ---


def test_rendered_and_parsed_is_the_same(genesis: pb.Genesis) -> None:
    parsed = parse_genesis(render_genesis(genesis).encode())
    assert parse_genesis(render_genesis(parsed).encode()) == parsed
    assert len(parsed.accounts) == 3
    check_genesis(parsed)


def test_the_tag_does_not_depend_on_how_the_json_is_written(genesis: pb.Genesis) -> None:
    """CometBFT hands over other white space at a restart than at the first start."""
    data = json.loads(render_genesis(genesis))
    shuffled = {name: data[name] for name in reversed(list(data))}
    shuffled["accounts"] = data["accounts"][::-1]
    shuffled["validators"] = data["validators"][::-1]
    texts = [
        json.dumps(data),
        json.dumps(data, indent=4),
        json.dumps(shuffled, separators=(",", ":")),
        json.dumps(data).replace("tiny", "\\u0074iny"),
    ]
    tags = {compute_genesis_tag("c", parse_genesis(text.encode())) for text in texts}
    assert tags == {compute_genesis_tag("c", genesis)}


def test_another_chain_id_or_any_other_value_gives_another_tag(genesis: pb.Genesis) -> None:
    other = pb.Genesis()
    other.CopyFrom(genesis)
    other.accounts[0].balance += 1
    tags = {compute_genesis_tag("a", genesis), compute_genesis_tag("b", genesis), compute_genesis_tag("a", other)}
    assert len(tags) == 3
    assert all(len(tag) == 8 for tag in tags)


@pytest.mark.parametrize("chain_id", ["", "x" * 51, "x\ud800"])
def test_a_chain_id_that_cometbft_would_refuse_is_refused(genesis: pb.Genesis, chain_id: str) -> None:
    with pytest.raises(BadGenesis, match="chain_id"):
        compute_genesis_tag(chain_id, genesis)
    compute_genesis_tag("x" * 50, genesis)


def set_path(*path: str | int, value: object) -> Change:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_path("extra", value="1"), "unknown fields"),
        (lambda data: data.pop("validators"), "missing fields"),
        (lambda data: data["params"].pop("tx_burst"), "missing fields"),
        (lambda data: data["params"]["classes"][0].update(gpu="1"), "unknown fields"),
        (set_path("params", value=None), "must be an object"),
        (set_path("accounts", value={}), "must be a list"),
        (set_path("accounts", 0, value="x"), "must be an object"),
        (set_path("accounts", 0, "balance", value=5), "decimal string"),
        (set_path("accounts", 0, "balance", value=5.5), "decimal string"),
        (set_path("accounts", 0, "balance", value=True), "must be a string"),
        (set_path("accounts", 0, "balance", value=None), "must be a string"),
        (set_path("accounts", 0, "balance", value="-1"), "decimal number"),
        (set_path("accounts", 0, "balance", value="01"), "decimal number"),
        (set_path("accounts", 0, "balance", value="1e3"), "decimal number"),
        (set_path("accounts", 0, "balance", value=" 1"), "decimal number"),
        (set_path("accounts", 0, "balance", value="1\n"), "decimal number"),
        (set_path("accounts", 0, "balance", value="٣"), "decimal number"),
        (set_path("accounts", 0, "balance", value=str(2**64)), "decimal number"),
        (set_path("accounts", 0, "public_key", value="AB" * 32), "lowercase hexadecimal"),
        (set_path("accounts", 0, "public_key", value="0x" + "ab" * 31), "lowercase hexadecimal"),
        (set_path("accounts", 0, "public_key", value="abc"), "lowercase hexadecimal"),
        (set_path("accounts", 0, "public_key", value="ab" * 32 + "\n"), "lowercase hexadecimal"),
        (set_path("params", "classes", 0, "name", value="tin\ud800"), "classes.0..name must be ASCII"),
        (set_path("validators", 0, "operator", value="00" * 20), "lc1"),
        (set_path("validators", 0, "operator", value=""), "lc1"),
    ],
)
def test_anything_out_of_form_is_refused_with_its_place(genesis: pb.Genesis, change: Change, words: str) -> None:
    data = json.loads(render_genesis(genesis))
    change(data)
    with pytest.raises(BadGenesis, match=words):
        parse(data)


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'"' + b"a" * 9 + b'"']
)
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(BadGenesis):
        parse_genesis(text)


def test_a_field_given_twice_is_refused(genesis: pb.Genesis) -> None:
    text = render_genesis(genesis).replace('"tx_burst":', '"tx_burst": "1", "tx_burst":', 1)
    with pytest.raises(BadGenesis, match="given twice"):
        parse_genesis(text.encode())


# --- meaning ---


def test_bad_parameters_are_refused(genesis: pb.Genesis) -> None:
    genesis.params.committee_seats = 0
    with pytest.raises(BadGenesis, match="committee_seats"):
        check_genesis(genesis)


def change_account(**values: Any) -> Callable[[pb.Genesis], None]:
    def change(genesis: pb.Genesis) -> None:
        for name, value in values.items():
            setattr(genesis.accounts[0], name, value)

    return change


def change_validator(**values: Any) -> Callable[[pb.Genesis], None]:
    def change(genesis: pb.Genesis) -> None:
        for name, value in values.items():
            setattr(genesis.validators[1], name, value)

    return change


def drop_validators(genesis: pb.Genesis) -> None:
    del genesis.validators[:]


def too_many_validators(genesis: pb.Genesis) -> None:
    genesis.params.max_validators = 1


def test_as_many_validators_as_there_are_places_are_taken(genesis: pb.Genesis) -> None:
    genesis.params.max_validators = len(genesis.validators)
    check_genesis(genesis)


def double_account(genesis: pb.Genesis) -> None:
    genesis.accounts.append(genesis.accounts[0])


def double_key(genesis: pb.Genesis) -> None:
    genesis.validators[1].consensus_key = genesis.validators[0].consensus_key


def one_operator_twice(genesis: pb.Genesis) -> None:
    genesis.validators[1].operator = genesis.validators[0].operator
    genesis.validators[1].power = genesis.validators[0].power


def small_bond(genesis: pb.Genesis) -> None:
    genesis.params.min_validator_bond = 600 * UCREDIT


def overflow(genesis: pb.Genesis) -> None:
    genesis.accounts[1].balance = 2**63 - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_account(public_key=bytes(31)), "32 bytes"),
        (change_account(balance=2**63), "2\\^63"),
        (change_account(bond=2**64 - 1), "2\\^63"),
        (change_account(checker=3), "checker"),
        (double_account, "listed twice"),
        (overflow, "supply exceeds"),
        (drop_validators, "1 to max_validators"),
        (too_many_validators, "1 to max_validators"),
        (change_validator(consensus_key=bytes(33)), "consensus key has 32 bytes"),
        (double_key, "listed once"),
        (change_validator(operator=bytes(20)), "an account of this genesis"),
        (one_operator_twice, "runs one validator"),
        (small_bond, "below min_validator_bond"),
        (change_validator(power=501), "power must be bond / power_unit = 500"),
    ],
)
def test_a_genesis_that_cannot_run_is_refused(
    genesis: pb.Genesis, change: Callable[[pb.Genesis], None], words: str
) -> None:
    change(genesis)
    with pytest.raises(BadGenesis, match=words):
        check_genesis(genesis)


def test_the_largest_supply_there_can_be_is_taken(genesis: pb.Genesis) -> None:
    genesis.accounts[0].balance += MAX_INT64 - compute_supply(genesis)
    check_genesis(genesis)
    genesis.accounts[0].balance += 1
    with pytest.raises(BadGenesis, match="supply exceeds"):
        check_genesis(genesis)


def test_power_beyond_cometbfts_bound_is_refused(genesis: pb.Genesis) -> None:
    genesis.params.power_unit = 4
    genesis.accounts[0].balance = 2**61
    with pytest.raises(BadGenesis, match="2\\^59"):
        check_genesis(genesis)


def test_the_largest_supply_for_a_power_unit_is_taken(genesis: pb.Genesis) -> None:
    genesis.params.power_unit = 2
    for validator in genesis.validators:
        validator.power = validator.power * UCREDIT // 2
    genesis.accounts[0].balance += 2**60 - 1 - compute_supply(genesis)
    check_genesis(genesis)
    genesis.accounts[0].balance += 1
    with pytest.raises(BadGenesis, match="2\\^59"):
        check_genesis(genesis)


def test_the_validators_must_be_those_given_to_init_chain(genesis: pb.Genesis) -> None:
    given = {consensus_key("val0"): 1_000, consensus_key("val1"): 500}
    check_validator_list(genesis, given)
    for wrong in ({}, {consensus_key("val0"): 1_000}, {**given, consensus_key("val1"): 501}, {**given, b"x" * 32: 1}):
        with pytest.raises(BadGenesis, match="differ"):
            check_validator_list(genesis, wrong)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ConsensusLimits(-1, 0, 0, 0), "block.max_bytes"),
        (ConsensusLimits(2**20 + 1, 0, 0, 0), "block.max_bytes"),
        (ConsensusLimits(0, 0, 0, 0), "block.max_bytes"),
        (ConsensusLimits(2**20, 2**16 + 1, 0, 0), "evidence.max_bytes"),
        (ConsensusLimits(2**20, -1, 0, 0), "evidence.max_bytes"),
        (ConsensusLimits(2**20, 2**16, 101, 30_000), "unbonding_blocks"),
        (ConsensusLimits(2**20, 2**16, 100, 60_000), "unbonding_ms"),
        (ConsensusLimits(LEAST_BLOCK - 1, 0, 0, 0), "block.max_bytes must lie from 28334"),
        (ConsensusLimits(LEAST_BLOCK + 2**16 - 1, 2**16, 0, 0), "block.max_bytes must lie from 93870"),
        (ConsensusLimits(2**20, 0, 0, 0, ("secp256k1",)), "pub_key_types must contain ed25519"),
        (ConsensusLimits(2**20, 0, 0, 0, ()), "pub_key_types must contain ed25519"),
    ],
)
def test_cometbfts_own_parameters_fit_the_chain(limits: ConsensusLimits, words: str) -> None:
    params = get_params("devnet")
    both = ("secp256k1", "ed25519")
    for fit in (ConsensusLimits(2**20, 2**16, 100, 59_999), ConsensusLimits(LEAST_BLOCK, 0, 0, 0, both)):
        check_consensus_limits(params, fit)
    with pytest.raises(BadGenesis, match=words):
        check_consensus_limits(params, limits)


# --- state ---


@pytest.mark.parametrize("time_ms", [0, -1_000])
def test_no_chain_begins_before_1970(genesis: pb.Genesis, time_ms: int) -> None:
    with pytest.raises(BadGenesis, match="1970"):
        build_genesis_state(genesis, time_ms)
    build_genesis_state(genesis, 1)


def test_the_first_state_is_sound_and_holds_what_the_genesis_says(genesis: pb.Genesis) -> None:
    committed = DictState()
    committed.commit(build_genesis_state(genesis, GENESIS_MS))
    audit(committed.records.items(), committed.index.items())
    supply = pb.Supply.FromString(committed.records[keys.SUPPLY])
    assert supply.genesis == supply.balances + supply.bonds == sum(a.balance + a.bond for a in genesis.accounts)
    assert pb.Params.FromString(committed.records[keys.PARAMS]) == genesis.params
    standings = [value for key, value in committed.records.items() if key.startswith(b"s")]
    assert [pb.Standing.FromString(data) for data in standings] == [pb.Standing(silent_since_ms=GENESIS_MS)] * len(
        genesis.accounts
    )


def test_rich_accounts_start_with_a_full_bucket_and_poor_ones_with_a_full_poor_one() -> None:
    chain = Chain(accounts={"rich": Holding(UCREDIT), "bonded": Holding(0, UCREDIT), "poor": Holding(UCREDIT - 1)})
    units = {name: chain.account(name).bucket_units // 60_000 for name in ("rich", "bonded", "poor")}
    assert units == {"rich": chain.params.tx_burst, "bonded": chain.params.tx_burst, "poor": chain.params.poor_burst}
