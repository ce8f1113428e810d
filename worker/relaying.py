"""The chain's part in what this node keeps for others: who may upload a model, and who still waits for one."""

import asyncio
import time

import structlog

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.limits import MIB
from learningchain.client import ChainClient
from worker.models.keeping import Need, Promise, find_need, make_promise
from worker.models.store import ModelStore, StoreFull
from worker.models.uploads import Admission, UploadClaim, UploadRefused, check_claim
from worker.view import ChainView

log = structlog.get_logger()

LOOKS = 16
"""Jobs asked for at one height, of those that the view shows no more; the others have their turn later."""
CLAIMS = 4
"""Uploads judged at once. Anybody may ask for one on each connection, and this worker's own questions to the node, for
which votes wait, would come after all of them."""


class Relaying:
    """Judges uploads, and tells the store how far the jobs are whose models it keeps."""

    def __init__(self, client: ChainClient, store: ModelStore, account: bytes) -> None:
        """Ask the node of `client` about what `store` keeps for others at the endpoint of `account`."""
        self._client = client
        self._account = account
        self._store = store
        self._asked = 0  # how often; the least often asked come first
        self._last_asked: dict[int, int] = {}
        self._judging = asyncio.Semaphore(CLAIMS)

    async def check_upload(self, claim: UploadClaim) -> Admission:
        """Return what a rightful upload may bring. Raises UploadRefused."""
        async with self._judging:
            chain = await self._client.get_chain()
            found = await self._client.get_job(claim.job_id)
            owner = await self._client.get_account(claim.account)
            me = await self._client.get_account(self._account)
        if found is None or owner is None:
            raise UploadRefused("there is no such job or account")
        endpoint = "" if me is None else me.profile.endpoint
        check_claim(claim, chain.chain_tag, endpoint, chain.params, found.job, owner.account)
        max_bytes = int(chain.params.classes[found.job.terms.job_class].model_mib) * MIB
        return Admission(max_bytes, make_promise(found.job, chain.params.model_retention_ms, time.time()))

    async def update(self, view: ChainView) -> None:
        """Tell the store which turns are over; what its disk refuses is told again with the next view."""
        turns = self._store.list_turns()
        try:
            for promise in turns:
                job = view.jobs.get(promise.job_id)
                if job is not None:
                    self._tell(promise, job)
            for promise in self._choose([promise for promise in turns if promise.job_id not in view.jobs]):
                found = await self._client.get_job(promise.job_id)
                self._tell(promise, None if found is None else found.job)
        except StoreFull as error:
            log.warning("end_of_turn_not_written", reason=str(error))

    def _choose(self, unseen: list[Promise]) -> list[Promise]:
        self._last_asked = {promise.job_id: self._last_asked.get(promise.job_id, 0) for promise in unseen}
        chosen = sorted(unseen, key=lambda promise: self._last_asked[promise.job_id])[:LOOKS]
        for promise in chosen:
            self._asked += 1
            self._last_asked[promise.job_id] = self._asked
        return chosen

    def _tell(self, promise: Promise, job: pb.Job | None) -> None:
        """Of a job that is pruned the contractor has had its time."""
        need = Need.NOBODY if job is None else find_need(job, promise)
        if need is not promise.need:
            self._store.change(promise, need)
