"""Validators: who they are, what power they have, and what CometBFT is told.

Their powers are tracked here as last told to CometBFT. A record stays for ever, with power 0 outside the set, so that
evidence finds its operator later.
"""

from collections.abc import Collection
from dataclasses import dataclass

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import events, keys
from abci_app.protocol.accounts import edit_account, require_account
from abci_app.protocol.context import BlockContext
from abci_app.protocol.events import Event
from abci_app.protocol.hashing import compute_consensus_address
from abci_app.protocol.limits import ADDRESS_BYTES
from abci_app.protocol.state import BlockState, StateDelta, StateRead, StateWrite


@dataclass(frozen=True, slots=True)
class Seat:
    """What the set depends on for one known validator; `power` is as last told to CometBFT, `bond` the operator's."""

    consensus_key: bytes
    operator: bytes
    power: int
    bond: int
    qualifies: bool


def get_consensus_key(state: StateRead, consensus_address: bytes) -> bytes | None:
    """Return the consensus key of a validator CometBFT names by address, None if the chain never knew it."""
    start = keys.index_consensus_address(consensus_address)
    return next((value for _, value in state.scan(start, start + b"\x00")), None)


def get_operator(state: StateRead, consensus_address: bytes) -> bytes | None:
    """Return the account behind a consensus address, None if the chain never knew it."""
    consensus_key = get_consensus_key(state, consensus_address)
    return None if consensus_key is None else require_validator(state, consensus_key).operator


def require_validator(state: StateRead, consensus_key: bytes) -> pb.Validator:
    """Return the record of a known validator, not to be changed."""
    validator = state.get(keys.validator(consensus_key), pb.Validator)
    if validator is None:
        raise LookupError("a validator that the state refers to does not exist")
    return validator


def get_validator_keys(state: StateRead) -> list[bytes]:
    """Return the consensus keys of all validators ever known, in the order of their consensus addresses."""
    start = keys.index_consensus_address(b"")
    return [value for _, value in state.scan(start, keys.index_consensus_address(b"\xff" * (ADDRESS_BYTES + 1)))]


def process_missed_blocks(state: BlockState, context: BlockContext, missed: Collection[bytes]) -> list[Event]:
    """Count the validators of the set that did not sign the last block; jail who missed too many.

    Only misses are stored, as heights within the window: a block that everybody signed changes nothing.
    """
    out: list[Event] = []
    for consensus_address in sorted(missed):
        consensus_key = get_consensus_key(state, consensus_address)
        if consensus_key is not None and require_validator(state, consensus_key).power:
            delta = StateDelta(state)
            _count_miss(delta, context, consensus_key)
            out += delta.apply()
    return out


def _count_miss(state: StateWrite, context: BlockContext, consensus_key: bytes) -> None:
    params, height = context.params, context.height - 1
    validator = state.edit(keys.validator(consensus_key), pb.Validator)
    oldest = height - params.signed_window
    kept = [*(h for h in validator.missed_heights if h > oldest), height]
    del validator.missed_heights[:]
    validator.missed_heights.extend(kept)
    account = require_account(state, validator.operator)
    if len(kept) > params.max_missed_blocks and not account.validator_jailed_ms and not account.banned:
        edit_account(state, validator.operator).validator_jailed_ms = context.time_ms
        state.record(events.account_jailed(validator.operator, "validator"))


def clear_misses(state: StateWrite, operator: bytes) -> None:
    """Forget the missed blocks of an operator's validators."""
    for consensus_key in get_validator_keys(state):
        if require_validator(state, consensus_key).operator == operator:
            del state.edit(keys.validator(consensus_key), pb.Validator).missed_heights[:]


def process_validators(
    state: BlockState, context: BlockContext, signed: Collection[bytes]
) -> tuple[list[tuple[bytes, int]], list[Event]]:
    """Bring the set up to date; return CometBFT's updates (consensus key, power) and the events.

    `signed` are the consensus addresses that signed the last block.
    """
    seats = _get_seats(state, context.params)
    powers = compute_powers(seats, context.params, signed)
    delta = StateDelta(state)
    updates: list[tuple[bytes, int]] = []
    for seat in seats:
        power = powers.get(seat.consensus_key, 0)
        if power != seat.power:
            delta.edit(keys.validator(seat.consensus_key), pb.Validator).power = power
            delta.record(events.validator_changed(seat.consensus_key, seat.operator, power))
            updates.append((seat.consensus_key, power))
    return updates, delta.apply()


def compute_powers(seats: Collection[Seat], params: pb.Params, signed: Collection[bytes]) -> dict[bytes, int]:
    """Return the power of each consensus key of the new set, which is never empty.

    The set is the largest qualified bonds. Those who leave do so only when a qualified one signed the last block; until
    then one of them keeps its power, the strongest that signed it or else the strongest, so that a set of keys that do
    not sign cannot halt the chain.
    """
    qualified = sorted((s for s in seats if s.qualifies), key=lambda s: (-s.bond, s.operator))
    powers = {s.consensus_key: s.bond // params.power_unit for s in qualified[: params.max_validators]}
    leaving = [s for s in seats if s.power and s.consensus_key not in powers]
    if leaving and not any(_has_signed(key, signed) for key in powers):
        last = min(leaving, key=lambda s: (not _has_signed(s.consensus_key, signed), -s.power, s.consensus_key))
        powers[last.consensus_key] = last.power
    return powers


def _has_signed(consensus_key: bytes, signed: Collection[bytes]) -> bool:
    return compute_consensus_address(consensus_key) in signed


def _get_seats(state: StateRead, params: pb.Params) -> list[Seat]:
    out: list[Seat] = []
    for consensus_key in get_validator_keys(state):
        validator = require_validator(state, consensus_key)
        account = require_account(state, validator.operator)
        able = not account.banned and not account.validator_jailed_ms and account.bond >= params.min_validator_bond
        out.append(Seat(consensus_key, validator.operator, validator.power, account.bond, able))
    return out
