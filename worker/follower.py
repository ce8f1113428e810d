"""Follows the chain: a new block is the wake-up, queried state is the truth."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.jobs import UNSETTLED
from learningchain.client.interface import ChainClient
from worker.view import ChainView

MAX_JOBS = 2_000
"""Unsettled jobs looked at per block; more are taken up as earlier ones settle."""
PAGE = 100
STANDING_BLOCKS = 50
"""Blocks for which a contractor's counters are remembered."""


class NotRegistered(Exception):
    """The worker's account does not exist on this chain yet."""


class Follower:
    """Asks one node for everything the decisions need."""

    def __init__(self, client: ChainClient, address: bytes) -> None:
        """Follow the chain of `client` for the account `address`."""
        self._client = client
        self._address = address
        self._standings: dict[bytes, tuple[int, pb.Standing]] = {}
        self._seatless: dict[tuple[int, int], None] = {}

    async def observe(self) -> ChainView:
        """Return the present view. Raises NotRegistered, or what the client raises."""
        chain = await self._client.get_chain()
        status = await self._client.get_status()
        me = await self._client.get_account(self._address)
        if me is None:
            raise NotRegistered
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
        jobs: list[pb.Job] = []
        while len(jobs) < MAX_JOBS:
            page = await self._client.list_jobs(UNSETTLED, after_id=jobs[-1].id if jobs else 0, limit=PAGE)
            jobs.extend(page)
            if len(page) < PAGE:
                break
        return jobs

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
