"""What model and core must agree on, field by field, as plain dicts that a failing test can print."""

from typing import Any

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from tests.model.records import UNSETTLED, Account, Candidate, Job, Round
from tests.model.state import State

Facts = dict[str, Any]
COUNTERS = (
    "jobs_posted", "jobs_paid", "jobs_refunded", "jobs_faulty", "network_fees_paid", "bounties_paid_out", "wins",
    "rejections", "convictions", "defaults", "votes_agreed", "votes_outvoted", "votes_missed", "strikes",
)  # fmt: skip


def describe_account(s: State, address: bytes) -> Facts:
    """Return what the model knows of an account, by the field names of Account, Standing and Profile."""
    a: Account = s.accounts[address]
    return {
        "keys": [(key, k.scope, k.expires, k.nonce) for key, k in a.keys.items()],
        "balance": a.balance,
        "bond": a.bond,
        "bucket_units": a.bucket,
        "bucket_ms": a.bucket_ms,
        "banned": a.banned,
        "checker": a.checker,
        "checker_jailed_ms": a.checker_jailed_ms,
        "validator_jailed_ms": a.validator_jailed_ms,
        "unbonding": [(u.amount, u.release_ms, u.release_height, u.number) for u in a.unbonding],
        "profile": (a.name, a.endpoint),
        "suspended_until_ms": a.suspended_until,
        "missed_in_a_row": a.missed_in_a_row,
        "silent_since_ms": a.silent_since,
        "open_jobs": len(s.open_jobs(address)),
        "candidacies": len(s.standing_in(address)),
        "unsecured_candidacies": s.unsecured(address),
        **{name: a.counters.get(name, 0) for name in COUNTERS},
    }


def describe_account_record(a: pb.Account, standing: pb.Standing, profile: pb.Profile) -> Facts:
    """Return the same of the core's records."""
    own = (
        "balance",
        "bond",
        "bucket_units",
        "bucket_ms",
        "banned",
        "checker",
        "checker_jailed_ms",
        "validator_jailed_ms",
    )
    of_standing = ("suspended_until_ms", "missed_in_a_row", "silent_since_ms", "open_jobs", "candidacies",
                   "unsecured_candidacies", *COUNTERS)  # fmt: skip
    return {
        "keys": [(k.public_key, k.scope, k.expires_at_ms, k.nonce) for k in a.keys],
        "unbonding": [(u.amount, u.release_ms, u.release_height, u.number) for u in a.unbonding],
        "profile": (profile.name, profile.endpoint),
        **{name: getattr(a, name) for name in own},
        **{name: getattr(standing, name) for name in of_standing},
    }


def describe_candidate(c: Candidate) -> Facts:
    """Return a place in a list."""
    return {
        "account": c.account,
        "loss": c.loss,
        "ranked_loss": c.ranked,
        "height": c.height,
        "index": c.index,
        "commitment": c.commitment,
        "secured": c.secured,
        "deposit": c.deposit,
    }


def describe_candidate_record(c: pb.Candidate) -> Facts:
    """Return the same of the core's record."""
    return {field.name: getattr(c, field.name) for field in pb.Candidate.DESCRIPTOR.fields}


def describe_job(j: Job) -> Facts:
    """Return what the model knows of a job, by the field names of Job."""
    unsettled = {"window_opened_ms": j.opened, "renewed": j.renewed, "network_fee": j.network_fee}
    return {
        "contractor": j.contractor,
        "state": j.state,
        "bounty": j.bounty,
        "escrow": j.escrow,
        "deadline_ms": j.deadline,
        "announced": j.announced,
        "announcements": j.announcements,
        "candidates": [describe_candidate(c) for c in j.candidates],
        "round": j.round,
        "rounds": j.rounds,
        "opening_hash": j.opening_hash,
        "winner": j.winner,
        "winning_loss": j.winning_loss,
        "outcome": j.outcome,
        **(unsettled if j.state in UNSETTLED else {}),
        **({"table_epoch": j.table_epoch, "excluded": j.excluded} if j.rounds and j.state in UNSETTLED else {}),
    }


def describe_job_record(j: pb.Job, names: Facts) -> Facts:
    """Return the fields `names` of the core's record in the same form."""
    special: Facts = {
        "state": pb.JobState.Name(j.state).removeprefix("JOB_STATE_"),
        "candidates": [describe_candidate_record(c) for c in j.candidates],
        "outcome": pb.Outcome.Name(j.outcome).removeprefix("OUTCOME_") if j.outcome else "",
        "excluded": list(j.excluded),
    }
    return {name: special[name] if name in special else getattr(j, name) for name in names}


def describe_round(r: Round) -> Facts:
    """Return what the model knows of a round."""
    return {
        "account": r.candidate.account,
        "model_digest": r.digest,
        "size": r.size,
        "salt": r.salt,
        "locations": r.locations,
        "drawable_bond": r.drawable,
        "class_bond": r.class_bond,
        "votes": [(v.account, v.seats, v.commitment, v.finding, v.loss, v.receipt, v.paid) for v in r.votes],
        "outcome": r.outcome,
    }


def describe_vote_record(v: pb.Vote) -> tuple[Any, ...]:
    """Return a vote of the core in the same form."""
    finding = pb_finding(v.finding)
    return (v.account, v.seats, v.commitment, finding, v.loss, v.receipt, v.paid)


def pb_finding(number: int) -> str:
    """Return the name of a finding, "" for one that was not revealed."""
    return {1: "MEASURED", 2: "OVERRUN", 3: "UNAVAILABLE", 4: "UNRUNNABLE"}.get(number, "")


def describe_round_record(r: pb.Round) -> Facts:
    """Return the same of the core's record."""
    return {
        "account": r.candidate.account,
        "model_digest": r.model_digest,
        "size": r.size,
        "salt": r.salt,
        "locations": list(r.locations),
        "drawable_bond": r.drawable_bond,
        "class_bond": r.class_bond,
        "votes": [describe_vote_record(v) for v in r.votes],
        "outcome": pb.Outcome.Name(r.outcome).removeprefix("OUTCOME_") if r.outcome else "",
    }


def describe_chain(s: State, genesis_supply: int) -> Facts:
    """Return totals, counters and the current table as the model has them."""
    accounts = s.accounts.values()
    return {
        "supply": {
            "genesis": genesis_supply,
            "balances": sum(a.balance for a in accounts),
            "escrow": sum(j.escrow for j in s.jobs.values()),
            "deposits": sum(c.deposit for j in s.jobs.values() for c in j.candidates),
            "bonds": sum(a.bond for a in accounts),
            "unbonding": sum(u.amount for a in accounts for u in a.unbonding),
            "burned": s.burned,
        },
        "next_job_id": s.next_job,
        "next_unbonding": s.next_unbonding,
        "outage": s.outage_end,
        "table_epoch": s.table_epoch,
        "tables": {
            epoch: [(e.account, e.bond, e.highest_class) for e in s.tables[epoch]]
            for epoch in {s.table_epoch, *(j.table_epoch for j in s.jobs.values() if j.rounds and j.state in UNSETTLED)}
        },
    }
