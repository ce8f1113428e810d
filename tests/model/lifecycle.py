"""The life of a job: what its deadlines, reveals and votes lead to, and what a ban does to it."""

from abci_app.pb.learningchain.v1.state_pb2 import EvaluationClass
from tests.model.hashes import seat_position
from tests.model.outcome import AGREED, find_outcome, judge
from tests.model.records import RESERVED_LOSS, UNSETTLED, Candidate, Job, Round, Vote
from tests.model.state import State, count_miss, strike

KINDS = {"OPEN": 1, "REVEAL": 2, "VOTE": 3, "TALLY": 4}


def run_deadlines(s: State) -> None:
    """Let the due deadlines fire, in order, as many as a block takes."""
    for number in range(1 + s.params.max_due_per_block):
        due = [j for j in s.jobs.values() if j.state in UNSETTLED and j.deadline <= s.now]
        if not due:
            return
        if number == s.params.max_due_per_block:
            s.seen["more deadlines than a block takes"] += 1
            return
        run_deadline(s, min(due, key=lambda j: (j.deadline, KINDS[j.state], j.id)))


def run_deadline(s: State, job: Job) -> None:
    """Carry out the default outcome of the present state, or renew its window once."""
    if job.state == "OPEN":
        expire(s, job)
    elif not job.renewed and must_renew(s, job):
        cause = "an outage" if s.outage_end > job.opened else "want of a quorum"
        s.seen[f"{job.state} renewed for {cause}"] += 1
        job.renewed = True
        job.deadline = s.now + window(s, job)
    elif job.state == "REVEAL":
        default(s, job)
    elif job.state == "VOTE":
        open_tally(s, job)
    else:
        decide(s, job)


def must_renew(s: State, job: Job) -> bool:
    """Tell whether the chain stood still since the window opened, or the quorum is missing."""
    if s.outage_end > job.opened:
        return True
    if job.state == "REVEAL":
        return False
    votes = s.rounds[job.id, job.round].votes
    given = sum(v.seats for v in votes if (v.commitment if job.state == "VOTE" else v.finding))
    return 10_000 * given < s.params.quorum_bps * s.params.committee_seats


def window(s: State, job: Job) -> int:
    """Return the length of the present state's window in ms."""
    if job.state == "REVEAL":
        return int(job.terms["reveal_window_ms"])
    if job.state == "TALLY":
        return s.params.tally_window_ms
    job_class: EvaluationClass = s.params.classes[job.terms["job_class"]]
    model_mib = -(-s.rounds[job.id, job.round].size // 2**20)
    return (
        s.params.vote_window_ms
        + 3 * 1000 * job_class.seconds
        + s.params.vote_image_ms_per_mib * job_class.image_mib
        + s.params.vote_model_ms_per_mib * model_mib
    )


def enter(s: State, job: Job, state: str) -> None:
    """Open a state's window in this block."""
    job.state, job.opened, job.renewed = state, s.now, False
    job.deadline = s.now + window(s, job)


def expire(s: State, job: Job) -> None:
    """Refund a job that nobody stands in, else open the first REVEAL."""
    if not job.candidates:
        settle(s, job, "EXPIRED")
        return
    contractor = s.accounts[job.contractor]
    contractor.count("network_fees_paid", job.network_fee)
    job.escrow -= job.network_fee
    if s.proposer is None:
        s.burned += job.network_fee
    else:
        s.pay(s.proposer, job.network_fee)
    job.network_fee = 0
    job.excluded = [c.account for c in job.candidates]
    job.table_epoch, job.opening_hash = s.table_epoch, s.block_hash
    open_turn(s, job)


def open_turn(s: State, job: Job) -> None:
    """Begin the turn of the best candidate left: a round with the next number."""
    job.round = job.rounds
    job.rounds += 1
    s.rounds[job.id, job.round] = Round(job.candidates[0])
    enter(s, job, "REVEAL")


def default(s: State, job: Job) -> None:
    """Punish the candidate that has not delivered its model."""
    candidate = job.candidates[0]
    burn_deposit(s, candidate)
    s.accounts[candidate.account].count("defaults")
    strike(s, candidate.account)
    end_turn(s, job, "DEFAULTED")


def burn_deposit(s: State, candidate: Candidate) -> None:
    """Burn what a candidate still has locked."""
    s.burned += candidate.deposit
    candidate.deposit = 0


def end_turn(s: State, job: Job, outcome: str) -> None:
    """Close a turn that was not paid: the next candidate's begins, or the bounty goes back."""
    s.rounds[job.id, job.round].outcome = job.outcome = outcome
    job.candidates.pop(0)
    s.seen[f"{outcome}, {'next turn' if job.candidates else 'no candidate left'}"] += 1
    if job.candidates:
        open_turn(s, job)
    else:
        settle(s, job, "REFUNDED")


def open_vote(s: State, job: Job) -> None:
    """Draw the committee of a revealed model; one slice of the bond per seat."""
    current = s.rounds[job.id, job.round]
    table = s.eligible(job.table_epoch, job.terms["job_class"])
    current.class_bond = sum(e.bond for e in table)
    table = [e for e in table if e.account != job.contractor and e.account not in job.excluded]
    current.drawable = sum(e.bond for e in table)
    seats = s.params.committee_seats
    holders = []
    for seat in range(seats if current.drawable else 0):
        at = seat_position(s.tag, job.id, job.round, seat, seats, job.opening_hash, current.salt, current.drawable)
        for entry in table:
            if at < entry.bond:
                holders.append(entry.account)
                break
            at -= entry.bond
    current.votes = [Vote(account, holders.count(account)) for account in sorted(set(holders))]
    enter(s, job, "VOTE")
    close_vote_if_complete(s, job)


def close_vote_if_complete(s: State, job: Job) -> None:
    """Go on to TALLY when nobody is left who could still commit."""
    votes = s.rounds[job.id, job.round].votes
    if all(v.commitment or s.accounts[v.account].banned for v in votes):
        open_tally(s, job)


def open_tally(s: State, job: Job) -> None:
    """Let the committed accounts reveal; without any, decide at once."""
    enter(s, job, "TALLY")
    close_tally_if_complete(s, job)


def close_tally_if_complete(s: State, job: Job) -> None:
    """Decide when every committed account has revealed."""
    if all(v.finding for v in s.rounds[job.id, job.round].votes if v.commitment):
        decide(s, job)


def decide(s: State, job: Job) -> None:
    """Decide a round by the table of section 7: pay seats, count, then pay, punish or pass on."""
    current, candidate = s.rounds[job.id, job.round], job.candidates[0]
    t, p = job.terms, s.params
    limits = (candidate.loss, t["tolerance"], t["ban_margin"])
    outcome, payable = find_outcome(
        current.votes, *limits, p.committee_seats, p.quorum_bps, current.drawable, current.class_bond
    )
    note_decision(s, current, outcome, payable)
    count_votes(s, current, outcome, limits)
    banned = s.accounts[candidate.account].banned
    pay_seats(s, job, payable, from_deposit=outcome in ("CONVICTED", "REJECTED"))
    if banned:
        end_turn(s, job, "BANNED")
    elif outcome == "CONVICTED":
        s.accounts[candidate.account].count("convictions")
        burn_deposit(s, candidate)
        ban(s, candidate.account)
        end_turn(s, job, outcome)
    elif outcome == "REJECTED":
        s.accounts[candidate.account].count("rejections")
        burn_deposit(s, candidate)
        strike(s, candidate.account)
        end_turn(s, job, outcome)
    else:
        win(s, job, outcome)


def note_decision(s: State, current: Round, outcome: str, payable: list[Vote]) -> None:
    """Note which row of the table applied and what it met."""
    revealed = sum(v.seats for v in current.votes if v.finding)
    quorum = 10_000 * revealed >= s.params.quorum_bps * s.params.committee_seats
    s.seen[f"row {outcome}{'' if quorum else ' without a quorum'}"] += 1
    s.seen[f"row {outcome} pays {'somebody' if payable else 'nobody'}"] += 1
    s.seen["nobody could be drawn"] += current.drawable == 0
    s.seen["part of the class could be drawn"] += 0 < current.drawable < current.class_bond
    s.seen["the candidate was banned before the decision"] += s.accounts[current.candidate.account].banned
    s.seen["a banned voter was owed pay"] += any(s.accounts[v.account].banned for v in payable)
    s.seen["a reserved loss was owed pay"] += any(v.loss == RESERVED_LOSS for v in payable)
    s.seen[f"row {outcome}, secured candidate"] += current.candidate.secured


def pay_seats(s: State, job: Job, votes: list[Vote], from_deposit: bool) -> None:
    """Pay each seat its part of the verify fee, from the candidate's deposit first where a row says so."""
    candidate = job.candidates[0]
    total = 0
    for vote in votes:
        owed = vote.seats * (job.terms["verify_fee"] // s.params.committee_seats)
        s.pay(vote.account, owed)
        vote.paid = 0 if s.accounts[vote.account].banned else owed
        total += owed
    taken = min(candidate.deposit, total) if from_deposit else 0
    candidate.deposit -= taken
    job.escrow -= total - taken


def count_votes(s: State, current: Round, outcome: str, limits: tuple[int, int, int]) -> None:
    """Count who agreed, who was outvoted and who missed the round."""
    for vote in current.votes:
        if not vote.finding:
            count_miss(s, vote.account)
        elif outcome in AGREED:
            agreed = judge(vote, *limits) in AGREED[outcome]
            s.accounts[vote.account].count("votes_agreed" if agreed else "votes_outvoted")


def win(s: State, job: Job, outcome: str) -> None:
    """Pay the bounty to the candidate; only ACCEPTED counts as a win."""
    winner, contractor = job.candidates[0], s.accounts[job.contractor]
    s.rounds[job.id, job.round].outcome = job.outcome = outcome
    job.winner, job.winning_loss = winner.account, winner.loss
    if outcome == "ACCEPTED":
        account = s.accounts[winner.account]
        account.count("wins")
        account.counters["strikes"] = max(0, account.counters.get("strikes", 0) - 1)
    if outcome == "FAULTY_JOB":
        contractor.count("jobs_faulty")
    contractor.count("bounties_paid_out", job.bounty)
    s.pay(winner.account, job.bounty)
    job.escrow -= job.bounty
    settle(s, job, "PAID")


def settle(s: State, job: Job, state: str) -> None:
    """Give deposits back, the rest of the escrow to the contractor, and keep the record for a while."""
    for candidate in job.candidates:
        s.pay(candidate.account, candidate.deposit)
    job.candidates = []
    s.pay(job.contractor, job.escrow)
    job.escrow = 0
    s.seen[state] += 1
    job.state, job.deadline = state, s.now + s.params.job_retention_ms
    if state in ("PAID", "REFUNDED"):
        s.accounts[job.contractor].count(f"jobs_{state.lower()}")


def prune(s: State) -> None:
    """Forget jobs that were settled long ago."""
    due = sorted((j.deadline, j.id) for j in s.jobs.values() if j.state not in UNSETTLED and j.deadline <= s.now)
    s.seen["more to prune than a block takes"] += len(due) > s.params.max_pruned_per_block
    for _, job_id in due[: s.params.max_pruned_per_block]:
        s.seen["pruned"] += 1
        rounds = s.jobs.pop(job_id).rounds
        for number in range(rounds):
            del s.rounds[job_id, number]


def note_ban(s: State, address: bytes) -> None:
    """Note in which positions a ban meets an account."""
    for job in s.standing_in(address):
        place = "first" if job.candidates[0].account == address else "later"
        s.seen[f"ban of the {place} in {job.state}"] += 1
    for job in s.open_jobs(address):
        s.seen[f"ban of the contractor in {job.state}"] += 1
    for job in s.jobs.values():
        if job.state in ("VOTE", "TALLY") and any(v.account == address for v in s.rounds[job.id, job.round].votes):
            s.seen[f"ban of a seated account in {job.state}"] += 1
    s.seen["ban with credits unbonding"] += bool(s.accounts[address].unbonding)


def ban(s: State, address: bytes) -> None:
    """Ban an account for ever: burn what it has, take it out of every list in which its turn has not begun."""
    account = s.accounts[address]
    if account.banned:
        s.seen["banned again"] += 1
        return
    note_ban(s, address)
    account.banned = True
    s.burned += account.balance + account.bond + sum(u.amount for u in account.unbonding)
    account.balance, account.bond, account.unbonding = 0, 0, []
    for job in sorted(s.standing_in(address), key=lambda j: j.id):
        candidate = next(c for c in job.candidates if c.account == address)
        burn_deposit(s, candidate)
        if job.state == "OPEN" or candidate is not job.candidates[0]:
            job.candidates.remove(candidate)
        elif job.state == "REVEAL":
            end_turn(s, job, "BANNED")
