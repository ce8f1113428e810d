"""The unsettled jobs that a worker knows of. However many there are, one look costs no more than some pages of them.

Jobs are looked through in the order of their ids, page by page and lap after lap: a look goes on where the one before
stopped, so each job has its turn. Of open ones the best are remembered, and all that the worker has a stake in.
"""

from collections.abc import Callable, Collection, Iterable

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.jobs import UNSETTLED
from learningchain.client.interface import ChainClient

PAGES = 20
"""Pages of jobs asked for at one look: all of up to 2 000 unsettled ones are seen at each."""
MAX_OPEN = 2_000
"""Open jobs remembered beside those with a stake."""
MAX_CLOSING = 10_000
"""Jobs in REVEAL, VOTE or TALLY remembered beside those with a stake: committees are drawn for them."""
STAKES = 100
"""Jobs with a stake asked for by their ids at one look, where the pages did not show them."""

Rank = tuple[object, ...]
"""Jobs of lower ranks are remembered before others."""


class JobBook:
    """Remembers jobs; what it shows may be as old as a lap, but for jobs with a stake."""

    def __init__(self, client: ChainClient) -> None:
        """Know nothing yet."""
        self._client = client
        self._jobs: dict[int, pb.Job] = {}
        self._settled = 0  # all jobs up to this id are settled, for ever
        self._at = 0  # where the next page begins
        self._looks = 0
        self._asked: dict[int, int] = {}  # the look at which each stake was asked for last

    async def look(self, stakes: Collection[int], rank_open: Callable[[pb.Job], Rank]) -> None:
        """Take in the next pages, and jobs with a stake that are not on them, the most important first."""
        self._looks += 1
        begin, end = await self._turn_pages()
        unseen = [job_id for job_id in stakes if not (begin < job_id and (end is None or job_id <= end))]
        await self._ask_for(unseen)
        self._drop_rest(set(stakes), rank_open)

    def list_jobs(self) -> list[pb.Job]:
        """Return what is known, by id."""
        return [self._jobs[job_id] for job_id in sorted(self._jobs)]

    def take_in(self, job_id: int, job: pb.Job | None) -> None:
        """Remember a newer state of a job; one that is settled, or None, is known no more."""
        if job is None or job.state not in UNSETTLED:
            self._jobs.pop(job_id, None)
        else:
            self._jobs[job_id] = job

    async def _turn_pages(self) -> tuple[int, int | None]:
        """Read on to the end of the lap, or as far as a look goes; return the ids between which all jobs were seen."""
        begin = self._at = max(self._at, self._settled)
        seen: dict[int, pb.Job] = {}
        end: int | None = begin
        for _ in range(PAGES):
            page = await self._client.page_jobs(UNSETTLED, after_id=end or 0, questions=1)
            seen.update({job.id: job for job in page.jobs})
            end = page.next_id
            if end is None:
                break
            if begin == self._settled and not seen:
                begin = self._settled = end
        if begin == self._settled and seen:
            self._settled = min(seen) - 1
        gone = [job_id for job_id in self._jobs if begin < job_id and (end is None or job_id <= end)]
        for job_id in gone:
            del self._jobs[job_id]
        self._jobs.update(seen)
        self._at = end or 0
        return begin, end

    async def _ask_for(self, stakes: Iterable[int]) -> None:
        """Ask for some jobs by their ids, those first that were asked for least recently."""
        waiting = sorted(stakes, key=lambda job_id: self._asked.get(job_id, 0))
        self._asked = {job_id: self._asked.get(job_id, 0) for job_id in waiting}
        for job_id in waiting[:STAKES]:
            found = await self._client.get_job(job_id)
            self._asked[job_id] = self._looks
            self.take_in(job_id, None if found is None else found.job)

    def _drop_rest(self, stakes: set[int], rank_open: Callable[[pb.Job], Rank]) -> None:
        others = [job for job in self._jobs.values() if job.id not in stakes]
        is_open = [job for job in others if job.state == pb.JOB_STATE_OPEN]
        closing = [job for job in others if job.state != pb.JOB_STATE_OPEN]
        for jobs, limit, rank in ((is_open, MAX_OPEN, rank_open), (closing, MAX_CLOSING, _rank_closing)):
            if len(jobs) > limit:
                for job in sorted(jobs, key=rank)[limit:]:
                    del self._jobs[job.id]


def _rank_closing(job: pb.Job) -> Rank:
    return -job.bounty, job.id
