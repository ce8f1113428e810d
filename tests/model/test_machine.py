"""The real core against the independent model: the same transactions to both, compared block by block.

`LC_TEST_PROFILE=deep` looks for hours where the default looks for about a minute.
"""

import os
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.model.core import make_core
from tests.model.hashes import address_of, joined, model_commitment, vote_commitment
from tests.model.records import CREDIT, RESERVED_LOSS, Account, Job
from tests.model.setting import ACCOUNTS, STRANGERS, make_genesis
from tests.model.twin import Twin

START_MS = 1_800_000_000_123
"""Time of the genesis."""
DEFECTS = ("too_large", "undecodable", "not_canonical", "bad_field_length")
ENVELOPES = ("nonce", "future", "expired", "far", "tag", "signature", "key", "stranger")
FIRST_NEW_KEY = 100
"""Keys from this number on are added by SetKey."""
MODEL, SALT = b"\x05" * 32, b"\x06" * 32

IMAGE = "registry.test/digits@sha256:" + "ab" * 32
RECEIPT = b"\x07" * 32
OPINIONS = (
    (1, 0, RECEIPT), (1, 500, RECEIPT), (1, 1000, b"\x08" * 32), (1, 50_000, RECEIPT), (1, 50_400, RECEIPT),
    (1, 10_001, RECEIPT), (1, 10_000, RECEIPT), (1, 1001, b""), (1, RESERVED_LOSS, b""), (1, RESERVED_LOSS, RECEIPT),
    (2, 0, b""), (3, 0, b""), (4, 0, b""), (1, -5000, b""), (1, 90_000, b"\x09" * 32),
)  # fmt: skip
"""Finding, loss above the announced one (or the reserved loss), receipt."""
AHEAD = (5_000, 5_000, 5_000, 6_000, 20_000, 4_999, 86_400_000, 86_400_001)
"""How far in the future jobs expire, in ms."""
SILENT = (0, 0, 0, 1, 6, 30, 31)
"""Bit i: the i-th seated account says nothing."""
TERM_CHANGES: tuple[dict[str, Any], ...] = (
    *[{}] * 12, {"deposit": 200_002}, {"deposit": 200_003}, {"deposit": 6 * CREDIT}, {"runner_ups": 5},
    {"free_places": 9}, {"bounty": CREDIT - 1}, {"bounty": 2**63}, {"bounty": 30 * CREDIT, "verify_fee": 9 * CREDIT},
    {"job_class": 2}, {"verify_fee": 99_999}, {"verify_fee": 2**53 + 1}, {"expiry_ms": 0}, {"expiry_ms": 2**64 - 1},
    {"reveal_window_ms": 9_999}, {"tolerance": 999}, {"tolerance": 1001}, {"ban_margin": 9_999},
    {"ban_margin": 2**61 + 1}, {"min_improvement": 1000}, {"loss_ceiling": 2**62 + 1}, {"loss_ceiling": -(2**62)},
    {"needs": {"gpus": 2**10 + 1}}, {"needs": {"accelerator": "x" * 33}},
    {"image": "a@sha256:12"}, {"image": "@sha256:" + "ab" * 32}, {"eval_image": IMAGE + "0"}, {"eval_image": IMAGE},
    {"reveal_window_ms": 60_000}, {"reveal_window_ms": 60_001}, {"min_improvement": 1001}, {"min_improvement": 2**61},
    {"min_improvement": 2**61 + 1}, {"ban_margin": 2**61}, {"loss_ceiling": 2**62}, {"needs": {"gpus": 2**10}},
    {"needs": {"milli_cpus": 2**20, "memory_mib": 2**24, "disk_mib": 2**24, "gpu_memory_mib": 2**20}},
    {"needs": {"milli_cpus": 2**20 + 1}}, {"needs": {"memory_mib": 2**24 + 1}}, {"needs": {"disk_mib": 2**24 + 1}},
    {"needs": {"gpu_memory_mib": 2**20 + 1}}, {"needs": {"seconds": 2**25}}, {"needs": {"seconds": 2**25 + 1}},
    {"title": "t" * 128, "about": "a" * 512, "metric": "m" * 32}, {"about": "a" * 513}, {"verify_fee": 100_000},
    {"image": "i" * 441 + "@" + IMAGE[-71:]}, {"image": "i" * 440 + "@" + IMAGE[-71:]},
    {"needs": {"accelerator": "x" * 32}},
    {"title": "t" * 129}, {"about": "a\nb"}, {"metric": "é" * 17}, {"needs": {}},
)  # fmt: skip
REVEAL_CHANGES: tuple[dict[str, Any], ...] = (
    {}, {}, {"salt": bytes(32)}, {"size": 0}, {"salt": b""}, {"size": 2**24 + 1}, {"locations": ["http://a"] * 5},
    {"locations": [""]}, {"model_digest": b"d"},
)  # fmt: skip
VOTE_CHANGES: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"loss": 7}, {"salt": bytes(32)}, {"salt": b"s"}, {"finding": 0}, {"finding": 4}, {"receipt": b"r"},
    {"round": 9},
)  # fmt: skip
BOUNTIES = (CREDIT, 5 * CREDIT + 49, 9 * CREDIT)
MEMOS = ("", "hi", "\x00", "é" * 65)
NAMES = ("node", "", "n" * 65, "a\nb")
AMOUNTS = (1, 49, CREDIT, 0, 2**63)
STEPS = (2000, 2000, 1999, 1, 0, -1, -1500, -4000, 2**62 + 5)
"""How far an announcement lies below somebody's ranked loss."""
DEEP = os.environ.get("LC_TEST_PROFILE") == "deep"

small = st.integers(min_value=0, max_value=2)
ups = st.integers(min_value=0, max_value=4)
entrants = st.tuples(st.integers(min_value=2, max_value=ACCOUNTS - 1), st.booleans())
numbers = st.integers(min_value=0, max_value=1000)


def pick(choice: int, options: Sequence[Any]) -> Any:
    """Return one of some options; shrinks to the first."""
    return options[choice % len(options)]


class Chains(RuleBasedStateMachine):
    """Model and core from the same genesis, with everybody's keys."""

    def __init__(self) -> None:
        super().__init__()
        genesis = make_genesis()
        self.twin = Twin(genesis, make_core(genesis, START_MS), START_MS)
        self.s = self.twin.s
        self.absent: tuple[bytes, ...] = ()  # consensus keys that sign nothing now
        self.plans: dict[tuple[int, int, bytes], dict[str, Any]] = {}
        self.people = [address_of(self.twin.add_key(number)) for number in range(ACCOUNTS + STRANGERS)]

    # Blocks

    @rule(
        step=st.sampled_from(["soon", "almost", "late", "second", "epoch", "outage", "release"]),
        proposer=small,
        offence=numbers,
    )
    def next_block(self, step: str, proposer: int, offence: int) -> None:
        self.twin.finish()
        operators = sorted(v.operator for v in self.s.validators.values())
        evidence = (operators[offence % len(operators)],) if offence > 970 else ()
        by = operators[proposer] if proposer < len(operators) else None
        in_set = [key for key, v in self.s.validators.items() if v.power]
        absent = self.absent if len(in_set) > 1 else ()  # a chain of one validator stands still without it
        self.twin.begin(self.s.now + self.compute_step(step), by, evidence, absent)

    @rule(who=small)
    def change_absent(self, who: int) -> None:
        """Let another validator miss blocks from now on, or none."""
        self.absent = tuple(sorted(self.s.validators)[who : who + 1])

    @precondition(lambda self: self.absent)
    @rule(blocks=st.integers(min_value=1, max_value=6))
    def idle(self, blocks: int) -> None:
        for _ in range(blocks):
            self.next_block("second", 0, 0)

    @rule(proposer=small)
    def next_deadline(self, proposer: int) -> None:
        self.next_block("due", proposer, 0)

    @precondition(lambda self: self.has_job("REVEAL", "VOTE", "TALLY"))
    @rule(deadlines=st.integers(min_value=1, max_value=4))
    def do_nothing(self, deadlines: int) -> None:
        """Let deadlines pass for which nobody does anything."""
        for _ in range(deadlines):
            self.next_deadline(0)

    def compute_step(self, step: str) -> int:
        deadlines = [j.deadline for j in self.s.jobs.values()]
        releases = [u.release_ms for a in self.s.accounts.values() for u in a.unbonding]
        due = min((d for d in deadlines if d > self.s.now), default=self.s.now + 100) - self.s.now
        release = min((r for r in releases if r > self.s.now), default=self.s.now + 100) - self.s.now
        steps = {"soon": 1, "due": due, "almost": max(1, due - 1), "late": due + 1, "second": 1000, "release": release}
        return steps.get(step) or (self.s.params.epoch_ms if step == "epoch" else self.s.params.outage_ms + 1)

    @invariant()
    def credits_are_conserved(self) -> None:
        assert self.s.total() == self.twin.model.supply

    def teardown(self) -> None:
        if self.twin.under_way:  # else the comparison of the last block has failed already
            self.twin.finish()

    # Accounts

    @rule(
        kind=st.sampled_from(["transfer", "bond", "unbond", "set_checker", "unjail", "set_profile", "set_key"]),
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
            pick(b // 4, (0, 0, 1, 5000)),
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

    # Jobs

    @rule(
        who=numbers,
        ups=small,
        deposit=st.sampled_from([0, 0, CREDIT]),
        ahead=st.sampled_from(AHEAD),
        bounty=st.sampled_from(BOUNTIES),
        change=st.sampled_from(TERM_CHANGES),
    )
    def submit_job(self, who: int, ups: int, deposit: int, ahead: int, bounty: int, change: dict[str, Any]) -> None:
        terms = {
            "image": IMAGE, "eval_image": "", "title": "digits", "about": "", "metric": "log-loss", "bounty": bounty,
            "job_class": who % 2, "verify_fee": 200_003, "deposit": deposit, "runner_ups": ups,
            "free_places": 1 + ups if not deposit else ups, "expiry_ms": self.s.now + ahead,
            "reveal_window_ms": 10_000, "tolerance": 1000, "ban_margin": 10_000, "min_improvement": 2000,
            "loss_ceiling": 10**9, "needs": {"milli_cpus": 500}, **change,
        }  # fmt: skip
        self.twin.send(pick(who, self.people[4:8]), "submit_job", terms)

    def has_job(self, *states: str) -> bool:
        return self.find_job(0, *states) is not None

    def find_job(self, choice: int, *states: str) -> Job | None:
        jobs = [j for j in self.s.jobs.values() if not states or j.state in states]
        return pick(choice, jobs) if jobs else None

    @precondition(lambda self: self.has_job())
    @rule(who=numbers, which=numbers, kind=st.sampled_from(["raise_bounty", "cancel_job"]), amount=numbers)
    def change_job(self, who: int, which: int, kind: str, amount: int) -> None:
        job = self.find_job(which, "OPEN") or self.find_job(which)
        contractor = job.contractor if job and who % 4 else pick(who, self.people[:ACCOUNTS])
        balance = self.s.accounts[contractor].balance
        most = balance * 50 // 51  # with its fee of 1/50 this is about all
        added = {"amount": pick(amount, (most, most + 1, balance, *AMOUNTS))} if kind == "raise_bounty" else {}
        self.twin.send(contractor, kind, {"job_id": job.id if job else which} | added)

    @precondition(lambda self: self.has_job())
    @rule(who=numbers, which=numbers, step=st.sampled_from(STEPS), secured=st.booleans(), rival=numbers)
    def announce(self, who: int, which: int, step: int, secured: bool, rival: int) -> None:
        job = self.find_job(which, "OPEN") or self.find_job(which)
        sender = pick(who, self.people[2:ACCOUNTS])
        ranked = [c.ranked for c in job.candidates] if job else []
        loss = (pick(rival, ranked) if ranked else 10**6) - step
        self.send_announce(sender, job.id if job else which, loss, secured)

    def send_announce(self, sender: bytes, job_id: int, loss: int, secured: bool) -> None:
        commitment = model_commitment(self.s.tag, job_id, sender, MODEL, SALT)
        message = {"job_id": job_id, "loss": loss, "commitment": commitment, "secured": secured}
        self.twin.send(sender, "announce", message)

    @precondition(lambda self: self.has_job("REVEAL", "VOTE"))
    @rule(who=numbers, which=numbers, change=st.sampled_from(REVEAL_CHANGES))
    def reveal(self, who: int, which: int, change: dict[str, Any]) -> None:
        job = self.find_job(which, "REVEAL") or self.find_job(which)
        candidate = job.candidates[0].account if job and job.candidates else pick(who, self.people)
        sender = candidate if who % 5 else pick(who, self.people)
        self.send_reveal(sender, job.id if job else which, **change)

    def send_reveal(self, sender: bytes, job_id: int, **change: Any) -> None:
        message = {
            "job_id": job_id,
            "model_digest": MODEL,
            "size": 2**20 + 1,
            "salt": SALT,
            "locations": ["http://a/m"],
        }
        self.twin.send(sender, "reveal", message | change)

    @precondition(lambda self: self.has_job("REVEAL", "VOTE"))
    @rule(who=numbers, which=numbers, opinion=numbers, shift=st.sampled_from([0, 0, 0, 1]))
    def commit_vote(self, who: int, which: int, opinion: int, shift: int) -> None:
        job = self.find_job(which, "VOTE") or self.find_job(which, "TALLY") or self.find_job(which)
        if job:
            self.send_commit(self.pick_seated(job, who), job, opinion, shift)

    def pick_seated(self, job: Job, who: int) -> bytes:
        votes = self.s.rounds[job.id, job.round].votes if job.rounds else []
        seated = [v.account for v in votes]
        account: bytes = pick(who, seated if seated and who % 7 else self.people)
        return account

    def send_commit(self, sender: bytes, job: Job, opinion: int, shift: int = 0) -> None:
        """Commit to one of the opinions one can have about the job's model."""
        loss = job.candidates[0].loss if job.candidates else 0
        finding, measured, receipt = pick(opinion, OPINIONS)
        measured = measured if measured == RESERVED_LOSS or finding != 1 else loss + measured
        fields = {"finding": finding, "loss": measured, "receipt": receipt, "salt": SALT}
        plan = {"job_id": job.id, "round": job.round + shift, **fields}
        opened = (job.id, job.round, sender, finding, measured, receipt, SALT)
        self.plans.setdefault((job.id, job.round, sender), plan)
        message = {"job_id": job.id, "round": job.round + shift, "commitment": vote_commitment(self.s.tag, *opened)}
        self.twin.send(sender, "commit_vote", message)

    @precondition(lambda self: self.has_job("VOTE", "TALLY"))
    @rule(who=numbers, which=numbers, change=st.sampled_from(VOTE_CHANGES))
    def reveal_vote(self, who: int, which: int, change: dict[str, Any]) -> None:
        job = self.find_job(which, "TALLY") or self.find_job(which, "VOTE") or self.find_job(which)
        if job:
            self.send_opening(self.pick_seated(job, who), job, **change)

    def send_opening(self, sender: bytes, job: Job, **change: Any) -> None:
        unplanned = {"job_id": job.id, "round": job.round, "finding": 2, "loss": 0, "receipt": b"", "salt": SALT}
        self.twin.send(sender, "reveal_vote", self.plans.get((job.id, job.round, sender), unplanned) | change)

    @precondition(lambda self: self.has_job("REVEAL", "VOTE", "TALLY"))
    @rule(which=numbers, main=numbers, other=numbers, minority=st.integers(min_value=0, max_value=3), silent=numbers)
    def run_round(self, which: int, main: int, other: int, minority: int, silent: int) -> None:
        """Bring a job's round as far as it goes: most share one opinion, some another, one may be silent."""
        job = self.find_job(which, "REVEAL", "VOTE", "TALLY")
        assert job is not None
        if job.state == "REVEAL":
            self.send_reveal(job.candidates[0].account, job.id)
        number, votes, mask = job.round, self.s.rounds[job.id, job.round].votes, pick(silent, SILENT)
        for i, vote in enumerate(votes):
            if job.state == "VOTE" and not mask >> i & 1:
                self.send_commit(vote.account, job, other if i < minority else main)
        for i, vote in enumerate(votes):
            if job.state == "TALLY" and job.round == number and not pick(silent // 7, SILENT) >> i & 1:
                self.send_opening(vote.account, job)

    @rule(main=numbers, other=numbers, minority=st.integers(min_value=0, max_value=3), silent=numbers)
    def run_rounds(self, main: int, other: int, minority: int, silent: int) -> None:
        """Run a round of every job that waits for one."""
        self.next_deadline(main % 3)
        for which in range(len(self.s.jobs)):
            if self.has_job("REVEAL", "VOTE", "TALLY"):
                self.run_round(which, main + which, other, minority, silent + which)

    @rule(
        contractor=numbers,
        ups=ups,
        deposit=st.sampled_from([0, CREDIT]),
        bounty=small,
        entries=st.lists(entrants, min_size=1, max_size=4),
    )
    def race(self, contractor: int, ups: int, deposit: int, bounty: int, entries: list[tuple[int, bool]]) -> None:
        """Post a job and let several enter it, each undercutting the one before."""
        self.submit_job(contractor, ups, deposit, 5_000, pick(bounty, BOUNTIES), {})
        for place, (who, secured) in enumerate(entries):
            loss = 10**6 - 2000 * place
            self.send_announce(self.people[who], self.s.next_job - 1, loss, secured and deposit > 0)

    @rule(jobs=st.integers(min_value=2, max_value=8), ups=st.integers(min_value=0, max_value=1))
    def flood(self, jobs: int, ups: int) -> None:
        """Let more jobs fall due in one block than it processes."""
        for number in range(jobs):
            self.race(number, ups, 0, 0, [(2 + number, False), (3 + number, False)])


Chains.TestCase.settings = settings(
    max_examples=20_000 if DEEP else 400,
    stateful_step_count=100 if DEEP else 60,
    derandomize=not DEEP,  # the default must not fail by chance on somebody's unrelated change
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(86_400 if DEEP else 900)]
TestChains = Chains.TestCase
