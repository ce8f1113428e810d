"""What the messages about jobs need and do; see `account_messages` for how checks answer."""

import re

from tests.model.account_messages import Check, Effect, Message, Reasons, is_text, those
from tests.model.hashes import model_commitment, vote_commitment
from tests.model.lifecycle import close_tally_if_complete, close_vote_if_complete, open_vote, settle
from tests.model.records import RESERVED_LOSS, Candidate, Job, Vote
from tests.model.state import State

FINDINGS = {1: "MEASURED", 2: "OVERRUN", 3: "UNAVAILABLE", 4: "UNRUNNABLE"}
NEEDS_BOUNDS = {
    "milli_cpus": 2**20,
    "memory_mib": 2**24,
    "disk_mib": 2**24,
    "gpus": 2**10,
    "gpu_memory_mib": 2**20,
    "seconds": 2**25,
}


def is_image(value: str) -> bool:
    """Tell whether an image reference names a digest."""
    return is_text(value, 512) and re.fullmatch(r".+@sha256:[0-9a-f]{64}", value) is not None


def compute_fee(s: State, bounty: int) -> int:
    return bounty * s.params.network_fee_bps // 10_000


def compute_escrow(s: State, m: Message) -> int:
    return int(m["bounty"] + (1 + m["runner_ups"]) * m["verify_fee"] + compute_fee(s, m["bounty"]))


def check_terms(s: State, m: Message) -> Reasons:
    p, places = s.params, 1 + m["runner_ups"]
    texts = ((m["title"], 128), (m["about"], 512), (m["metric"], 32), (m["needs"].get("accelerator", ""), 32))
    yield from those(
        {
            "bad_image": not is_image(m["image"]) or (m["eval_image"] != "" and not is_image(m["eval_image"])),
            "bad_text": not all(is_text(text, longest) for text, longest in texts),
            "bad_bounty": not p.min_bounty <= m["bounty"] < 2**63,
            "bad_deposit": m["deposit"] != 0 and not m["verify_fee"] <= m["deposit"] <= m["bounty"],
            "bad_runner_ups": m["runner_ups"] > p.max_runner_ups,
            "bad_free_places": m["free_places"] > places or (m["deposit"] == 0 and m["free_places"] != places),
            "bad_expiry": not p.min_job_ms <= m["expiry_ms"] - s.now <= p.max_job_ms,
            "bad_reveal_window": not p.min_reveal_window_ms <= m["reveal_window_ms"] <= p.max_reveal_window_ms,
            "bad_tolerance": not p.min_tolerance <= m["tolerance"] <= 2**61,
            "bad_ban_margin": not 10 * m["tolerance"] <= m["ban_margin"] <= 2**61,
            "bad_min_improvement": not m["tolerance"] < m["min_improvement"] <= 2**61,
            "bad_loss_ceiling": abs(m["loss_ceiling"]) > 2**62,
            "bad_needs": any(m["needs"].get(name, 0) > bound for name, bound in NEEDS_BOUNDS.items()),
        }
    )


def check_submit_job(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_terms(s, m)
    if len(s.open_jobs(sender)) >= s.params.max_open_jobs:
        yield "too_many_open_jobs"
    if compute_escrow(s, m) > s.accounts[sender].balance:
        yield "insufficient_balance"
    if m["job_class"] >= len(s.params.classes):
        yield "unknown_class"
        return
    if not s.params.classes[m["job_class"]].min_verify_fee <= m["verify_fee"] <= 2**53:
        yield "bad_verify_fee"
    able = [e.bond for e in s.eligible(s.table_epoch, m["job_class"]) if e.account != sender]
    if not able or 3 * sum(able) < sum(e.bond for e in s.tables[s.table_epoch]):
        yield "too_few_checkers"


def do_submit_job(s: State, sender: bytes, m: Message) -> None:
    escrow = compute_escrow(s, m)
    s.accounts[sender].balance -= escrow
    s.accounts[sender].count("jobs_posted")
    s.jobs[s.next_job] = Job(
        s.next_job, sender, dict(m), m["bounty"], compute_fee(s, m["bounty"]), escrow, m["expiry_ms"], s.now
    )
    s.next_job += 1


def check_open(s: State, sender: bytes, m: Message) -> Reasons:
    job = s.jobs.get(m["job_id"])
    if job is None:
        yield "unknown_job"
    elif job.state != "OPEN":
        yield "job_not_open"
    elif s.now >= job.deadline:
        yield "job_expired"


def check_own_open(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_open(s, sender, m)
    if m["job_id"] in s.jobs and s.jobs[m["job_id"]].contractor != sender:
        yield "not_contractor"


def check_raise_bounty(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_own_open(s, sender, m)
    if not 1 <= m["amount"] < 2**63:
        yield "bad_amount"
    bounty = s.jobs[m["job_id"]].bounty if m["job_id"] in s.jobs else 0
    if m["amount"] + compute_fee(s, bounty + m["amount"]) - compute_fee(s, bounty) > s.accounts[sender].balance:
        yield "insufficient_balance"


def do_raise_bounty(s: State, sender: bytes, m: Message) -> None:
    job = s.jobs[m["job_id"]]
    added = m["amount"] + compute_fee(s, job.bounty + m["amount"]) - job.network_fee
    job.bounty += m["amount"]
    job.network_fee = compute_fee(s, job.bounty)
    job.escrow += added
    s.accounts[sender].balance -= added


def check_cancel_job(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_own_open(s, sender, m)
    if m["job_id"] in s.jobs and s.jobs[m["job_id"]].announced:
        yield "job_has_announcements"


def do_cancel_job(s: State, sender: bytes, m: Message) -> None:
    settle(s, s.jobs[m["job_id"]], "CANCELLED")


def find_place(job: Job, account: bytes) -> Candidate | None:
    return next((c for c in job.candidates if c.account == account), None)


def compute_rank(job: Job, sender: bytes, loss: int) -> tuple[int, bool]:
    """Return the ranked loss and whether it takes (or keeps) the lead."""
    step = job.terms["min_improvement"]
    leader = job.candidates[0] if job.candidates else None
    if leader is None or leader.account == sender or loss <= leader.ranked - step:
        return loss, True
    others = [c.ranked for c in job.candidates if c.account != sender]
    return max([loss, *(ranked for ranked in others if loss > ranked - step)]), False


def compute_list(s: State, job: Job, sender: bytes, m: Message) -> list[Candidate]:
    """Return the list as this announcement leaves it."""
    own = find_place(job, sender)
    deposit = own.deposit if own and own.secured else job.terms["deposit"] if m["secured"] else 0
    ranked, _ = compute_rank(job, sender, m["loss"])
    new = Candidate(sender, m["loss"], ranked, s.height, s.index, m["commitment"], m["secured"], deposit)
    kept: list[Candidate] = []
    for candidate in sorted([c for c in job.candidates if c is not own] + [new], key=lambda c: c.order):
        free = sum(not c.secured for c in kept) < job.terms["free_places"]
        if len(kept) <= job.terms["runner_ups"] and (candidate.secured or free):
            kept.append(candidate)
    return kept


def check_announce(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_open(s, sender, m)
    if len(m["commitment"]) != 32:
        yield "bad_commitment"
    if abs(m["loss"]) > 2**62:
        yield "bad_loss"
    if s.now < s.accounts[sender].suspended_until:
        yield "account_suspended"
    job = s.jobs.get(m["job_id"])
    if job is None:
        return
    if job.contractor == sender:
        yield "own_job"
    if m["loss"] > job.terms["loss_ceiling"]:
        yield "bad_loss"
    if m["secured"] and job.terms["deposit"] == 0:
        yield "not_securable"
    yield from check_place(s, job, sender, m)


def check_place(s: State, job: Job, sender: bytes, m: Message) -> Reasons:
    own, account, kept = find_place(job, sender), s.accounts[sender], compute_list(s, job, sender, m)
    secured = own is not None and own.secured
    taken = {job.contractor, *(c.account for c in kept)}
    table = s.eligible(s.table_epoch, job.terms["job_class"])
    free = s.params.open_candidacies + account.counters.get("wins", 0)
    leads = compute_rank(job, sender, m["loss"])[1]
    yield from those(
        {
            "not_improved": own is not None and m["loss"] >= own.loss,
            "secured_stays": secured and not m["secured"],
            "not_leading": job.terms["runner_ups"] == 0 and not leads,
            "would_not_rank": all(c.account != sender for c in kept),
            "too_many_candidacies": own is None and len(s.standing_in(sender)) >= 64,
            "too_many_unsecured": own is None and not m["secured"] and s.unsecured(sender) >= free,
            "insufficient_balance": m["secured"] and not secured and job.terms["deposit"] > account.balance,
            "no_checkers_left": all(e.account in taken for e in table),
        }
    )


def do_announce(s: State, sender: bytes, m: Message) -> None:
    job = s.jobs[m["job_id"]]
    own, kept = find_place(job, sender), compute_list(s, job, sender, m)
    for candidate in job.candidates:
        if candidate is not own and candidate not in kept:
            s.pay(candidate.account, candidate.deposit)
    new = next(c for c in kept if c.account == sender)
    s.accounts[sender].balance -= new.deposit - (own.deposit if own else 0)
    job.candidates = kept
    job.announced = True
    job.announcements += 1


def check_reveal(s: State, sender: bytes, m: Message) -> Reasons:
    job = s.jobs.get(m["job_id"])
    largest = s.params.classes[job.terms["job_class"]].model_mib * 2**20 if job else 2**64
    locations_fit = len(m["locations"]) <= 4 and all(x and is_text(x, 256) for x in m["locations"])
    yield from those(
        {
            "unknown_job": job is None,
            "bad_digest": len(m["model_digest"]) != 32,
            "bad_salt": len(m["salt"]) != 32,
            "bad_locations": not locations_fit,
            "model_too_large": not 1 <= m["size"] <= largest,
            "not_in_reveal": job is not None and job.state != "REVEAL",
        }
    )
    if job is None or job.state != "REVEAL":
        return
    candidate = job.candidates[0]
    opened = model_commitment(s.tag, job.id, sender, m["model_digest"], m["salt"])
    yield from those(
        {
            "deadline_passed": s.now >= job.deadline,
            "not_your_turn": candidate.account != sender,
            "commitment_mismatch": candidate.commitment != opened,
        }
    )


def do_reveal(s: State, sender: bytes, m: Message) -> None:
    job = s.jobs[m["job_id"]]
    current = s.rounds[job.id, job.round]
    current.digest, current.size, current.salt = m["model_digest"], m["size"], m["salt"]
    current.locations = list(m["locations"])
    open_vote(s, job)


def find_vote(s: State, job: Job, sender: bytes) -> Vote | None:
    votes = s.rounds[job.id, job.round].votes if job.rounds else []
    return next((v for v in votes if v.account == sender), None)


def check_seat(s: State, sender: bytes, m: Message, state: str) -> Reasons:
    job = s.jobs.get(m["job_id"])
    if job is None:
        yield "unknown_job"
        return
    if job.state != state:
        yield f"not_in_{state.lower()}"
    elif s.now >= job.deadline:
        yield "deadline_passed"
    if m["round"] != job.round:
        yield "wrong_round"
    if find_vote(s, job, sender) is None:
        yield "not_seated"


def check_commit_vote(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_seat(s, sender, m, "VOTE")
    if len(m["commitment"]) != 32:
        yield "bad_commitment"
    vote = find_vote(s, s.jobs[m["job_id"]], sender) if m["job_id"] in s.jobs else None
    if vote and vote.commitment:
        yield "already_committed"


def do_commit_vote(s: State, sender: bytes, m: Message) -> None:
    job = s.jobs[m["job_id"]]
    vote = find_vote(s, job, sender)
    assert vote is not None
    vote.commitment = m["commitment"]
    close_vote_if_complete(s, job)


def fits_finding(m: Message) -> bool:
    """Tell whether loss and receipt are those that the finding may carry."""
    if m["finding"] == 1:
        return len(m["receipt"]) in (0, 32) and (abs(m["loss"]) <= 2**62 or m["loss"] == RESERVED_LOSS)
    if m["finding"] == 2:
        return len(m["receipt"]) in (0, 32) and m["loss"] == 0
    return m["finding"] in FINDINGS and m["loss"] == 0 and not m["receipt"]


def check_reveal_vote(s: State, sender: bytes, m: Message) -> Reasons:
    yield from check_seat(s, sender, m, "TALLY")
    if len(m["salt"]) != 32:
        yield "bad_salt"
    if not fits_finding(m):
        yield "bad_vote"
    vote = find_vote(s, s.jobs[m["job_id"]], sender) if m["job_id"] in s.jobs else None
    if vote is None:
        return
    opened = (m["job_id"], m["round"], sender, m["finding"], m["loss"], m["receipt"], m["salt"])
    if not vote.commitment:
        yield "not_committed"
    elif vote.finding:
        yield "already_revealed"
    if vote.commitment != vote_commitment(s.tag, *opened):
        yield "vote_mismatch"


def do_reveal_vote(s: State, sender: bytes, m: Message) -> None:
    job = s.jobs[m["job_id"]]
    vote = find_vote(s, job, sender)
    assert vote is not None
    vote.finding, vote.loss, vote.receipt = FINDINGS[m["finding"]], m["loss"], m["receipt"]
    account = s.accounts[sender]
    account.missed_in_a_row, account.silent_since = 0, s.now
    close_tally_if_complete(s, job)


JOB_MESSAGES: dict[str, tuple[Check, Effect]] = {
    "submit_job": (check_submit_job, do_submit_job),
    "raise_bounty": (check_raise_bounty, do_raise_bounty),
    "cancel_job": (check_cancel_job, do_cancel_job),
    "announce": (check_announce, do_announce),
    "reveal": (check_reveal, do_reveal),
    "commit_vote": (check_commit_vote, do_commit_vote),
    "reveal_vote": (check_reveal_vote, do_reveal_vote),
}
