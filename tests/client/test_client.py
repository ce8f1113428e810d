"""The client's questions, answered by the node's own views over a chain in memory."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.limits import UCREDIT
from learningchain.client import ChainClient, Client, JobPage, connect
from learningchain.client.errors import (
    BadAnswer,
    NodeUnreachable,
    QueryRefused,
    TxRefused,
    WaitTimeout,
    WrongChain,
)
from learningchain.client.transport import QueryAnswer
from tests.support.chain import CHAIN_ID
from tests.support.market import Market, digest_of
from tests.support.memory_client import MemoryTransport, make_client

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def market() -> Market:
    return Market()


def test_status_and_chain_name_the_chain_and_its_parameters(market: Market) -> None:
    client = make_client(market)
    market.block()
    status, chain = run(client.get_status()), run(client.get_chain())
    assert (status.chain_id, status.height, status.time_ms) == (CHAIN_ID, market.height, market.time_ms)
    assert (chain.chain_id, chain.chain_tag, chain.params) == (CHAIN_ID, market.tag, market.params)


def test_the_chain_is_asked_for_once(market: Market) -> None:
    client = make_client(market)
    market.block()
    first = run(client.get_chain())
    assert run(client.get_chain()) is first


def test_a_node_of_another_chain_is_refused(market: Market) -> None:
    transport = MemoryTransport(market)
    market.block()
    with pytest.raises(WrongChain, match=market.tag.hex()):
        run(Client(transport, b"another!").get_chain())
    assert run(Client(transport, market.tag).get_chain()).chain_tag == market.tag


QUESTIONS: dict[str, Callable[[Client], Coroutine[Any, Any, object]]] = {
    "get_status": lambda client: client.get_status(),
    "get_chain": lambda client: client.get_chain(),
    "get_supply": lambda client: client.get_supply(),
    "get_account": lambda client: client.get_account(bytes(20)),
    "find_account": lambda client: client.find_account(bytes(32)),
    "get_job": lambda client: client.get_job(1),
    "get_round": lambda client: client.get_round(1, 0),
    "list_jobs": lambda client: client.list_jobs(),
    "page_jobs": lambda client: client.page_jobs(),
    "list_candidacies": lambda client: client.list_candidacies(bytes(20)),
    "get_checker_table": lambda client: client.get_checker_table(),
    "list_relays": lambda client: client.list_relays(),
    "list_validators": lambda client: client.list_validators(),
    "get_required_bits": lambda client: client.get_required_bits(),
    "check_tx": lambda client: client.check_tx(b"tx"),
    "get_view": lambda client: client.get_view("/supply"),
    "get_record": lambda client: client.get_record(keys.PARAMS),
    "broadcast": lambda client: client.broadcast(b"tx"),
    "find_tx": lambda client: client.find_tx(bytes(32), 1, 1),
    "list_filled_blocks": lambda client: client.list_filled_blocks(1, 1),
    "wait_for_block": lambda client: client.wait_for_block(0, 1),
    "get_block_events": lambda client: client.get_block_events(2),
}


def test_there_is_a_question_for_every_method() -> None:
    assert {*QUESTIONS, "aclose"} == {name for name in vars(ChainClient) if not name.startswith("_")}


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_nothing_is_asked_of_a_node_of_another_chain(market: Market, question: str) -> None:
    transport = MemoryTransport(market)
    market.block()
    with pytest.raises(WrongChain):
        run(QUESTIONS[question](Client(transport, b"another!")))
    assert transport.broadcasts == []


@pytest.mark.parametrize("tag", [b"", b"short", b"too long for a tag"])
def test_what_is_no_chain_tag_is_refused(tag: bytes) -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        connect("http://127.0.0.1:26657", tag)


def test_an_account_comes_with_its_deeds_and_profile(market: Market) -> None:
    client = make_client(market)
    market.must("worker0", tx_pb2.SetProfile(name="w", endpoint="http://w.example"))
    view = run(client.get_account(market.address("worker0")))
    assert view is not None
    assert view.account == market.account("worker0")
    assert view.standing == market.standing("worker0")
    assert view.profile.endpoint == "http://w.example"
    assert view.get_nonce(market.wallet("worker0").public_key) == 1
    assert view.get_nonce(bytes(32)) is None
    assert run(client.find_account(market.wallet("worker0").public_key)) == market.address("worker0")


def test_what_does_not_exist_is_none(market: Market) -> None:
    client = make_client(market)
    market.block()
    assert run(client.get_account(bytes(20))) is None
    assert run(client.find_account(bytes(32))) is None
    assert run(client.get_job(99)) is None
    assert run(client.get_round(1, 0)) is None
    assert run(client.get_view("/job/99")) is None


def test_a_job_comes_with_all_its_rounds(market: Market) -> None:
    client = make_client(market)
    job_id = market.submit()
    market.announce("worker0", job_id, 1_000_000)
    market.expire(job_id)
    view = run(client.get_job(job_id))
    assert view is not None
    assert view.job == market.job(job_id)
    assert list(view.rounds) == [market.round(job_id)]
    assert view.round == market.round(job_id)
    assert run(client.get_round(job_id, 0)) == market.round(job_id)
    market.reveal("worker0", job_id)
    view = run(client.get_job(job_id))
    assert view is not None
    assert view.round is not None
    assert view.round.model_digest == digest_of("worker0")


def test_a_job_without_a_turn_has_no_round(market: Market) -> None:
    client = make_client(market)
    view = run(client.get_job(market.submit()))
    assert view is not None
    assert view.round is None


def test_jobs_are_listed_by_state_contractor_and_page(market: Market) -> None:
    client = make_client(market)
    ids = [market.submit() for _ in range(7)]
    market.must("carl", tx_pb2.CancelJob(job_id=ids[2]))
    opened = [entry.id for entry in run(client.list_jobs([pb.JOB_STATE_OPEN]))]
    assert opened == [*ids[:2], *ids[3:]]
    assert [entry.id for entry in run(client.list_jobs(after_id=ids[3], limit=2))] == ids[4:6]
    assert [entry.id for entry in run(client.list_jobs(newest_first=True, limit=3))] == ids[:3:-1]
    assert [entry.id for entry in run(client.list_jobs(newest_first=True, after_id=ids[2]))] == [ids[1], ids[0]]
    assert len(run(client.list_jobs(contractor=market.address("carl")))) == 7
    assert run(client.list_jobs(contractor=market.address("worker0"))) == []


def test_more_jobs_than_a_page_are_listed_to_the_end() -> None:
    market = Market(overrides={"max_open_jobs": 1000, "tx_burst": 1000}, audited=False)
    client = make_client(market)
    market.block([("carl", market.terms(bounty=UCREDIT)) for _ in range(130)])
    assert [entry.id for entry in run(client.list_jobs(limit=1000))] == list(range(1, 131))
    assert len(run(client.list_jobs(limit=120))) == 120
    first = run(client.page_jobs([pb.JOB_STATE_OPEN], questions=1))
    assert ([job.id for job in first.jobs], first.next_id) == (list(range(1, 101)), 100)
    second = run(client.page_jobs(after_id=100, questions=1))
    assert ([job.id for job in second.jobs], second.next_id) == (list(range(101, 131)), None)
    assert run(client.page_jobs([pb.JOB_STATE_PAID])) == JobPage([], None)


def test_tables_supply_validators_relays_and_candidacies_are_read(market: Market) -> None:
    client = make_client(market)
    market.must("checker0", tx_pb2.SetProfile(endpoint="http://c.example"))
    job_id = market.submit()
    market.announce("worker0", job_id, 1_000_000)
    assert run(client.get_checker_table()) == market.table()
    assert run(client.get_supply()) == market.supply()
    assert [entry.operator for entry in run(client.list_validators())] == [market.address("val0")]
    relays = run(client.list_relays())
    assert [(relay.account, relay.endpoint) for relay in relays] == [(market.address("checker0"), "http://c.example")]
    assert run(client.list_candidacies(market.address("worker0"))) == [job_id]
    assert run(client.get_required_bits()) == market.required_bits()


def test_a_dry_run_names_stage_and_reason_and_sends_nothing(market: Market) -> None:
    transport = MemoryTransport(market)
    client = Client(transport)
    market.block()
    good = market.sign("carl", tx_pb2.Transfer(to=market.address("worker0"), amount=1))
    assert run(client.check_tx(good)).code == 0
    poor = market.sign("carl", tx_pb2.Transfer(to=market.address("worker0"), amount=10**15), nonce=1)
    check = run(client.check_tx(poor))
    assert (check.code, check.stage, check.name) == (102, "message", "insufficient_balance")
    late = market.sign("carl", tx_pb2.Unjail(), nonce=9)
    assert run(client.check_tx(late)).stage == "envelope"
    assert run(client.check_tx(b"rubbish")).stage == "bytes"
    assert transport.broadcasts == []


def test_a_record_comes_with_its_proof_checked(market: Market) -> None:
    client = make_client(market)
    job_id = market.submit()
    market.block()
    market.block()
    record = run(client.get_record(keys.job(job_id)))
    assert record == market.committed.get(keys.job(job_id))
    assert run(client.get_record(keys.job(99))) is None


@pytest.mark.parametrize("lie", ["value", "absence", "proof", "type"])
def test_a_node_that_lies_about_a_record_is_caught(market: Market, lie: str) -> None:
    class Liar(MemoryTransport):
        async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
            answer = await super().query(path, data, prove)
            if not path.startswith("/store"):
                return answer
            values = {"value": answer.value + b"\x08\x01", "absence": b""}
            no_text = replace(answer.proof[0], type="\ud800")  # half of a surrogate pair, which JSON can hold
            proofs = {"proof": answer.proof[:-1], "type": [no_text, *answer.proof[1:]]}
            return replace(answer, value=values.get(lie, answer.value), proof=proofs.get(lie, answer.proof))

    client = Client(Liar(market))
    job_id = market.submit()
    market.block()
    market.block()
    with pytest.raises(BadAnswer, match="does not hold"):
        run(client.get_record(keys.job(job_id)))


def test_a_transaction_is_found_in_its_block(market: Market) -> None:
    client = make_client(market)
    tx = market.sign("carl", tx_pb2.Transfer(to=market.address("worker0"), amount=UCREDIT))
    market.skip(90_000)
    market.block([market.sign("worker1", tx_pb2.Unjail()), tx])
    height = market.height
    market.skip(90_000)

    async def find() -> None:
        from abci_app.protocol.hashing import compute_tx_hash

        found = await client.find_tx(compute_tx_hash(tx), 2, market.height)
        assert found is not None
        assert (found.height, found.index, found.code) == (height, 1, 0)
        assert [event.type for event in found.events] == ["credits.transferred"]
        assert await client.find_tx(compute_tx_hash(tx), height + 1, market.height) is None
        assert await client.list_filled_blocks(2, market.height) == [height]

    run(find())


def test_the_events_of_a_block_are_read(market: Market) -> None:
    client = make_client(market)
    job_id = market.submit()
    events = run(client.get_block_events(market.height)).events
    assert [event.type for event in events] == ["job.submitted"]
    assert dict(events[0].attributes)["job_id"] == str(job_id)
    with pytest.raises(BadAnswer):
        run(client.get_block_events(10_000))


def test_a_refused_broadcast_carries_the_chains_reason(market: Market) -> None:
    client = make_client(market)
    market.block()
    with pytest.raises(TxRefused) as refused:
        run(client.broadcast(b"rubbish"))
    assert (refused.value.code, refused.value.name) == (2, "undecodable")
    assert refused.value.hint


def test_waiting_for_a_block_returns_the_last_height(market: Market) -> None:
    client = make_client(market)
    market.block()
    assert run(client.wait_for_block(market.height - 1, 1)) == market.height
    assert run(client.wait_for_block(market.height, 1)) == market.height


def test_waiting_ends_when_the_time_is_over(market: Market) -> None:
    client = make_client(market, auto_ms=None)
    market.block()
    with pytest.raises(WaitTimeout, match="no block after"):
        run(client.wait_for_block(market.height, 0.05))


def test_an_unreachable_node_is_said_to_be_so(market: Market) -> None:
    transport = MemoryTransport(market)
    transport.failing = True
    with pytest.raises(NodeUnreachable) as error:
        run(Client(transport).get_status())
    assert "--node" in error.value.hint


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{",
        b'{"height":"1"}',
        b'{"height":"x","chain_id":"c","chain_tag":"00","time_ms":"1"}',
        b'{"height":"1","chain_id":1,"chain_tag":"00","time_ms":"1"}',
        b'{"height":true,"chain_id":"c","chain_tag":"00","time_ms":"1"}',
        b"[" * 100_000,
    ],
)
def test_a_view_that_is_no_view_is_a_bad_answer(market: Market, value: bytes) -> None:
    class Broken(MemoryTransport):
        async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
            return QueryAnswer(0, "", value, 1)

    with pytest.raises(BadAnswer):
        run(Client(Broken(market)).get_status())


@pytest.mark.parametrize("height", [10**6, 1, -5])
def test_headers_of_other_blocks_than_asked_for_are_no_endless_search(market: Market, height: int) -> None:
    class Lost(MemoryTransport):
        async def count_txs(self, from_height: int, to_height: int) -> dict[int, int]:
            return {height: 1}

    with pytest.raises(BadAnswer, match="no block headers from 5 to 9"):
        run(asyncio.wait_for(Client(Lost(market)).list_filled_blocks(5, 9), 5))


@pytest.mark.parametrize("bits", [-2, 60, 10**6])
def test_work_that_nobody_can_do_is_a_bad_answer(market: Market, bits: int) -> None:
    class Greedy(MemoryTransport):
        async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
            return QueryAnswer(0, "", b'{"registration_bits_now": "%d"}' % bits, 1)

    with pytest.raises(BadAnswer, match="nobody can do"):
        run(Client(Greedy(market)).get_required_bits())


def test_a_refused_query_says_why(market: Market) -> None:
    client = make_client(market)
    market.block()
    with pytest.raises(BadAnswer, match="there is no such path"):
        run(client.get_view("/nonsense"))


@pytest.mark.parametrize("path", ["/nonsense", "/job/one", "/job/18446744073709551615", "/account/lc1x", ""])
def test_a_wrong_path_is_told_from_a_wrong_node(market: Market, path: str) -> None:
    client = make_client(market)
    market.block()
    with pytest.raises(QueryRefused) as refused:
        run(client.get_view(path))
    assert "correct the path" in refused.value.hint


@pytest.mark.parametrize(
    "question",
    [
        lambda client: client.get_record(b""),
        lambda client: client.get_record(b"zz"),
        lambda client: client.get_record(b"a"),
        lambda client: client.get_job(-1),
        lambda client: client.get_job(2**64),
        lambda client: client.get_round(1, -1),
        lambda client: client.list_jobs(after_id=-1),
        lambda client: client.list_jobs(after_id=2**64),
        lambda client: client.list_jobs(limit=-1),
        lambda client: client.list_jobs(states=[99]),
        lambda client: client.list_jobs(contractor=b""),
        lambda client: client.page_jobs(after_id=-1),
        lambda client: client.page_jobs(states=[99]),
        lambda client: client.find_account(b""),
        lambda client: client.get_account(b"short"),
    ],
)
def test_an_argument_that_no_chain_has_is_not_sent(
    market: Market, question: Callable[[Client], Coroutine[Any, Any, object]]
) -> None:
    class Silent(MemoryTransport):
        async def query(self, path: str, data: bytes = b"", prove: bool = False) -> QueryAnswer:
            raise AssertionError(path)

    with pytest.raises(ValueError):  # noqa: PT011
        run(question(Client(Silent(market))))


def test_numbers_above_all_jobs_are_no_error(market: Market) -> None:
    client = make_client(market)
    job_id = market.submit()
    highest = 2**64 - 1
    assert run(client.get_job(highest)) is None
    assert run(client.get_round(highest, 0)) is None
    assert run(client.list_jobs(after_id=highest)) == []
    assert [job.id for job in run(client.list_jobs(after_id=highest, newest_first=True))] == [job_id]
