"""The real core against the independent model: the same transactions to both, compared block by block.

`LC_TEST_PROFILE=deep` looks for hours where the default looks for about a minute.
"""

import os
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.model.account_rules import AccountRules
from tests.model.choices import (
    AGAINST,
    AHEAD,
    AMOUNTS,
    BOUNTIES,
    FOR,
    IMAGE,
    MODEL,
    MUST_SEE,
    OPINIONS,
    PARTS,
    REVEAL_CHANGES,
    SALT,
    SEEN,
    SILENT,
    STEPS,
    TERM_CHANGES,
    VOTE_CHANGES,
    entrants,
    numbers,
    pick,
    share_out,
    small,
    ups,
)
from tests.model.hashes import model_commitment, vote_commitment
from tests.model.records import CREDIT, RESERVED_LOSS, Job
from tests.model.setting import ACCOUNTS

DEEP = os.environ.get("LC_TEST_PROFILE") == "deep"


class Chains(AccountRules):
    """Everybody with everybody: contractors, workers and checkers on one chain."""

    @rule(
        who=numbers,
        ups=small,
        deposit=st.sampled_from([0, 0, CREDIT]),
        ahead=st.sampled_from(AHEAD),
        bounty=st.sampled_from(BOUNTIES),
        change=st.sampled_from(TERM_CHANGES),
    )
    def submit_job(self, who: int, ups: int, deposit: int, ahead: int, bounty: int, change: dict[str, Any]) -> None:
        changes = {"deposit": deposit, "runner_ups": ups, "free_places": 1 + ups if not deposit else ups}
        self.contract(pick(who, self.people[4:8]), ahead, bounty, {"job_class": who % 2, **changes, **change})

    def contract(self, contractor: bytes, ahead: int, bounty: int, changes: dict[str, Any]) -> None:
        """Post a job that expires so many ms from now."""
        terms = {
            "image": IMAGE, "eval_image": "", "title": "digits", "about": "", "metric": "log-loss", "bounty": bounty,
            "job_class": 0, "verify_fee": 200_003, "deposit": 0, "runner_ups": 0, "free_places": 1,
            "expiry_ms": self.s.now + ahead, "reveal_window_ms": 10_000, "tolerance": 1000, "ban_margin": 10_000,
            "min_improvement": 2000, "loss_ceiling": 10**9, "needs": {"milli_cpus": 500}, **changes,
        }  # fmt: skip
        self.twin.send(contractor, "submit_job", terms)

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
    @rule(
        who=numbers,
        which=numbers,
        step=st.sampled_from(STEPS),
        secured=st.booleans(),
        rival=numbers,
        change=st.sampled_from([*[{}] * 9, {"commitment": b"c"}]),
    )
    def announce(self, who: int, which: int, step: int, secured: bool, rival: int, change: dict[str, Any]) -> None:
        job = self.find_job(which, "OPEN") or self.find_job(which)
        sender = pick(who, self.people[2:ACCOUNTS])
        ranked = [c.ranked for c in job.candidates] if job else []
        loss = (pick(rival, ranked) if ranked else 10**6) - step
        self.send_announce(sender, job.id if job else which, loss, secured, **change)

    def send_announce(self, sender: bytes, job_id: int, loss: int, secured: bool, **change: Any) -> None:
        commitment = model_commitment(self.s.tag, job_id, sender, MODEL, SALT)
        message = {"job_id": job_id, "loss": loss, "commitment": commitment, "secured": secured}
        self.twin.send(sender, "announce", message | change)

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

    @precondition(lambda self: self.has_job("REVEAL", "VOTE"))
    @rule(
        which=numbers,
        first=st.sampled_from(AGAINST),
        second=st.sampled_from(FOR),
        seats=st.sampled_from(PARTS),
        offender=st.none() | st.integers(min_value=0, max_value=4),
    )
    def run_round_in_parts(
        self, which: int, first: int, second: int, seats: tuple[int, int], offender: int | None
    ) -> None:
        """Let some seated accounts share one opinion and some another; perhaps somebody is banned before the last vote.

        Offender 0 and 1 are the validators, which may be seated; 2 is the candidate, 3 and 4 the one behind it, if they
        are validators.
        """
        job = self.find_job(which, "REVEAL") or self.find_job(which, "VOTE")
        assert job is not None
        if job.state == "REVEAL":
            self.send_reveal(job.candidates[0].account, job.id)
        number, votes = job.round, self.s.rounds[job.id, job.round].votes
        parts = share_out(votes, {first: seats[0], second: seats[1]})
        for account, opinion in parts:
            if job.state == "VOTE":
                self.send_commit(account, job, opinion)
        while job.state == "VOTE":
            self.next_block("due", 0, 0)
        for place, (account, _) in enumerate(parts):
            if offender is not None and place == len(parts) - 1:
                standing = [c.account for c in job.candidates][: offender - 1 if offender > 1 else 0]
                self.offend(standing[-1] if standing else offender)
            if job.state == "TALLY" and job.round == number:
                self.send_opening(account, job)
        while job.state == "TALLY" and job.round == number:
            self.next_block("due", 0, 0)

    @precondition(lambda self: self.has_job())
    @rule(who=small)
    def offend(self, who: int | bytes) -> None:
        """Ban a validator, which may be seated, stand for jobs and hold credits that unbond."""
        self.twin.finish()
        operators = sorted(v.operator for v in self.s.validators.values())
        offender = who if isinstance(who, bytes) else operators[who % len(operators)]
        self.twin.begin(self.s.now + 1000, None, (offender,) if offender in operators else (), ())

    @rule(main=numbers, other=numbers, minority=st.integers(min_value=0, max_value=3), silent=numbers)
    def run_rounds(self, main: int, other: int, minority: int, silent: int) -> None:
        """Run a round of every job that waits for one; who was jailed for silence before may return first."""
        self.next_deadline(main % 3)
        if silent % 2 and self.get_jailed():
            self.leave_jail(main, True)
        for which in range(len(self.s.jobs)):
            if self.has_job("REVEAL", "VOTE", "TALLY"):
                self.run_round(which, main + which, other, minority, silent + which)

    @rule(
        contractor=numbers,
        ups=ups,
        deposit=st.sampled_from([0, CREDIT]),
        bounty=small,
        entries=st.lists(entrants, min_size=1, max_size=4),
        ahead=st.sampled_from([5_000, 5_000, 20_000, 100_000]),
        last=st.sampled_from([(), (), ((0, False),), ((1, True),)]),
    )
    def race(
        self, contractor: int, ups: int, deposit: int, bounty: int, entries: list[tuple[int, bool]], ahead: int,
        last: tuple[tuple[int, bool], ...] = (),
    ) -> None:  # fmt: skip
        """Post a job and let several enter it, each undercutting the one before, perhaps a validator as the last."""
        self.submit_job(contractor, ups, deposit, ahead, pick(bounty, BOUNTIES), {})
        entries = [*entries, *last]
        for place, (who, secured) in enumerate(entries):
            loss = 10**6 - 2000 * place
            self.send_announce(self.people[who], self.s.next_job - 1, loss, secured and deposit > 0)

    @rule(jobs=st.integers(min_value=2, max_value=8), ups=st.integers(min_value=0, max_value=1))
    def flood(self, jobs: int, ups: int) -> None:
        """Let more jobs fall due in one block than it processes."""
        for number in range(jobs):
            self.race(number, ups, 0, 0, [(2 + number, False), (3 + number, False)], 5_000)

    @rule(last=numbers)
    def leave_no_jury(self, last: int) -> None:
        """Let all checkers of a class but one stand for a job, and that one opt out before the job expires."""
        self.submit_job(0, 2, 0, 20_000, BOUNTIES[0], {"job_class": 1})
        for place in range(3):
            self.send_announce(self.people[place], self.s.next_job - 1, 10**6 - 2000 * place, False)
        self.twin.send(self.people[3], "set_checker", {"enabled": False, "highest_class": 0})
        self.next_block("epoch", 0, 0)
        if last % 2:
            self.twin.send(self.people[3], "set_checker", {"enabled": True, "highest_class": 1})
        self.next_deadline(0)
        self.run_rounds(last, last, 0, 0)

    @precondition(lambda self: self.has_job("REVEAL", "VOTE", "TALLY"))
    @rule()
    def stand_still(self) -> None:
        """Make an outage in the middle of a window, so that it is seen when the window ends."""
        self.next_block("outage", 0, 0)


SETTINGS = settings(
    max_examples=20_000 if DEEP else 400,
    stateful_step_count=100 if DEEP else 60,
    derandomize=not DEEP,  # the default must not fail by chance on somebody's unrelated change
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.timeout(86_400 if DEEP else 900)
def test_model_and_core_agree_and_the_comparison_has_seen_every_kind_of_thing() -> None:
    SEEN.clear()
    run_state_machine_as_test(Chains, settings=SETTINGS)
    print(*(f"{count:7} {what}" for what, count in sorted(SEEN.items())), sep="\n")  # pytest -s shows it
    assert [what for what in MUST_SEE if not SEEN[what]] == []
