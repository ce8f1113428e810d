"""The validator set: bonds to powers, evidence, missed blocks, and that the set is never emptied."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.context import BlockContext
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.limits import UCREDIT
from abci_app.protocol.params import get_params
from abci_app.protocol.state import BlockState
from abci_app.protocol.validators import Seat, compute_powers, get_operator, process_missed_blocks
from tests.support.chain import Chain, consensus_address, consensus_key

DOUBLE_VOTE, LIGHT_CLIENT_ATTACK, UNKNOWN = 1, 2, 0
BONDS = {"val0": 1_000 * UCREDIT, "val1": 500 * UCREDIT, "val2": 200 * UCREDIT}


@pytest.fixture
def chain() -> Chain:
    chain = Chain(validators=BONDS)
    chain.block()
    return chain


def powers(chain: Chain) -> dict[str, int]:
    return {name: chain.validator_power(name) for name in BONDS}


def missed_heights(chain: Chain, name: str) -> list[int]:
    record = chain.get(keys.validator(consensus_key(name)), pb.Validator)
    assert record is not None
    return list(record.missed_heights)


# --- power ---


def test_the_genesis_set_is_told_nothing_at_the_first_block(chain: Chain) -> None:
    assert chain.last.validator_updates == []
    assert powers(chain) == {"val0": 1_000, "val1": 500, "val2": 200}


def test_power_follows_the_bond_in_the_same_block_with_one_update_per_key(chain: Chain) -> None:
    result = chain.block([("val1", tx_pb2.Unbond(amount=10 * UCREDIT)), ("val1", tx_pb2.Unbond(amount=UCREDIT))])
    assert result.validator_updates == [(consensus_key("val1"), 489)]
    assert [event.type for event in result.events] == ["validator.changed"]
    assert chain.block().validator_updates == []


def test_a_part_of_a_power_unit_gives_no_power(chain: Chain) -> None:
    chain.must("val1", tx_pb2.Bond(amount=2 * UCREDIT - 1))
    assert chain.last.validator_updates == [(consensus_key("val1"), 501)]
    chain.must("val1", tx_pb2.Unbond(amount=UCREDIT))
    assert chain.last.validator_updates == [(consensus_key("val1"), 500)]


def test_a_bond_below_the_minimum_leaves_the_set_and_comes_back(chain: Chain) -> None:
    chain.must("val2", tx_pb2.Unbond(amount=101 * UCREDIT))
    assert chain.last.validator_updates == [(consensus_key("val2"), 0)]
    chain.must("val2", tx_pb2.Bond(amount=UCREDIT))
    assert chain.last.validator_updates == [(consensus_key("val2"), 100)]


def test_a_key_outside_the_set_keeps_its_operator(chain: Chain) -> None:
    chain.must("val2", tx_pb2.Unbond(amount=200 * UCREDIT))
    assert get_operator(chain.state(), consensus_address("val2")) == chain.address("val2")
    assert get_operator(chain.state(), consensus_address("nobody")) is None


def seat(name: str, power: int, bond: int, qualifies: bool = True) -> Seat:
    return Seat(consensus_key(name), name.encode(), power, bond * UCREDIT, qualifies)


def signers(*names: str) -> list[bytes]:
    return [compute_consensus_address(consensus_key(name)) for name in names]


def test_the_largest_bonds_up_to_max_validators_form_the_set_ties_by_address() -> None:
    params = get_params("minimal")
    params.max_validators = 2
    seats = [seat("a", 0, 100), seat("c", 100, 100), seat("b", 100, 100)]
    assert compute_powers(seats, params, signers("b")) == {consensus_key("a"): 100, consensus_key("b"): 100}


def test_the_last_validator_keeps_its_power_when_nobody_qualifies() -> None:
    seats = [seat("a", 300, 0, qualifies=False), seat("b", 500, 0, qualifies=False), seat("c", 0, 50, qualifies=False)]
    assert compute_powers(seats, get_params("minimal"), signers("a", "b")) == {consensus_key("b"): 500}


def test_who_signed_the_last_block_stays_before_a_stronger_one_that_is_absent() -> None:
    """The absent one alone in the set would halt the chain."""
    seats = [seat("a", 300, 0, qualifies=False), seat("b", 500, 0, qualifies=False)]
    assert compute_powers(seats, get_params("minimal"), signers("a")) == {consensus_key("a"): 300}


def test_the_set_goes_on_when_its_signers_leave_in_the_block_that_jails_the_strongest() -> None:
    bonds = {name: UCREDIT * bond for name, bond in {"val0": 300, "val1": 250, "val2": 240, "val3": 210}.items()}
    chain = Chain(validators=bonds)
    chain.block()
    for _ in range(chain.params.max_missed_blocks):
        chain.block(missed=["val0"])
    leave = [(name, tx_pb2.Unbond(amount=bonds[name])) for name in ("val1", "val2", "val3")]
    chain.block(leave, missed=["val0"])
    assert chain.account("val0").validator_jailed_ms
    assert {name: chain.validator_power(name) for name in bonds} == {"val0": 0, "val1": 250, "val2": 0, "val3": 0}


def test_among_equal_powers_the_lower_consensus_key_stays() -> None:
    seats = [seat(name, 300, 0, qualifies=False) for name in ("a", "b", "c")]
    lowest = min(consensus_key(name) for name in ("a", "b", "c"))
    assert compute_powers(seats, get_params("minimal"), []) == {lowest: 300}


def test_the_last_one_leaves_only_after_another_one_has_signed() -> None:
    """A replacement that never signs would halt the chain."""
    params = get_params("minimal")
    both = {consensus_key("old"): 500, consensus_key("new"): 200}
    assert compute_powers([seat("old", 500, 0, False), seat("new", 0, 200)], params, signers("old")) == both
    assert compute_powers([seat("old", 500, 0, False), seat("new", 200, 200)], params, signers("old")) == both
    only_new = compute_powers([seat("old", 500, 0, False), seat("new", 200, 200)], params, signers("old", "new"))
    assert only_new == {consensus_key("new"): 200}


# --- evidence ---


@pytest.mark.parametrize("kind", [DOUBLE_VOTE, LIGHT_CLIENT_ATTACK])
def test_a_proved_offence_bans_the_operator_and_ends_its_power(chain: Chain, kind: int) -> None:
    result = chain.block(misbehavior=[(kind, "val1")])
    assert chain.account("val1").banned
    assert chain.supply().burned == 1_500 * UCREDIT
    assert result.validator_updates == [(consensus_key("val1"), 0)]
    assert [event.type for event in result.events] == ["account.banned", "validator.changed"]


def test_a_second_proof_changes_nothing(chain: Chain) -> None:
    chain.block(misbehavior=[(DOUBLE_VOTE, "val1"), (DOUBLE_VOTE, "val1")])
    assert chain.supply().burned == 1_500 * UCREDIT
    before = chain.hash()
    assert chain.block(misbehavior=[(LIGHT_CLIENT_ATTACK, "val1")]).events == []
    assert chain.hash() == before


def test_evidence_finds_the_operator_after_it_has_left_the_set(chain: Chain) -> None:
    chain.must("val2", tx_pb2.Unbond(amount=200 * UCREDIT))
    chain.block(misbehavior=[(DOUBLE_VOTE, "val2")])
    assert chain.account("val2").banned
    assert chain.supply().unbonding == 0


def test_an_unknown_kind_and_an_unknown_key_change_nothing(chain: Chain) -> None:
    before = chain.hash()
    chain.block(misbehavior=[(UNKNOWN, "val1"), (DOUBLE_VOTE, "stranger")])
    assert chain.hash() == before


def test_banning_everybody_leaves_the_strongest_in_the_set_for_ever() -> None:
    chain = Chain(validators=BONDS)
    chain.block()
    chain.block(misbehavior=[(DOUBLE_VOTE, name) for name in BONDS])
    assert powers(chain) == {"val0": 1_000, "val1": 0, "val2": 0}
    assert chain.account("val0").bond == 0
    chain.skip(60_000)
    assert powers(chain)["val0"] == 1_000


def test_a_banned_last_validator_leaves_once_another_one_has_signed() -> None:
    chain = Chain(validators=BONDS)
    chain.block()
    for name in ("val1", "val2"):
        chain.must(name, tx_pb2.Unbond(amount=BONDS[name]))
    chain.block(misbehavior=[(DOUBLE_VOTE, "val0")])
    assert powers(chain) == {"val0": 1_000, "val1": 0, "val2": 0}
    chain.must("val1", tx_pb2.Bond(amount=300 * UCREDIT))
    assert powers(chain) == {"val0": 1_000, "val1": 300, "val2": 0}
    chain.block(missed=["val1"])
    assert powers(chain)["val0"] == 1_000
    assert chain.block().validator_updates == [(consensus_key("val0"), 0)]
    assert powers(chain) == {"val0": 0, "val1": 300, "val2": 0}


# --- missed blocks ---


def test_only_misses_are_stored_as_the_heights_that_were_missed(chain: Chain) -> None:
    before = chain.hash()
    chain.block()
    assert chain.hash() == before
    chain.block(missed=["val1"])
    assert missed_heights(chain, "val1") == [chain.height - 1]
    assert chain.last.events == []


def test_more_than_max_missed_blocks_of_the_window_jail_the_validator(chain: Chain) -> None:
    for _ in range(chain.params.max_missed_blocks):
        chain.block(missed=["val1"])
    assert chain.validator_power("val1") == 500
    result = chain.block(missed=["val1"])
    assert [event.type for event in result.events] == ["account.jailed", "validator.changed"]
    assert chain.account("val1").validator_jailed_ms == chain.time_ms
    assert chain.account("val1").checker_jailed_ms == 0
    assert chain.account("val1").bond == 500 * UCREDIT
    assert powers(chain)["val1"] == 0


def test_misses_outside_the_window_are_forgotten(chain: Chain) -> None:
    window, most = chain.params.signed_window, chain.params.max_missed_blocks
    for _ in range(most):
        chain.block(missed=["val1"])
    first = missed_heights(chain, "val1")[0]
    while chain.height < first + window:
        chain.block()
    chain.block(missed=["val1"])  # the height missed is first + window: the first miss has just left the window
    assert len(missed_heights(chain, "val1")) == most
    assert chain.account("val1").validator_jailed_ms == 0


def test_a_miss_of_a_key_outside_the_set_is_ignored(chain: Chain) -> None:
    chain.must("val2", tx_pb2.Unbond(amount=200 * UCREDIT))
    before = chain.hash()
    chain.block(missed=["val2", "stranger"])
    assert chain.hash() == before


def test_a_jailed_last_validator_goes_on(chain: Chain) -> None:
    for name in ("val1", "val2"):
        chain.must(name, tx_pb2.Unbond(amount=BONDS[name]))
    for _ in range(chain.params.max_missed_blocks + 1):
        chain.block(missed=["val0"])
    jailed_ms = chain.account("val0").validator_jailed_ms
    assert jailed_ms == chain.time_ms
    assert chain.block(missed=["val0"]).events == []
    assert chain.account("val0").validator_jailed_ms == jailed_ms
    assert powers(chain) == {"val0": 1_000, "val1": 0, "val2": 0}


def test_a_banned_last_validator_is_not_jailed_as_well(chain: Chain) -> None:
    chain.block(misbehavior=[(DOUBLE_VOTE, name) for name in BONDS])
    for _ in range(chain.params.max_missed_blocks + 1):
        assert chain.block(missed=["val0"]).events == []
    assert chain.account("val0").validator_jailed_ms == 0


def test_misses_are_counted_in_ascending_order_of_consensus_address(chain: Chain) -> None:
    for _ in range(chain.params.max_missed_blocks):
        chain.block(missed=["val1", "val2"])
    ordered = [encode_address(chain.address(name)) for name in sorted(("val1", "val2"), key=consensus_address)]
    for missed in (("val1", "val2"), ("val2", "val1")):
        context = BlockContext(chain.tag, chain.params, chain.height + 1, chain.time_ms)
        addresses = [consensus_address(name) for name in missed]
        events = process_missed_blocks(BlockState(chain.committed), context, addresses)
        assert [dict(event.attributes)["account"] for event in events] == ordered


def test_the_stored_misses_never_exceed_the_window(chain: Chain) -> None:
    for name in ("val1", "val2"):
        chain.must(name, tx_pb2.Unbond(amount=BONDS[name]))
    for _ in range(3 * chain.params.signed_window):
        chain.block(missed=["val0"])
    assert len(missed_heights(chain, "val0")) == chain.params.signed_window


# --- proposer ---


def test_the_proposer_of_a_block_is_known_by_its_operator(chain: Chain) -> None:
    assert get_operator(chain.state(), consensus_address("val1")) == chain.address("val1")
