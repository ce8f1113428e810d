"""What a relay learns from the chain of the models it keeps, and what junk does to a winner without an address."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import MIB
from learningchain.wallet import SecretKey
from tests.support.market import SALT, UNAVAILABLE, Market, digest_of, measured
from tests.support.memory_client import MemoryTransport
from tests.support.wallets import Wallet
from tests.worker.claims import make_claim, make_kept
from tests.worker.fleet import Fleet, play, submit
from tests.worker.test_follower import Node, make_follower
from worker.models.keeping import Need
from worker.models.store import ModelStore, StoreFull
from worker.models.uploads import UploadClaim, UploadRefused, make_signer
from worker.relaying import CLAIMS, LOOKS, Relaying

LARGE = 3 * MIB // 10
"""Two such models do not fit into half of a store of 1 MiB."""


class Relay:
    """A store that keeps the first turns of some jobs, and what it was told of them."""

    def __init__(self, folder: Path) -> None:
        self.chain = Market()
        self.node = Node(MemoryTransport(self.chain))
        self.store = ModelStore(folder / "s", 10_000)
        self.relaying = Relaying(self.node, self.store, self.chain.address("checker0"))
        self.follower = make_follower(self.node, self.chain.address("checker0"))
        self.needs: dict[int, Need] = {}
        self._folder = folder
        self._change = self.store.change
        self.store.change = self.take_in  # type: ignore[method-assign]

    def keep(self, job_id: int) -> None:
        path = self._folder / "model"
        path.write_bytes(b"%9d" % job_id)
        assert self.store.keep(self.store.add_file(path, 10), make_kept(job_id))

    def take_in(self, promise: Any, need: Need) -> None:
        self.needs[promise.job_id] = need
        self._change(promise, need)

    async def look(self) -> None:
        await self.relaying.update(await self.follower.observe())


def run(folder: Path, script: Callable[[Relay], Coroutine[Any, Any, None]]) -> None:
    relay = Relay(folder)
    relay.chain.block()
    asyncio.run(script(relay))


def test_a_turn_is_over_when_the_chain_says_so(tmp_path: Path) -> None:
    async def script(relay: Relay) -> None:
        chain = relay.chain
        won = chain.open_vote(loss=5)
        defaulted = chain.submit(runner_ups=1, expiry_ms=chain.time_ms + 200_000)
        for worker, loss in (("worker1", 100_000), ("worker2", 5)):
            chain.announce(worker, defaulted, loss)
        for job_id in (won, defaulted):
            relay.keep(job_id)
        await relay.look()
        assert relay.needs == {}
        chain.decide_all(won, measured(5))
        await relay.look()
        assert relay.needs == {won: Need.CONTRACTOR}
        chain.expire(defaulted)
        await relay.look()
        assert relay.needs == {won: Need.CONTRACTOR}
        chain.expire(defaulted)  # the first candidate never reveals: the second has its turn
        await relay.look()
        assert relay.needs == {won: Need.CONTRACTOR, defaulted: Need.NOBODY}
        assert relay.store.list_turns() == []

    run(tmp_path, script)


def test_the_model_of_a_winner_that_was_sent_away_is_nobody_s_need(tmp_path: Path) -> None:
    async def script(relay: Relay) -> None:
        job_id = relay.chain.open_vote()
        relay.keep(job_id)
        relay.chain.decide_all(job_id, UNAVAILABLE)
        await relay.look()
        assert relay.needs == {job_id: Need.NOBODY}

    run(tmp_path, script)


def test_few_jobs_are_asked_for_at_once_and_each_has_its_turn(tmp_path: Path) -> None:
    async def script(relay: Relay) -> None:
        voting = relay.chain.open_vote()
        jobs = [voting, *range(voting + 1, voting + 3 * LOOKS)]  # all but one are not, or no more, on the chain
        for job_id in jobs:
            relay.keep(job_id)
        view = replace(await relay.follower.observe(), jobs={})
        for looks in (1, 2, 3):
            await relay.relaying.update(view)
            assert len(relay.needs) == LOOKS * looks - 1  # the one that is still voted on was asked for, and stays
        await relay.relaying.update(view)
        assert set(relay.needs) == set(jobs[1:])
        assert [promise.job_id for promise in relay.store.list_turns()] == [voting]

    run(tmp_path, script)


def test_what_the_disk_refuses_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreFull("no space left on device")

    async def script(relay: Relay) -> None:
        relay.keep(1)
        with monkeypatch.context() as patch:
            patch.setattr(relay.store, "change", refuse)
            await relay.look()
        assert relay.needs == {}
        await relay.look()
        assert relay.needs == {1: Need.NOBODY}

    run(tmp_path, script)


def test_a_claim_is_for_the_relay_whose_endpoint_the_chain_names(tmp_path: Path) -> None:
    """Each relay learns the claims that are made to it, and could make them to all others."""
    key = SecretKey(Wallet("worker0").seed)

    async def script(relay: Relay) -> None:
        chain, job_id = relay.chain, relay.chain.open_vote()
        for name in ("checker0", "checker1"):
            chain.must(name, tx_pb2.SetProfile(name=name, endpoint=f"http://{name}.example"))
        unsigned = UploadClaim(job_id, key.address, key.public_key, digest_of("worker0"), 1_000, SALT)
        sign = make_signer(unsigned, key, chain.tag)
        admission = await relay.relaying.check_upload(sign("http://checker0.example"))
        assert admission.promise.job_id == job_id
        with pytest.raises(UploadRefused, match=r"not valid for .* is http://checker0\.example"):
            await relay.relaying.check_upload(sign("http://checker1.example"))

    run(tmp_path, script)


def test_strangers_who_claim_at_once_keep_the_node_from_no_other_question(tmp_path: Path) -> None:
    """On each of hundreds of connections somebody may claim again and again; votes need answers too."""

    async def script(relay: Relay) -> None:
        ask, asked, answer = relay.node.get_job, [0], asyncio.Event()

        async def count(job_id: int) -> Any:
            asked[0] += 1
            await answer.wait()
            return await ask(job_id)

        relay.node.get_job = count  # type: ignore[method-assign]
        claims = [asyncio.create_task(relay.relaying.check_upload(make_claim())) for _ in range(10 * CLAIMS)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert asked[0] == CLAIMS
        answer.set()
        assert all(isinstance(found, UploadRefused) for found in await asyncio.gather(*claims, return_exceptions=True))

    run(tmp_path, script)


def test_an_upload_ends_with_its_turn(tmp_path: Path) -> None:
    """A relay that drips would else hold it for days after, with a large model."""

    async def script(fleet: Fleet) -> None:
        over = asyncio.Event()

        async def put_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while not over.is_set() and not writer.is_closing():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(1)
            writer.close()

        async def wait_for_doing(is_uploading: bool) -> None:
            status = tmp_path / "worker0" / "status.json"
            await fleet.wait_for(lambda: ("Upload 1" in json.loads(status.read_text())["doing"]) is is_uploading)

        server = await asyncio.start_server(put_off, "127.0.0.1", 0)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        fleet.chain.must("checker4", tx_pb2.SetProfile(name="x", endpoint=endpoint))
        fleet.start("worker0", (b"0.5",))
        job_id = submit(fleet)
        await fleet.wait_for(lambda: fleet.chain.job(job_id).state == pb.JOB_STATE_REVEAL)
        await wait_for_doing(True)
        await fleet.settle(job_id)
        await wait_for_doing(False)
        over.set()
        server.close()
        await asyncio.sleep(2)  # until all that were taken in are closed

    play(tmp_path, script)


def test_relays_full_of_junk_take_the_model_of_an_honest_winner(tmp_path: Path) -> None:
    """The attacker's own job, won by itself, fills all of them: a winner without an own address would get nothing."""

    async def script(fleet: Fleet) -> None:
        for number in range(5):
            fleet.start(f"checker{number}", checks=True, max_size=1)
        fleet.start("worker1", (b" " * LARGE + b"0.5",))
        await fleet.wait_for(fleet.has_relays)
        junk = await fleet.settle(submit(fleet))
        assert junk.outcome == pb.OUTCOME_ACCEPTED
        fleet.stops["worker1"].set()
        await fleet.tasks.pop("worker1")
        kept = [list((tmp_path / f"checker{number}" / "models").glob("*.keep")) for number in range(5)]
        assert all(kept)
        fleet.start("worker0", (b" " * LARGE + b"0.4",))
        job = await fleet.settle(submit(fleet))
        assert job.outcome == pb.OUTCOME_ACCEPTED
        assert job.winner == fleet.chain.address("worker0")

    play(tmp_path, script)
