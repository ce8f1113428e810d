"""What accounts have done: counters that filters use, strikes, and missed votes."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import events
from abci_app.protocol.accounts import edit_account, edit_standing, get_standing
from abci_app.protocol.context import BlockContext
from abci_app.protocol.limits import MAX_INT64, MAX_STRIKE_SHIFT
from abci_app.protocol.outcome import Judgement, is_agreed
from abci_app.protocol.state import StateRead, StateWrite


def is_suspended(state: StateRead, address: bytes, now_ms: int) -> bool:
    """Tell whether an account may not announce now."""
    return now_ms < get_standing(state, address).suspended_until_ms


def add_strike(state: StateWrite, context: BlockContext, address: bytes) -> None:
    """Suspend an account, each time for twice as long; while it is suspended nothing more counts.

    So one bad day of a fleet, which ends many turns at once, is one strike.
    """
    if is_suspended(state, address, context.time_ms):
        return
    standing = edit_standing(state, address)
    standing.strikes += 1
    length = context.params.suspension_ms << min(standing.strikes - 1, MAX_STRIKE_SHIFT)
    standing.suspended_until_ms = context.time_ms + length
    state.record(events.account_suspended(address, standing.suspended_until_ms, standing.strikes))


def count_win(state: StateWrite, address: bytes) -> None:
    """Count an accepted model, which removes one strike."""
    standing = edit_standing(state, address)
    standing.wins += 1
    standing.strikes = max(0, standing.strikes - 1)


def add_capped(total: int, amount: int) -> int:
    """Return the sum for a counter of ucredit; credits circulate, so it could outgrow its range and stops there."""
    return min(total + amount, MAX_INT64)


def count_vote(state: StateWrite, address: bytes, outcome: pb.Outcome, judgement: Judgement) -> None:
    """Count whether a revealed vote found what was decided, once per account and round."""
    agreed = is_agreed(outcome, judgement)
    if agreed is None:
        return
    standing = edit_standing(state, address)
    standing.votes_agreed += agreed
    standing.votes_outvoted += not agreed


def count_miss(state: StateWrite, context: BlockContext, address: bytes) -> None:
    """Count a round without a vote; many of them and a long silence jail the account as checker."""
    standing = edit_standing(state, address)
    standing.votes_missed += 1
    standing.missed_in_a_row += 1
    if standing.missed_in_a_row < context.params.max_missed_votes:
        return
    if context.time_ms - standing.silent_since_ms < context.params.silence_ms:
        return
    edit_account(state, address).checker_jailed_ms = context.time_ms
    state.record(events.account_jailed(address, "checker"))


def end_silence(state: StateWrite, address: bytes, now_ms: int) -> None:
    """Note a revealed vote: it resets the count of missed rounds."""
    standing = edit_standing(state, address)
    standing.missed_in_a_row = 0
    standing.silent_since_ms = now_ms
