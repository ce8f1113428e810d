"""Steps of the comparison that make blocks: time, proposers, evidence, absent validators."""

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.model.choices import SEEN, START_MS, numbers, pick, small
from tests.model.core import make_core
from tests.model.hashes import address_of
from tests.model.records import Job
from tests.model.setting import ACCOUNTS, STRANGERS, make_genesis
from tests.model.twin import Twin


class BlockRules(RuleBasedStateMachine):
    """Model and core from the same genesis, with everybody's keys."""

    def __init__(self) -> None:
        super().__init__()
        genesis = make_genesis()
        self.twin = Twin(genesis, make_core(genesis, START_MS), START_MS)
        self.s = self.twin.s
        self.absent: tuple[bytes, ...] = ()  # consensus keys that sign nothing now
        self.plans: dict[tuple[int, int, bytes], dict[str, Any]] = {}
        self.people = [address_of(self.twin.add_key(number)) for number in range(ACCOUNTS + STRANGERS)]

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
        SEEN.update(self.s.seen)

    def has_job(self, *states: str) -> bool:
        return self.find_job(0, *states) is not None

    def find_job(self, choice: int, *states: str) -> Job | None:
        jobs = [j for j in self.s.jobs.values() if not states or j.state in states]
        return pick(choice, jobs) if jobs else None
