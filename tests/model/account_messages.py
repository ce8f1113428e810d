"""What the messages about keys, credits, bonds and checkers need and do.

A check yields the name of every reason against the message; a refused one may be answered with any of them: the rules
leave the order of a message's own checks open. Effects come only when there is none.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tests.model.records import CREDIT, Key, Unbonding
from tests.model.state import State

Message = dict[str, Any]
Reasons = Iterator[str]
Check = Callable[[State, bytes, Message], Reasons]
Effect = Callable[[State, bytes, Message], None]
WORK_MESSAGES = ("announce", "reveal", "commit_vote", "reveal_vote", "set_profile")
OWNER, WORK, REMOVED = 1, 2, 3


def those(found: dict[str, bool]) -> Reasons:
    """Yield the reasons that hold."""
    return (reason for reason, holds in found.items() if holds)


def is_text(value: str, longest: int) -> bool:
    """Tell whether a text is short enough and free of control bytes."""
    raw = value.encode()
    return len(raw) <= longest and not any(byte < 32 or byte == 127 for byte in raw)


def check_set_key(s: State, sender: bytes, m: Message) -> Reasons:
    keys, new = s.accounts[sender].keys, (m["scope"], m["expires_at_ms"])
    after = {pk: (k.scope, k.expires) for pk, k in keys.items()} | {m["public_key"]: new}
    if m["scope"] not in (OWNER, WORK, REMOVED):
        yield "bad_scope"
    if (OWNER, 0) not in after.values():
        yield "last_owner_key"
    if m["scope"] == REMOVED:
        if m["proof"] or m["expires_at_ms"]:
            yield "bad_scope"
        if m["public_key"] not in keys or keys[m["public_key"]].scope == REMOVED:
            yield "key_not_present"
        return
    others = [a.keys for address, a in s.accounts.items() if address != sender]
    yield from those(
        {
            "bad_key": not m["key_ok"],
            "bad_key_proof": not m["proof_ok"],
            "bad_key_expiry": m["expires_at_ms"] != 0 and not s.now < m["expires_at_ms"] <= 2**53,
            "key_taken": any(m["public_key"] in theirs for theirs in others),
            "too_many_keys": sum(scope != REMOVED for scope, _ in after.values()) > 16 or len(after) > 64,
        }
    )


def do_set_key(s: State, sender: bytes, m: Message) -> None:
    key = s.accounts[sender].keys.setdefault(m["public_key"], Key(m["scope"]))
    key.scope, key.expires = m["scope"], m["expires_at_ms"]


def check_set_profile(s: State, sender: bytes, m: Message) -> Reasons:
    if not is_text(m["name"], 64) or not is_text(m["endpoint"], 256):
        yield "bad_text"


def do_set_profile(s: State, sender: bytes, m: Message) -> None:
    s.accounts[sender].name, s.accounts[sender].endpoint = m["name"], m["endpoint"]


def check_transfer(s: State, sender: bytes, m: Message) -> Reasons:
    to = s.accounts.get(m["to"])
    yield from those(
        {
            "bad_text": not is_text(m["memo"], 128),
            "bad_amount": not 1 <= m["amount"] < 2**63,
            "bad_recipient": to is None or m["to"] == sender,
            "recipient_banned": to is not None and to.banned,
            "insufficient_balance": m["amount"] > s.accounts[sender].balance,
        }
    )


def do_transfer(s: State, sender: bytes, m: Message) -> None:
    s.accounts[sender].balance -= m["amount"]
    s.receive(m["to"], m["amount"])


def check_move(amount: int, held: int) -> Reasons:
    """Yield what speaks against moving this much into or out of a bond."""
    if not 1 <= amount < 2**63:
        yield "bad_amount"
    if amount < CREDIT and amount != held:
        yield "bad_bond_amount"


def check_bond(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_move(m["amount"], s.accounts[sender].balance)
    if m["amount"] > s.accounts[sender].balance:
        yield "insufficient_balance"


def do_bond(s: State, sender: bytes, m: Message) -> None:
    s.accounts[sender].balance -= m["amount"]
    s.accounts[sender].bond += m["amount"]


def check_unbond(s: State, sender: bytes, m: Message) -> Reasons:
    account = s.accounts[sender]
    yield from check_move(m["amount"], account.bond)
    if m["amount"] > account.bond:
        yield "insufficient_bond"
    if len(account.unbonding) >= 8:
        yield "too_many_unbondings"


def do_unbond(s: State, sender: bytes, m: Message) -> None:
    account = s.accounts[sender]
    account.bond -= m["amount"]
    release = s.now + s.params.unbonding_ms, s.height + s.params.unbonding_blocks
    account.unbonding.append(Unbonding(m["amount"], *release, s.next_unbonding))
    s.next_unbonding += 1


def check_set_checker(s: State, sender: bytes, m: Message) -> Reasons:
    if m["highest_class"] >= (len(s.params.classes) if m["enabled"] else 1):
        yield "bad_checker"


def do_set_checker(s: State, sender: bytes, m: Message) -> None:
    account = s.accounts[sender]
    account.checker = m["highest_class"] + 1 if m["enabled"] else 0
    account.silent_since = s.now


def check_unjail(s: State, sender: bytes, m: Message) -> Reasons:
    account = s.accounts[sender]
    jails = [at for at in (account.checker_jailed_ms, account.validator_jailed_ms) if at]
    if not jails:
        yield "not_jailed"
    elif all(s.now - at < s.params.unjail_ms for at in jails):
        yield "still_jailed"


def do_unjail(s: State, sender: bytes, m: Message) -> None:
    account = s.accounts[sender]
    if account.checker_jailed_ms and s.now - account.checker_jailed_ms >= s.params.unjail_ms:
        account.checker_jailed_ms, account.missed_in_a_row, account.silent_since = 0, 0, s.now
    if account.validator_jailed_ms and s.now - account.validator_jailed_ms >= s.params.unjail_ms:
        account.validator_jailed_ms = 0
        for validator in s.validators.values():
            if validator.operator == sender:
                validator.missed = []


ACCOUNT_MESSAGES: dict[str, tuple[Check, Effect]] = {
    "set_key": (check_set_key, do_set_key),
    "set_profile": (check_set_profile, do_set_profile),
    "transfer": (check_transfer, do_transfer),
    "bond": (check_bond, do_bond),
    "unbond": (check_unbond, do_unbond),
    "set_checker": (check_set_checker, do_set_checker),
    "unjail": (check_unjail, do_unjail),
}
