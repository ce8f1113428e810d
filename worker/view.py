"""What the worker knows of the chain: queried state of one height, and nothing that only an event said."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.client.interface import AccountView


@dataclass(frozen=True, slots=True)
class ChainView:
    """All jobs that are not settled, as of one height."""

    height: int
    now_ms: int
    params: pb.Params
    me: AccountView
    jobs: Mapping[int, pb.Job]
    rounds: Mapping[int, pb.Round] = field(default_factory=dict)
    """The present round of each job in VOTE or TALLY."""
    contractors: Mapping[bytes, pb.Standing] = field(default_factory=dict)

    def get_turn(self, job_id: int) -> pb.Candidate | None:
        """Return the candidate whose turn it is in REVEAL, VOTE or TALLY."""
        job = self.jobs.get(job_id)
        if job is None or job.state not in _TURNS or not job.candidates:
            return None
        return job.candidates[0]

    def get_seat(self, job_id: int) -> pb.Vote | None:
        """Return this account's seat in the present round of a job."""
        current = self.rounds.get(job_id)
        if current is None:
            return None
        return next((vote for vote in current.votes if vote.account == self.me.address), None)

    def get_candidacy(self, job_id: int) -> pb.Candidate | None:
        """Return this account's place in a job's list."""
        job = self.jobs.get(job_id)
        if job is None:
            return None
        return next((entry for entry in job.candidates if entry.account == self.me.address), None)


_TURNS = (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)
