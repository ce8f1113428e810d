"""A submission ends in time whatever the node does, and what was signed is neither lost nor made twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from abci_app.protocol.limits import UCREDIT
from learningchain.client import FileJournal, MemoryJournal, client, sender
from learningchain.client.errors import NothingSent, TxPending
from learningchain.client.journal import JournalBusy
from tests.support.sending import Bench, run

SHORT_S = 0.5
"""How long the tests wait for an answer that never comes."""


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, sender):
        monkeypatch.setattr(module, "SHORTEST_LOOK_S", SHORT_S)


def hang(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, first: Callable[..., Any] | None = None) -> None:
    """Have one question to the node never be answered; what `first` does happens at the node nevertheless."""

    async def never(*words: Any, **named: Any) -> None:
        if first is not None:
            await first(*words, **named)
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.transport, name, never)


@pytest.mark.parametrize("question", ["is_catching_up", "query"])
def test_without_an_answer_before_the_broadcast_nothing_is_sent_and_that_is_said(
    bench: Bench, journal: FileJournal, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    before = len(bench.transport.broadcasts)
    with monkeypatch.context() as patch:
        hang(patch, bench, question)
        with pytest.raises(NothingSent, match="nothing was sent"):
            run(bench.sender(journal).send(bench.pay(), SHORT_S))
    assert (len(bench.transport.broadcasts), journal.read()) == (before, [])
    run(bench.sender(journal).send(bench.pay()))
    assert bench.paid == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_a_broadcast_without_an_answer_is_pending_and_the_same_message_is_paid_once(
    bench: Bench, journal: FileJournal, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    with monkeypatch.context() as patch:
        hang(patch, bench, "broadcast", bench.transport.broadcast if arrives else None)
        with pytest.raises(TxPending) as pending:
            run(bench.sender(journal).send(bench.pay(), SHORT_S))
    assert "run the same command again" in pending.value.hint
    assert [entry.tx_hash for entry in journal.read()] == [pending.value.tx_hash]
    result = run(bench.sender(journal).send(bench.pay()))
    assert result.tx_hash == pending.value.tx_hash
    assert (bench.paid, journal.read()) == (1, [])


@pytest.mark.parametrize("question", ["is_catching_up", "broadcast", "count_txs"])
def test_what_an_earlier_run_sent_stays_pending_when_the_next_run_is_cut_off_too(
    bench: Bench, journal: FileJournal, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    first = run(bench.sender(journal).submit(bench.pay()))
    if question == "count_txs":
        bench.transport.make_block()
    with monkeypatch.context() as patch:
        hang(patch, bench, question)
        with pytest.raises(TxPending) as pending:
            run(bench.sender(journal).send(bench.pay(), SHORT_S))
    assert pending.value.tx_hash == first.tx_hash
    run(bench.sender(journal).send(bench.pay()))
    assert (bench.paid, journal.read()) == (1, [])


def test_settling_ends_in_time_and_keeps_what_is_undecided(
    bench: Bench, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bench.sender(journal).submit(bench.pay()))
    with monkeypatch.context() as patch:
        hang(patch, bench, "broadcast")
        with pytest.raises(NothingSent):
            run(bench.sender(journal).settle("another command", timeout_s=SHORT_S))
    assert len(journal.read()) == 1
    run(bench.sender(journal).send(bench.pay()))
    assert bench.paid == 1


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_journal_that_another_one_holds_is_waited_for_in_time_and_nothing_is_sent(
    bench: Bench, journal: FileJournal, kind: str
) -> None:
    chosen = journal if kind == "file" else MemoryJournal()
    before = len(bench.transport.broadcasts)

    async def compete() -> None:
        async with chosen.locked():
            with pytest.raises(JournalBusy, match="nothing was sent") as busy:
                await bench.sender(chosen).send(bench.pay(2 * UCREDIT), SHORT_S)
            assert busy.value.hint

    run(compete())
    assert (len(bench.transport.broadcasts), chosen.read()) == (before, [])
    run(bench.sender(chosen).send(bench.pay(2 * UCREDIT)))
    assert bench.paid == 2
