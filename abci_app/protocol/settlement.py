"""How candidacies end and how a job settles: where deposits and the rest of the escrow go."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import credits, events
from abci_app.protocol.accounts import edit_standing
from abci_app.protocol.conduct import add_capped, count_win
from abci_app.protocol.context import BlockContext
from abci_app.protocol.state import StateWrite


def return_deposit(state: StateWrite, context: BlockContext, candidate: pb.Candidate) -> None:
    """Give a candidate its deposit back; `candidate` belongs to the caller's editable job."""
    if candidate.deposit:
        credits.pay_from_deposit(state, context, candidate, candidate.account, candidate.deposit)


def count_leaving(state: StateWrite, candidate: pb.Candidate) -> None:
    """Count a candidacy that ends, for whatever reason."""
    standing = edit_standing(state, candidate.account)
    standing.candidacies -= 1
    if not candidate.secured:
        standing.unsecured_candidacies -= 1


def drop_candidate(state: StateWrite, job: pb.Job, position: int) -> None:
    """Take a candidate out of the list; its deposit must have gone somewhere before."""
    count_leaving(state, job.candidates[position])
    del job.candidates[position]


def pay_winner(state: StateWrite, context: BlockContext, job: pb.Job, outcome: pb.Outcome) -> None:
    """Pay the bounty to the candidate whose turn it is, and settle the job as PAID."""
    winner = job.candidates[0]
    job.winner = winner.account
    job.winning_loss = winner.loss
    if outcome == pb.OUTCOME_ACCEPTED:
        count_win(state, winner.account)
    contractor = edit_standing(state, job.contractor)
    contractor.jobs_paid += 1
    contractor.jobs_faulty += outcome == pb.OUTCOME_FAULTY_JOB
    contractor.bounties_paid_out = add_capped(contractor.bounties_paid_out, job.bounty)
    credits.pay_from_escrow(state, context, job, winner.account, job.bounty)
    settle(state, context, job, pb.JOB_STATE_PAID)


def refund(state: StateWrite, context: BlockContext, job: pb.Job) -> None:
    """Settle a job of which no candidate is left: the bounty goes back to the contractor."""
    edit_standing(state, job.contractor).jobs_refunded += 1
    settle(state, context, job, pb.JOB_STATE_REFUNDED)


def settle(state: StateWrite, context: BlockContext, job: pb.Job, job_state: pb.JobState) -> None:
    """End a job: deposits still locked and what the escrow still holds go back; the record stays for a while."""
    for candidate in job.candidates:
        return_deposit(state, context, candidate)
        count_leaving(state, candidate)
    del job.candidates[:]
    if job.escrow:
        credits.pay_from_escrow(state, context, job, job.contractor, job.escrow)
    edit_standing(state, job.contractor).open_jobs -= 1
    job.state = job_state
    job.settled_ms = context.time_ms
    job.settled_height = context.height
    job.deadline_ms = context.time_ms + context.params.job_retention_ms
    name = pb.JobState.Name(job_state).removeprefix("JOB_STATE_")
    state.record(events.job_settled(job.id, name, job.contractor, job.winner, job.bounty))
