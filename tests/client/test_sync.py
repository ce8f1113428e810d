"""The client for plain code does the same as the asynchronous one."""

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Callable

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import keys
from abci_app.protocol.limits import UCREDIT
from learningchain.client import ChainClient, Client, Sender, SyncClient, SyncSender
from learningchain.client.errors import ClientClosed, TxRefused
from learningchain.wallet import SecretKey
from tests.support.market import Market
from tests.support.memory_client import make_sync_client


def test_every_question_of_the_interface_can_be_asked_without_await() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert public(ChainClient) - {"aclose"} <= public(SyncClient)
    assert public(ChainClient) <= public(Client)
    assert public(Sender) <= public(SyncSender)


def test_the_signatures_are_the_same() -> None:
    for name, function in inspect.getmembers(ChainClient, inspect.isfunction):
        if not name.startswith("_") and name != "aclose":
            plain = inspect.signature(getattr(SyncClient, name))
            assert plain.parameters == inspect.signature(function).parameters, name


def test_questions_and_payments_work_from_plain_code() -> None:
    market = Market()
    key = SecretKey(b"z" * 32)
    with make_sync_client(market) as client:
        market.block()
        assert client.register(key) == key.address
        market.must("carl", tx_pb2.Transfer(to=key.address, amount=50 * UCREDIT))
        sender = client.sender(key)
        pending = sender.submit(tx_pb2.Transfer(to=market.address("worker0"), amount=UCREDIT))
        assert sender.list_pending() == [pending]
        result = sender.wait(pending)
        assert sender.send(tx_pb2.SetProfile(name="z")).code == 0
        assert sender.settle() == []
        assert sender.prepare(tx_pb2.Unjail()).nonce == 3
        with pytest.raises(TxRefused):
            sender.send(tx_pb2.CancelJob(job_id=9))
        job_id = market.submit()
        market.block()
        view = client.get_job(job_id)
        assert view is not None
        assert client.list_jobs() == [view.job]
        assert client.get_round(job_id, 0) is None
        assert client.list_candidacies(key.address) == []
        assert client.get_checker_table() == market.table()
        assert client.get_supply() == market.supply()
        assert client.list_relays() == []
        assert len(client.list_validators()) == 1
        assert client.find_account(key.public_key) == key.address
        assert client.get_view("/chain") is not None
        assert client.get_record(keys.SUPPLY) is not None
        found = client.find_tx(pending.tx_hash, 1, market.height)
        assert found == result
        assert result.height in client.list_filled_blocks(1, market.height)
        assert client.get_block_events(result.height).height == result.height
        assert client.check_tx(pending.tx).name == "wrong_nonce"
        assert client.broadcast(pending.tx) == pending.tx_hash
        assert client.wait_for_block(market.height - 1, 1) == market.height
        assert client.get_status().height == market.height
        assert client.get_required_bits() > 0


def test_an_interrupt_cancels_what_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait_long() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupt(_: object) -> None:
        begun.wait()
        raise KeyboardInterrupt

    client = make_sync_client(Market())
    monkeypatch.setattr(concurrent.futures.Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.run(wait_long())
    monkeypatch.undo()
    assert cancelled.wait(5)
    client.close()
    client.close()


@pytest.mark.parametrize("is_scheduled", [True, False])
def test_an_interrupt_while_work_is_handed_over_leaves_none_of_it_behind(
    monkeypatch: pytest.MonkeyPatch, is_scheduled: bool
) -> None:
    begun = threading.Event()

    async def wait_long() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def count_tasks() -> int:
        return len(asyncio.all_tasks())

    client = make_sync_client(Market())
    schedule = client._loop.call_soon_threadsafe

    def interrupt(work: Callable[..., object], *words: object) -> object:
        monkeypatch.setattr(client._loop, "call_soon_threadsafe", schedule)
        if is_scheduled:
            schedule(work, *words)
            begun.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(client._loop, "call_soon_threadsafe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.run(wait_long())
    assert client.run(count_tasks()) == 1
    client.close()


def test_a_closed_client_says_so() -> None:
    client = make_sync_client(Market())
    client.close()
    with pytest.raises(ClientClosed):
        client.get_supply()
