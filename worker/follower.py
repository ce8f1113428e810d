"""Follows the chain: a new block is the wake-up, queried state is the truth."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.client.interface import ChainClient
from worker.view import ChainView

MAX_JOBS = 2_000
"""Open jobs looked at per block; more are taken up as earlier ones expire."""
MAX_CLOSING = 10_000
"""Jobs in REVEAL, VOTE or TALLY looked at per block: one that is not seen is a candidacy or a vote forgotten."""
_CLOSING = (pb.JOB_STATE_REVEAL, pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)
STANDING_BLOCKS = 50
"""Blocks for which a contractor's counters are remembered."""


class NodeBehind(Exception):
    """The node does not know the newest blocks of the chain: what it does not show may exist all the same."""


class Follower:
    """Asks one node for everything the decisions need."""

    def __init__(self, client: ChainClient, address: bytes) -> None:
        """Follow the chain of `client` for the account `address`."""
        self._client = client
        self._address = address
        self._standings: dict[bytes, tuple[int, pb.Standing]] = {}
        self._seatless: dict[tuple[int, int], None] = {}
        self._height = 0
        self._settled = 0  # all jobs up to this id are settled, for ever

    async def observe(self) -> ChainView:
        """Return the present view. Raises NodeBehind, or what the client raises."""
        chain = await self._client.get_chain()
        status = await self._client.get_status()
        if status.chain_id != chain.chain_id:
            raise NodeBehind(f"the node is of the chain {status.chain_id} now, this worker works for {chain.chain_id}")
        if status.catching_up or status.height < self._height:
            raise NodeBehind(f"the node is at height {status.height} and catches up")
        self._height = status.height
        me = await self._client.get_account(self._address)
        if me is None:
            raise NodeBehind("the node does not know this worker's account")
        jobs = await self._list_jobs()
        return ChainView(
            height=status.height,
            now_ms=status.time_ms,
            params=chain.params,
            me=me,
            jobs={job.id: job for job in jobs},
            rounds=await self._get_rounds(jobs),
            contractors=await self._get_standings(jobs, status.height),
        )

    async def _list_jobs(self) -> list[pb.Job]:
        """Return the unsettled jobs by id: all that are past their expiry, and the oldest open ones.

        The open ones are asked for first: a job that expires in between is then seen twice, and never not at all.
        """
        jobs = {}
        for states, limit in (((pb.JOB_STATE_OPEN,), MAX_JOBS), (_CLOSING, MAX_CLOSING)):
            found = await self._client.list_jobs(states, after_id=self._settled, limit=limit)
            jobs.update({job.id: job for job in found})
        in_order = sorted(jobs.values(), key=lambda job: job.id)
        if in_order:
            self._settled = in_order[0].id - 1
        return in_order

    async def _get_rounds(self, jobs: list[pb.Job]) -> dict[int, pb.Round]:
        """Return the rounds in which this account has a seat: seats never change once drawn."""
        rounds = {}
        voting = [job for job in jobs if job.state in (pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)]
        self._seatless = {(j.id, j.round): None for j in voting if (j.id, j.round) in self._seatless}
        for job in voting:
            if (job.id, job.round) in self._seatless:
                continue
            found = await self._client.get_job(job.id)
            current = None if found is None else found.round
            if found is None or current is None or current.number != job.round or found.job.state != job.state:
                continue  # the job moved on between two queries; the next view has it
            if any(vote.account == self._address for vote in current.votes):
                rounds[job.id] = current
            else:
                self._seatless[job.id, job.round] = None
        return rounds

    async def _get_standings(self, jobs: list[pb.Job], height: int) -> dict[bytes, pb.Standing]:
        out = {}
        for address in {job.contractor: None for job in jobs if job.state == pb.JOB_STATE_OPEN}:
            asked, standing = self._standings.get(address, (-STANDING_BLOCKS, pb.Standing()))
            if height - asked >= STANDING_BLOCKS:
                found = await self._client.get_account(address)
                standing = pb.Standing() if found is None else found.standing
                self._standings[address] = (height, standing)
            out[address] = standing
        return out
