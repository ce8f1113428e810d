"""Steps of the comparison about accounts: credits, bonds, keys, registrations, envelopes that fail."""

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.block_rules import BlockRules
from tests.model.choices import DEFECTS, ENVELOPES, FIRST_NEW_KEY, FIRST_NEWCOMER, numbers, pick, small
from tests.model.hashes import address_of, joined
from tests.model.records import CREDIT, Account
from tests.model.setting import ACCOUNTS, STRANGERS


class AccountRules(BlockRules):
    """What anybody may do with an account of its own."""

    @rule(
        kind=st.sampled_from(
            ["transfer", "bond", "unbond", "set_checker", "unjail", "set_profile", "set_key", "declare_validator"]
        ),
        who=numbers,
        a=numbers,
        b=numbers,
    )
    def manage_account(self, kind: str, who: int, a: int, b: int) -> None:
        sender = pick(who, self.people)
        if kind == "unjail":
            sender = pick(
                who, [x for x, account in self.s.accounts.items() if account.checker_jailed_ms] or self.people
            )
        held = self.s.accounts[sender] if sender in self.s.accounts else Account({})
        parts = {"transfer": (0, 1, CREDIT, held.balance, held.balance + 1, 2**63)}
        parts["bond"] = (CREDIT, CREDIT - 1, held.balance, held.balance + 1, 3 * CREDIT, 0)
        parts["unbond"] = (CREDIT, CREDIT - 1, held.bond, held.bond + 1, 3 * CREDIT, 0)
        amount = pick(a, parts.get(kind, (0,)))
        messages: dict[str, dict[str, Any]] = {
            "transfer": {
                "to": pick(b, self.people),
                "amount": amount,
                "memo": pick(b // 20, ("", "hi", "\x00", "é" * 65)),
            },
            "bond": {"amount": amount},
            "unbond": {"amount": amount},
            "set_checker": {"enabled": a % 3 < 2, "highest_class": b % 3},
            "unjail": {},
            "declare_validator": {"consensus_key": bytes(32), "proof": bytes(64)},
            "set_profile": {
                "name": pick(a, ("node", "", "n" * 65, "a\nb")),
                "endpoint": pick(b, ("http://x:1", "e" * 257)),
            },
        }
        self.twin.send(sender, kind, messages[kind] if kind in messages else self.make_set_key(sender, a, b))

    def make_set_key(self, sender: bytes, a: int, b: int, number: int | None = None) -> dict[str, Any]:
        chosen = FIRST_NEW_KEY + a % 6 if a % 7 else a % 3
        public_key = self.twin.add_key(chosen if number is None else number)
        scope, proof, ahead = (
            pick(b, (2, 1, 3, 0)),
            pick(a // 7, ("right", "right", "wrong")),
            pick(b // 4, (0, 0, 1, 5000, -1, 2**53)),
        )
        right = self.twin.keys[public_key].sign(joined("key", self.s.tag, sender)).signature
        signature = b"" if scope == 3 and proof == "right" else right if proof == "right" else bytes(64)
        expires = self.s.now + ahead if ahead and scope != 3 else 0
        return {
            "public_key": public_key, "proof": signature, "scope": scope, "key_ok": True, "expires_at_ms": expires,
            "proof_ok": signature == right,
        }  # fmt: skip

    @rule(who=numbers, first=numbers, count=st.integers(min_value=1, max_value=18))
    def add_keys(self, who: int, first: int, count: int) -> None:
        """Add keys, perhaps more than an account may have, then remove one, with an expiry if `count` is odd."""
        sender = pick(who, self.people[:ACCOUNTS])
        for number in range(count):
            message = self.make_set_key(sender, 0, 0, FIRST_NEW_KEY + (first + number) % 90)
            self.twin.send(sender, "set_key", message)
        self.twin.send(sender, "set_key", self.make_set_key(sender, 0, 2 + 8 * (count % 2), FIRST_NEW_KEY + first % 90))

    @rule(who=small, parts=st.integers(min_value=1, max_value=9), patient=st.booleans())
    def unbond_in_parts(self, who: int, parts: int, patient: bool) -> None:
        """Take credits out of a bond, perhaps more often than an account may, and perhaps wait for them."""
        for _ in range(parts):
            self.twin.send(self.people[who], "unbond", {"amount": CREDIT})
        if patient:
            for _ in range(self.s.params.unbonding_blocks):
                self.next_block("second", 0, 0)
            self.next_block("release", 0, 0)

    @precondition(lambda self: self.get_jailed())
    @rule(who=numbers, patient=st.booleans())
    def leave_jail(self, who: int, patient: bool) -> None:
        sender = pick(who, self.get_jailed())
        for _ in range(self.s.params.unjail_ms // 1000 if patient else 1):
            self.next_block("second", 0, 0)
        self.twin.send(sender, "unjail", {})

    def get_jailed(self) -> list[bytes]:
        return [x for x, account in self.s.accounts.items() if account.checker_jailed_ms and not account.banned]

    @rule(first=numbers, count=st.integers(min_value=1, max_value=4))
    def join(self, first: int, count: int) -> None:
        """Let newcomers register, perhaps more than a block takes, and act at once."""
        for number in range(FIRST_NEWCOMER + first, FIRST_NEWCOMER + first + count):
            self.twin.register(number, bytes(8))
            newcomer = address_of(self.twin.add_key(number))
            self.twin.send(newcomer, "set_profile", {"name": "new", "endpoint": ""})

    @rule(
        change=st.sampled_from([*DEFECTS, *ENVELOPES, "other key", "other key", "register", "register", "register"]),
        who=numbers,
        a=numbers,
    )
    def envelope(self, change: str, who: int, a: int) -> None:
        if change == "register":
            solution = pick(a, (bytes(8), bytes(8), b"x", b"", b"z" * 33))
            changes: dict[str, Any] = pick(a // 5, ({}, {}, {"nonce": 1}, {"signature_ok": False}))
            self.twin.register(who % (ACCOUNTS + STRANGERS), solution, **changes)
        elif change == "other key":
            self.send_with_other_key(who, a)
        else:
            self.malformed(who, change)

    def malformed(self, who: int, change: str) -> None:
        sender = pick(who, self.people[:ACCOUNTS])
        changes: dict[str, dict[str, Any]] = {
            "nonce": {"nonce_shift": -1},
            "future": {"nonce_shift": 1},
            "expired": {"expires_at_height": self.s.height - 1},
            "far": {"expires_at_height": self.s.height + self.s.params.max_tx_lifetime + who % 2},
            "tag": {"chain_tag": b"otherone"},
            "signature": {"signature_ok": False},
            "key": {"public_key": self.twin.add_key(who % ACCOUNTS)},
            "stranger": {},
            **{defect: {"defect": defect} for defect in DEFECTS},
        }
        sender = self.people[-1] if change == "stranger" else sender
        self.twin.send(sender, "transfer", {"to": self.people[0], "amount": 1, "memo": ""}, **changes[change])

    def send_with_other_key(self, who: int, a: int) -> None:
        """Send with any key that an account ever had."""
        several = [address for address, account in self.s.accounts.items() if len(account.keys) > 1]
        sender = pick(who, several or self.people[:1])
        public_key = pick(a, list(self.s.accounts[sender].keys)[::-1])
        messages: dict[str, dict[str, Any]] = {
            "set_profile": {"name": "k", "endpoint": ""},
            "transfer": {"to": self.people[1], "amount": 1, "memo": ""},
            "announce": {"job_id": 1, "loss": 0, "commitment": bytes(32), "secured": False},
        }
        kind = pick(a // 5, list(messages))
        self.twin.send(sender, kind, messages[kind], public_key=public_key)
