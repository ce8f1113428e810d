"""Follows the chain: a new block is the wake-up, queried state is the truth. What one look asks for is bounded."""

from collections.abc import Callable, Collection
from dataclasses import replace

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from learningchain.client.interface import ChainClient
from worker.jobbook import JobBook, Rank
from worker.view import ChainView

SEATS = 150
"""Rounds with an own seat asked for at one look; the others are shown as they were."""
ROUNDS = 50
"""Rounds asked for at one look, beside those, in which an own seat may be: the highest bounty first."""
STANDING_BLOCKS = 50
"""Blocks for which a contractor's counters are taken as they are."""
STANDINGS = 100
"""Contractors asked for at one look."""
MAX_STANDINGS = 20_000
"""Contractors remembered."""


class NodeBehind(Exception):
    """The node does not know the newest blocks of the chain: what it does not show may exist all the same."""


class Follower:
    """Asks one node for everything the decisions need."""

    def __init__(self, client: ChainClient, address: bytes, rank_job: Callable[[ChainView, pb.Job], Rank]) -> None:
        """Follow the chain of `client` for the account `address`; of many open jobs show those of the lowest ranks.

        The view that `rank_job` gets has no jobs, and of contractors those that were asked for before.
        """
        self._client = client
        self._address = address
        self._rank_job = rank_job
        self._book = JobBook(client)
        self._standings: dict[bytes, tuple[int, pb.Standing]] = {}
        self._rounds: dict[tuple[int, int], tuple[int, pb.Round | None]] = {}
        """By job and round: the height at which it was asked for, and the round if there is an own seat in it."""
        self._height = 0

    async def observe(self, stakes: Collection[int] = ()) -> ChainView:
        """Return the present view; jobs in `stakes` are in it unless they are settled, and as new as can be.

        Raises NodeBehind, or what the client raises.
        """
        view = await self._begin()
        candidacies = await self._client.list_candidacies(self._address)
        stakes = dict.fromkeys([*candidacies, *stakes])
        await self._book.look(stakes, lambda job: self._rank_job(view, job))
        await self._look_for_seats(view.height)
        jobs = self._book.list_jobs()
        await self._look_at_contractors(jobs, view.height)
        return replace(
            view,
            jobs={job.id: job for job in jobs if self._may_show(job, stakes)},
            rounds={job_id: found for (job_id, _), (_, found) in self._rounds.items() if found is not None},
            contractors=self._get_contractors(),
        )

    async def _begin(self) -> ChainView:
        """Return a view without jobs, of a node that is up to date."""
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
        return ChainView(
            height=status.height, now_ms=status.time_ms, params=chain.params, me=me, jobs={},
            contractors=self._get_contractors(),
        )  # fmt: skip

    async def _look_for_seats(self, height: int) -> None:
        """Ask for rounds with an own seat, the oldest look first, and for those in which there may be one.

        Seats never change once drawn, so a round without an own one is asked for once.
        """
        voting = {(job.id, job.round): job for job in self._book.list_jobs() if job.state in _VOTED_ON}
        self._rounds = {key: self._rounds[key] for key in self._rounds if key in voting}
        seated = sorted((asked, key) for key, (asked, found) in self._rounds.items() if found is not None)
        unknown = sorted((-job.bounty, key) for key, job in voting.items() if key not in self._rounds)
        for _, (job_id, number) in [*seated[:SEATS], *unknown[:ROUNDS]]:
            found = await self._client.get_job(job_id)
            self._book.take_in(job_id, None if found is None else found.job)
            current = None if found is None else found.round
            if found is None or current is None or current.number != number or found.job.state not in _VOTED_ON:
                self._rounds.pop((job_id, number), None)  # the job went on
                continue
            has_seat = any(vote.account == self._address for vote in current.votes)
            self._rounds[job_id, number] = height, current if has_seat else None

    async def _look_at_contractors(self, jobs: Collection[pb.Job], height: int) -> None:
        """Ask for contractors of open jobs: unknown ones first, of these the highest bounty, then what is old."""
        is_open = sorted((job for job in jobs if job.state == pb.JOB_STATE_OPEN), key=lambda job: -job.bounty)
        never = (-STANDING_BLOCKS, pb.Standing())
        asked = {job.contractor: self._standings.get(job.contractor, never)[0] for job in is_open}
        due = sorted(
            (address for address in asked if height - asked[address] >= STANDING_BLOCKS), key=asked.__getitem__
        )
        for address in due[:STANDINGS]:
            found = await self._client.get_account(address)
            self._standings.pop(address, None)  # the newest stands last
            self._standings[address] = height, pb.Standing() if found is None else found.standing
        while len(self._standings) > MAX_STANDINGS:
            del self._standings[next(iter(self._standings))]

    def _may_show(self, job: pb.Job, stakes: Collection[int]) -> bool:
        """Tell whether enough is known of a job: whether to train it depends on what its contractor did before."""
        return job.state != pb.JOB_STATE_OPEN or job.contractor in self._standings or job.id in stakes

    def _get_contractors(self) -> dict[bytes, pb.Standing]:
        return {address: standing for address, (_, standing) in self._standings.items()}


_VOTED_ON = (pb.JOB_STATE_VOTE, pb.JOB_STATE_TALLY)
