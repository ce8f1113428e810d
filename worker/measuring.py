"""Running models in the sandbox: own ones before they are announced, and those that a committee has to judge."""

import asyncio
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import RESERVED_LOSS, SALT_BYTES
from abci_app.protocol.windows import compute_window_ms
from learningchain.models import get_model_url
from worker import events as ev
from worker.models.keeping import make_promise
from worker.models.transfer import RELAYS
from worker.sandbox import BrokenImageError, Evaluation, EvaluationLimits, Finding, RegistryError, limits_of_class
from worker.state import WorkerState
from worker.tools import ActionFailed, Overtaken, Tools
from worker.turns import Turns

log = structlog.get_logger()

FETCH_PAUSE_SECONDS = 2.0
"""Between two rounds over the sources of a model; doubled after each, up to the longest."""
LONGEST_PAUSE_SECONDS = 16.0
IMAGE_LOOK_SECONDS = 1.0
"""Between two looks whether an image that is on its way is still wanted."""
NEAR_RELAYS = 2 * RELAYS
"""Relays asked before the candidate's own locations; the rest of a long list comes after them."""


class Measuring:
    """Evaluates one model at a time: for votes first, the highest bounty first."""

    def __init__(self, tools: Tools, state: WorkerState, deliver: Callable[[ev.Happening], None]) -> None:
        """Read the view of `state`, tell `deliver` what was measured."""
        self._tools = tools
        self._state = state
        self._deliver = deliver
        self._turns = Turns()
        self._waiting: dict[ev.Check, tuple[int, asyncio.Timeout]] = {}
        """Checks that do not evaluate yet, with the bounty of their job and what ends them."""

    async def evaluate(self, todo: ev.Evaluate) -> None:
        """Measure an own model several times, each in a fresh sandbox. Checks go before each of them.

        One that could not be announced any more is left: the next checkpoint needs the time.
        """
        job = self._get_job(todo.job_id)
        self._tools.get_model(todo.digest)
        losses: list[int] = []
        use = 0.0
        try:
            await self._wait_for_image(job)  # before it is this job's turn: others can use theirs meanwhile
        except BrokenImageError as error:
            log.warning("own_model_without_score", job=job.id, finding="UNRUNNABLE", detail=str(error))
            self._deliver(ev.Evaluated(todo.job_id, todo.digest, (), 0))
            return
        for _ in range(self._state.policy.evaluations):
            async with self._turns.take((1, -job.bounty)):
                if not self._is_as_before(job):  # the wait may have been long: others need the time
                    raise Overtaken("the job went on without this model")
                result = await self._measure(job, todo.digest)
            if result.may_change:
                raise ActionFailed(f"the image cannot be tried now: {result.detail}")
            use = max(use, result.usage.largest)
            if not result.has_score:
                log.warning("own_model_without_score", job=job.id, finding=result.finding.name, detail=result.detail)
                # One that scores now and then not by itself is as noisy as one that scores differently.
                losses = [*losses, RESERVED_LOSS] if result.finding is Finding.MEASURED else []
                break
            losses.append(result.loss_nano)
            if not self._state.would_place(job.id, max(losses)):
                break
        self._deliver(ev.Evaluated(todo.job_id, todo.digest, tuple(losses), math.ceil(100 * use)))

    async def check(self, todo: ev.Check) -> None:
        """Fetch the revealed model, run it, and remember the finding with a fresh salt."""
        job = self._get_job(todo.job_id)
        found = None if self._state.view is None else self._state.view.rounds.get(job.id)
        if self._state.view is None or found is None or found.number != todo.round:
            raise Overtaken("the round is over")
        try:
            async with asyncio.timeout(max(0, job.deadline_ms - self._state.view.now_ms) / 1000) as patience:
                self._waiting[todo] = job.bounty, patience
                finding, loss, receipt = await self._find(todo, job, found, self._is_in_time(job, found))
        except TimeoutError:
            raise ActionFailed(
                "there was no finding before the window for votes closed, or a check of more bounty took the place"
            ) from None
        finally:
            self._waiting.pop(todo, None)
        log.info("measured", job=job.id, round=todo.round, finding=finding, loss=loss)
        salt = secrets.token_bytes(SALT_BYTES)
        self._deliver(ev.Measured(todo.job_id, todo.round, finding, loss, receipt, salt))

    def make_way(self, todo: ev.MakeWay) -> None:
        """End the check of the least bounty of those that do not evaluate yet, if it is less than that of the job."""
        bounty = self._get_job(todo.job_id).bounty
        lower = {check: entry for check, entry in self._waiting.items() if entry[0] < bounty and not entry[1].expired()}
        if lower:
            least = min(lower, key=lambda check: (lower[check][0], -check.job_id))
            self._waiting.pop(least)[1].reschedule(asyncio.get_running_loop().time())
            log.info("check_gives_way", job=least.job_id, to=todo.job_id)

    def _is_in_time(self, job: pb.Job, current: pb.Round) -> bool:
        """Tell whether a check that begins now has at least a quarter of the time there is to look for image and model.

        Who was away, or busy, for most of it may say what it measures, not that something cannot be had: checkers that
        come late together would else have an honest winner rejected.
        """
        params = None if self._state.view is None else self._state.view.params
        window = 0 if params is None else compute_window_ms(params, job, current)
        return 4 * self._get_seconds_left(job) >= window / 1000 - self._get_class(job).seconds

    async def _find(self, todo: ev.Check, job: pb.Job, current: pb.Round, is_in_time: bool) -> tuple[int, int, bytes]:
        """Return finding, loss and receipt. The image comes first: one that does not run says nothing of a model."""
        fetching = asyncio.create_task(self._fetch(job, current))
        try:
            await self._prepare(job, is_in_time)
            path = await fetching
        except BrokenImageError as error:
            log.warning("unrunnable", job=job.id, reason=str(error))
            return tx_pb2.FINDING_UNRUNNABLE, 0, b""
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        if path is None:
            if not is_in_time:
                raise ActionFailed("this check began too late to tell whether the model can be had")
            return tx_pb2.FINDING_UNAVAILABLE, 0, b""
        self._tools.store.keep(current.model_digest, make_promise(job, self._get_retention_ms(), time.time()))
        async with self._turns.take((0, -job.bounty)):
            self._waiting.pop(todo, None)
            result = await self._measure(job, current.model_digest)
        measured = result.finding is Finding.MEASURED
        receipt = b"" if result.finding is Finding.UNRUNNABLE else result.receipt
        return int(result.finding), result.loss_nano if measured else 0, receipt

    async def _prepare(self, job: pb.Job, is_in_time: bool) -> None:
        """Pull the eval image and try its sample. Raises BrokenImageError, OwnFailureError."""
        await self._pull(job, is_in_time)
        async with self._turns.take((0, -job.bounty)):
            await asyncio.to_thread(self._tools.sandbox.check_sample, *self._get_image(job))

    async def _pull(self, job: pb.Job, is_in_time: bool) -> None:
        """Ask the registry again and again until only the time of an evaluation is left.

        An image that cannot be had all that time is broken: were the checkers silent instead, a contractor could make
        them miss their votes by taking its image away, or by letting it drip.
        """
        pause = FETCH_PAUSE_SECONDS
        while True:
            try:
                return await self._wait_for_image(job)
            except RegistryError as error:
                left = self._get_seconds_left(job)
                if left <= 0 and not is_in_time:
                    raise ActionFailed("this check began too late to tell whether the image can be had") from error
                if left <= 0:
                    raise BrokenImageError(f"the image cannot be had: {error}") from error
                log.warning("image_not_had_yet", job=job.id, reason=str(error), seconds_left=left)
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _wait_for_image(self, job: pb.Job) -> None:
        """Have the eval image prepared, for as long as the job waits for it. Raises like Sandbox.prepare.

        Raises RegistryError when only the time of an evaluation is left: nothing else of a pull takes that long.
        """
        image, limits = self._get_image(job)
        given_up = threading.Event()
        pulling = asyncio.ensure_future(
            asyncio.to_thread(self._tools.sandbox.prepare, image, limits.image_mib, given_up)
        )
        wait = FETCH_PAUSE_SECONDS  # one that is here is found also when the time is up
        try:
            while pulling not in (await asyncio.wait({pulling}, timeout=wait))[0]:
                wait = min(self._get_seconds_left(job), IMAGE_LOOK_SECONDS)
                if not self._is_as_before(job):
                    raise Overtaken("the job went on without this image")
                if wait <= 0:
                    raise RegistryError(f"{image} is too slow")
            return pulling.result()
        finally:
            given_up.set()
            pulling.cancel()

    def _get_seconds_left(self, job: pb.Job) -> float:
        """Return how long one can still wait before the evaluation has to begin, to be done before the window ends."""
        now_ms = job.deadline_ms if self._state.view is None else self._state.view.now_ms
        return (job.deadline_ms - now_ms) / 1000 - self._get_class(job).seconds

    async def _fetch(self, job: pb.Job, current: pb.Round) -> Path | None:
        """Try relays, then locations, again and again until only the time of an evaluation is left."""
        digest = current.model_digest
        pause, patience = FETCH_PAUSE_SECONDS, 1
        while self._state.view is not None:
            sources = await self._list_sources(digest, current.locations)
            seconds = self._get_seconds_left(job)
            path = await self._tools.transfer.fetch(
                digest, current.size, sources, max(seconds, FETCH_PAUSE_SECONDS), patience, job.bounty
            )
            if path is not None or seconds <= pause:
                return path
            await asyncio.sleep(pause)
            pause, patience = min(2 * pause, LONGEST_PAUSE_SECONDS), 2 * patience
        return None

    async def _list_sources(self, digest: bytes, locations: Sequence[str]) -> list[str]:
        """Return where a model may be: relays in the order in which its candidate tried them, and its locations."""
        relays = [get_model_url(relay.endpoint, digest) for relay in await self._tools.list_relays(digest)]
        return [*relays[:NEAR_RELAYS], *locations, *relays[NEAR_RELAYS:]]

    def _get_job(self, job_id: int) -> pb.Job:
        job = None if self._state.view is None else self._state.view.jobs.get(job_id)
        if job is None:
            raise Overtaken("the job is over")
        return job

    def _get_class(self, job: pb.Job) -> pb.EvaluationClass:
        if self._state.view is None:
            raise ActionFailed("nothing is known of the chain yet")
        return self._state.view.params.classes[job.terms.job_class]

    def _is_as_before(self, job: pb.Job) -> bool:
        """Tell whether a job is where it was when this look at it was taken."""
        now = None if self._state.view is None else self._state.view.jobs.get(job.id)
        return now is not None and (now.state, now.round) == (job.state, job.round)

    def _get_image(self, job: pb.Job) -> tuple[str, EvaluationLimits]:
        """Return the image that evaluates, and its limits."""
        return job.terms.eval_image or job.terms.image, limits_of_class(self._get_class(job))

    async def _measure(self, job: pb.Job, digest: bytes) -> Evaluation:
        """Raises ModelGone for a model that made room for others while it waited for its turn."""
        image, limits = self._get_image(job)
        path = self._tools.get_model(digest)
        return await asyncio.to_thread(self._tools.sandbox.evaluate, image, path, limits)

    def _get_retention_ms(self) -> int:
        return 0 if self._state.view is None else self._state.view.params.model_retention_ms
