"""The model's two doors: blocks and transactions.

A transaction is a plain dict: `defect` (the reason why its bytes are no transaction, or None), `chain_tag`, `account`,
`public_key`, `nonce`, `expires_at_height`, `signature_ok`, `kind` (name of the message) and `message` (its fields;
a register also has `work_bits`, the leading zero bits of its work hash, a set_key `key_ok` and `proof_ok`).
"""

from typing import Any

from abci_app.pb.learningchain.v1 import state_pb2
from tests.model.account_messages import ACCOUNT_MESSAGES, WORK_MESSAGES
from tests.model.hashes import address_of
from tests.model.job_messages import JOB_MESSAGES
from tests.model.lifecycle import ban, prune, run_deadlines
from tests.model.records import TX_UNITS, Account, Key, Validator
from tests.model.state import State, choose_validators, count_commits, fix_table, release_unbondings

MESSAGES = ACCOUNT_MESSAGES | JOB_MESSAGES
Tx = dict[str, Any]
OK: frozenset[str] = frozenset()


class Model:
    """The rules as they are written, without any regard for speed."""

    def __init__(self, genesis: state_pb2.Genesis, chain_tag: bytes, time_ms: int) -> None:
        self.state = State(genesis.params, chain_tag, now=time_ms, period=time_ms // 600_000)
        for g in genesis.accounts:
            account = Account({g.public_key: Key(1)}, g.balance, g.bond, checker=g.checker, silent_since=time_ms)
            account.bucket, account.bucket_ms = self.state.capacity(account), time_ms
            self.state.accounts[address_of(g.public_key)] = account
        for v in genesis.validators:
            self.state.validators[v.consensus_key] = Validator(v.operator, v.power)
        self.supply = self.state.total()

    def begin_block(
        self,
        height: int,
        time_ms: int,
        block_hash: bytes,
        proposer: bytes | None,
        evidence: tuple[bytes, ...] = (),
        missed: tuple[bytes, ...] = (),
    ) -> None:
        """Do what comes before the transactions.

        `evidence` names accounts that double-signed, `missed` the consensus keys that did not sign the last block.
        """
        s = self.state
        if time_ms - s.now > s.params.outage_ms:
            s.outage_end = time_ms
        s.height, s.now, s.block_hash, s.proposer = height, time_ms, block_hash, proposer
        s.index, s.registered = -1, 0
        s.recent >>= time_ms // 600_000 - s.period
        s.period = time_ms // 600_000
        for operator in evidence:
            ban(s, operator)
        count_commits(s, missed)
        fix_table(s)
        run_deadlines(s)
        release_unbondings(s)
        prune(s)

    def end_block(self) -> None:
        """Choose the validators anew."""
        choose_validators(self.state)

    def apply(self, tx: Tx) -> frozenset[str]:
        """Carry out the next transaction of the block. Return every reason against it; none means success."""
        self.state.index += 1
        if tx["defect"]:
            return frozenset({tx["defect"]})
        if tx["kind"] == "register":
            return self.register(tx)
        reason, own = self.check_envelope(tx)
        if reason:
            return frozenset({reason})
        self.charge(tx, free=not own and tx["kind"] in ("commit_vote", "reveal_vote"))
        if not own:
            MESSAGES[tx["kind"]][1](self.state, tx["account"], tx["message"])
        return own

    # The envelope

    def check_lifetime(self, tx: Tx) -> str:
        """Return the reason against chain and expiry height, or nothing."""
        s = self.state
        if tx["chain_tag"] != s.tag:
            return "wrong_chain"
        if tx["expires_at_height"] < s.height:
            return "expired"
        return "expiry_too_far" if tx["expires_at_height"] > s.height + s.params.max_tx_lifetime else ""

    def check_envelope(self, tx: Tx) -> tuple[str, frozenset[str]]:
        """Return the first reason against the envelope, or nothing and the reasons against the message."""
        s = self.state
        account = s.accounts.get(tx["account"])
        if reason := self.check_lifetime(tx):
            return reason, OK
        if account is None:
            return "unknown_account", OK
        if account.registered_height == s.height:
            return "fresh_account", OK
        if reason := self.check_key(tx, account):
            return reason, OK
        if account.banned:
            return "account_banned", OK
        if tx["nonce"] != account.keys[tx["public_key"]].nonce + 1:
            return "wrong_nonce", OK
        own = frozenset(self.check_message(tx))
        owed = not own and tx["kind"] in ("commit_vote", "reveal_vote")
        if not owed and self.state.filled(account) < TX_UNITS:
            return "quota_exceeded", OK
        return ("", own) if tx["signature_ok"] else ("bad_signature", OK)

    def check_key(self, tx: Tx, account: Account) -> str:
        """Return the reason against the key, or nothing."""
        key = account.keys.get(tx["public_key"])
        if key is None:
            return "unknown_key"
        if key.scope == 3:
            return "key_removed"
        if key.expires and self.state.now >= key.expires:
            return "key_expired"
        return "scope_too_small" if key.scope == 2 and tx["kind"] not in WORK_MESSAGES else ""

    def check_message(self, tx: Tx) -> set[str]:
        """Return the reasons against the message itself."""
        if tx["kind"] not in MESSAGES:
            return {"not_supported"}
        return set(MESSAGES[tx["kind"]][0](self.state, tx["account"], tx["message"]))

    def charge(self, tx: Tx, free: bool) -> None:
        """Consume nonce and quota of an accepted envelope."""
        account = self.state.accounts[tx["account"]]
        account.keys[tx["public_key"]].nonce += 1
        cost = 0 if free else TX_UNITS
        account.bucket, account.bucket_ms = self.state.filled(account) - cost, self.state.now

    def register(self, tx: Tx) -> frozenset[str]:
        """Create an account, or change nothing."""
        s = self.state
        if reason := self.check_lifetime(tx):
            return frozenset({reason})
        reasons = set(self.check_register(tx))
        if not reasons and not tx["signature_ok"]:
            reasons = {"bad_signature"}
        if not reasons:
            account = Account({tx["public_key"]: Key(1)}, silent_since=s.now, registered_height=s.height)
            account.bucket, account.bucket_ms = self.state.capacity(account), s.now
            s.accounts[tx["account"]] = account
            s.recent += 1
            s.registered += 1
        return frozenset(reasons)

    def check_register(self, tx: Tx) -> list[str]:
        """Return every reason against a registration but its signature."""
        s = self.state
        known = any(tx["public_key"] in a.keys for a in s.accounts.values()) or tx["account"] in s.accounts
        needed = s.params.registration_bits + (s.recent // 256).bit_length()
        found = {
            "register_address": tx["account"] != address_of(tx["public_key"]),
            "already_registered": known,
            "register_nonce": tx["nonce"] != 0,
            "bad_solution": not 1 <= len(tx["message"]["solution"]) <= 32,
            "registrations_full": s.registered >= s.params.max_registrations_per_block,
            "work_too_small": tx["message"]["work_bits"] < needed,
        }
        return [reason for reason, holds in found.items() if holds]
