"""Scenes that chance meets too seldom, on model and core alike: bans at every moment, votes around the bounds."""

from collections import Counter
from itertools import product

import pytest

from tests.model.choices import AGAINST, BOUNTIES, FOR, PARTS
from tests.model.records import CREDIT, UNSETTLED
from tests.model.test_machine import Chains

VICTIM, LEADER, SECOND, CONTRACTOR = 0, 6, 7, 5
"""Accounts by number; the victim validates and checks."""


def open_job(chains: Chains, contractor: int, *entrants: int, **terms: object) -> None:
    """Post a job that expires in 5 s and let several enter it, the last one leading."""
    places = len(entrants)
    changes = {"runner_ups": places - 1, "free_places": places, **terms}
    chains.contract(chains.people[contractor], 5_000, BOUNTIES[1], changes)
    for place, number in enumerate(entrants):
        secured = bool(terms.get("deposit"))
        chains.send_announce(chains.people[number], chains.s.next_job - 1, 10**6 - 2000 * place, secured)


def advance(chains: Chains, state: str) -> None:
    """Bring the first job from OPEN to a state."""
    job = chains.s.jobs[1]
    if state != "OPEN":
        chains.next_deadline(0)
    if state in ("VOTE", "TALLY"):
        chains.send_reveal(job.candidates[0].account, job.id)
    if state == "TALLY":
        for vote in chains.s.rounds[1, 0].votes:
            chains.send_commit(vote.account, job, 0)
    assert job.state == state


def settle(chains: Chains) -> None:
    """Let everybody reveal that can, and all deadlines pass."""
    job = chains.s.jobs[1]
    if job.state == "TALLY":
        for vote in chains.s.rounds[1, job.round].votes:
            chains.send_opening(vote.account, job)
    for _ in range(9):
        if job.state in UNSETTLED:
            chains.next_deadline(0)
    chains.teardown()
    assert job.state not in UNSETTLED


@pytest.mark.parametrize("deposit", [0, CREDIT])
@pytest.mark.parametrize("state", ["OPEN", "REVEAL", "VOTE", "TALLY"])
@pytest.mark.parametrize("role", ["first", "later", "contractor"])
def test_an_account_is_banned_at_any_moment_in_any_role(role: str, state: str, deposit: int) -> None:
    chains = Chains()
    second, leader = {"first": (SECOND, VICTIM), "later": (VICTIM, LEADER)}.get(role, (SECOND, LEADER))
    contractor = VICTIM if role == "contractor" else CONTRACTOR
    open_job(chains, contractor, second, leader, deposit=deposit, free_places=0 if deposit else 2)
    advance(chains, state)
    chains.offend(chains.people[VICTIM])
    assert chains.s.seen[f"ban of the {role} in {state}"] == 1
    settle(chains)
    is_late = role == "first" and state in ("VOTE", "TALLY")
    assert chains.s.seen["the candidate was banned before the decision"] == is_late
    assert chains.s.seen["BANNED, next turn"] == (role == "first" and state != "OPEN")


@pytest.mark.parametrize("state", ["REVEAL", "VOTE", "TALLY"])
def test_the_only_candidate_is_banned_before_the_decision(state: str) -> None:
    chains = Chains()
    open_job(chains, CONTRACTOR, VICTIM)
    advance(chains, state)
    chains.offend(chains.people[VICTIM])
    settle(chains)
    assert chains.s.seen["BANNED, no candidate left"] == 1


@pytest.mark.parametrize("has_voted", [False, True])
@pytest.mark.parametrize("state", ["VOTE", "TALLY"])
def test_a_seated_account_is_banned_before_or_after_its_vote(state: str, has_voted: bool) -> None:
    chains = Chains()
    open_job(chains, CONTRACTOR, LEADER)
    advance(chains, state)
    job, victim = chains.s.jobs[1], chains.people[VICTIM]
    if has_voted and state == "VOTE":
        chains.send_commit(victim, job, 0)
    if has_voted and state == "TALLY":
        chains.send_opening(victim, job)
    chains.offend(victim)
    assert chains.s.seen[f"ban of a seated account in {state}"] == 1
    settle(chains)
    assert chains.s.seen["a banned voter was owed pay"] == (has_voted and state == "TALLY")


def test_votes_around_the_bounds_of_the_rows() -> None:
    seen: Counter[str] = Counter()
    for seats, first, second, deposit in product(PARTS, AGAINST, FOR, (0, CREDIT)):
        print(f"{seats=} {first=} {second=} {deposit=}")  # the last line is the one that failed
        chains = Chains()
        open_job(chains, CONTRACTOR, SECOND, LEADER, deposit=deposit, free_places=0 if deposit else 2)
        chains.next_deadline(0)
        chains.run_round_in_parts(0, first, second, seats, None)
        settle(chains)
        seen.update(chains.s.seen)
    rows = ("ACCEPTED", "REJECTED", "CONVICTED", "FAULTY_JOB")
    wanted = [f"row {row}, secured candidate" for row in rows] + ["CONVICTED, next turn", "REJECTED, next turn"]
    assert [what for what in wanted if not seen[what]] == []


def test_a_majority_of_a_third_of_the_seats_leaves_a_round_unverified_with_a_quorum() -> None:
    chains = Chains()
    open_job(chains, CONTRACTOR, LEADER)
    advance(chains, "REVEAL")
    chains.run_round_in_parts(0, AGAINST[0], FOR[0], (5, 3), None)
    settle(chains)
    assert chains.s.seen["row UNVERIFIED"] == 1


@pytest.mark.parametrize("absent", [0, 1, None])
def test_both_validators_are_banned_at_once_while_one_of_them_is_away(absent: int | None) -> None:
    chains = Chains()
    validators = {v.operator: key for key, v in chains.s.validators.items()}
    chains.next_block("second", 0, 0)
    chains.twin.finish()
    missed = () if absent is None else (validators[chains.people[absent]],)
    chains.twin.begin(chains.s.now + 1000, None, tuple(chains.people[:2]), missed)
    chains.teardown()
    powers = [chains.s.validators[validators[who]].power for who in chains.people[:2]]
    assert powers == ([0, 100] if absent == 0 else [120, 0])


def test_the_last_validator_is_jailed_stays_and_returns() -> None:
    chains = Chains()
    absent = tuple(chains.s.validators)
    window = chains.s.params.signed_window
    for _ in range(2 * window):  # its jail begins once, however long it stays away
        chains.twin.finish()
        chains.twin.begin(chains.s.now + 1000, None, (), absent)
    kept = [v for v in chains.s.validators.values() if v.power]
    assert chains.s.seen["jailed as validator"] == len(absent)
    assert [len(v.missed) for v in kept] == [window]
    chains.twin.send(kept[0].operator, "unjail", {})
    assert kept[0].missed == []
    chains.teardown()
