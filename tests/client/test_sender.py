"""Sending: nonces, resending, and nothing paid twice whatever happens in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol import errors as reasons
from abci_app.protocol.limits import UCREDIT
from learningchain.client import FileJournal, MemoryJournal, Sender, register
from learningchain.client.errors import NodeUnreachable, TxExpired, TxFailed, TxPending, TxRefused
from learningchain.client.journal import JournalError, Pending
from learningchain.client.transactions import build_set_key
from learningchain.wallet import SecretKey
from tests.support.sending import Bench, run

TIMEOUT_S = 0.05


@pytest.fixture
def quiet() -> Bench:
    """Blocks come only when the test makes them."""
    bench = Bench()
    bench.transport.auto_ms = None
    return bench


def test_a_sent_message_comes_back_with_its_block_and_events(bench: Bench) -> None:
    result = run(bench.sender().send(bench.pay()))
    assert (result.code, result.height) == (0, bench.chain.height)
    assert result.events[0].type == "credits.transferred"
    assert bench.paid == 1


def test_several_messages_wait_in_the_mempool_in_order(quiet: Bench) -> None:
    async def send_three() -> list[int]:
        sender = quiet.sender()
        pending = [await sender.submit(quiet.pay(number * UCREDIT)) for number in (1, 2, 3)]
        await quiet.transport.advance()
        results = [await sender.wait(entry, 1) for entry in pending]
        assert [entry.nonce for entry in pending] == [1, 2, 3]
        return [result.index for result in results]

    assert run(send_three()) == [0, 1, 2]
    assert quiet.paid == 6


def test_messages_sent_at_once_get_different_nonces(quiet: Bench) -> None:
    async def send_together() -> None:
        sender = quiet.sender()
        sending = [sender.submit(quiet.pay(number * UCREDIT)) for number in (1, 2, 3, 4)]
        pending = await asyncio.gather(*sending)
        assert sorted(entry.nonce for entry in pending) == [1, 2, 3, 4]
        await quiet.transport.advance()

    run(send_together())
    assert quiet.paid == 10


def test_a_refused_message_uses_no_nonce(bench: Bench) -> None:
    async def refuse_then_send() -> None:
        sender = bench.sender()
        with pytest.raises(TxRefused) as refused:
            await sender.send(bench.pay(10**6 * UCREDIT))
        assert refused.value.code == reasons.InsufficientBalance.code
        assert sender.list_pending() == []
        assert (await sender.submit(bench.pay())).nonce == 1

    run(refuse_then_send())


def test_a_message_that_no_transaction_carries_is_refused_before_it_is_sent(bench: Bench) -> None:
    message = bench.pay()
    message.memo = "m" * 20_000
    before = len(bench.transport.broadcasts)
    sender = bench.sender()
    with pytest.raises(TxRefused) as refused:
        run(sender.send(message))
    assert refused.value.code == reasons.TooLarge.code
    assert (len(bench.transport.broadcasts), sender.list_pending()) == (before, [])


def test_a_message_that_fails_in_its_block_says_so_and_is_over(quiet: Bench) -> None:
    async def fail() -> None:
        sender = quiet.sender()
        first = await sender.submit(quiet.pay(60 * UCREDIT))
        second = await sender.submit(quiet.pay(61 * UCREDIT))
        await quiet.transport.advance()
        await sender.wait(first, 1)
        with pytest.raises(TxFailed) as failed:
            await sender.wait(second, 1)
        assert (failed.value.code, failed.value.height) == (reasons.InsufficientBalance.code, quiet.chain.height)
        assert sender.list_pending() == []

    run(fail())


def test_a_timeout_says_that_it_may_still_land_and_the_same_message_waits_for_the_same_bytes(quiet: Bench) -> None:
    async def send_twice() -> None:
        sender = quiet.sender()
        with pytest.raises(TxPending) as pending:
            await sender.send(quiet.pay(), TIMEOUT_S)
        assert "run the same command again" in pending.value.hint
        again = await sender.submit(quiet.pay())
        assert again.tx_hash == pending.value.tx_hash
        await quiet.transport.advance()
        assert (await sender.wait(again, 1)).code == 0

    run(send_twice())
    assert quiet.paid == 1


def test_after_it_is_done_the_same_message_is_a_new_payment(bench: Bench) -> None:
    async def pay_twice() -> None:
        sender = bench.sender()
        await sender.send(bench.pay())
        await sender.send(bench.pay())

    run(pay_twice())
    assert bench.paid == 2


@pytest.mark.parametrize("when", ["before the broadcast", "after the broadcast", "after the block"])
def test_a_crash_anywhere_and_the_same_command_again_pays_once(bench: Bench, journal: FileJournal, when: str) -> None:
    """The first run ends right there; the second begins with what the first left on disk."""

    async def crash() -> None:
        if when == "before the broadcast":
            bench.transport.failing_broadcasts = True
            with pytest.raises(NodeUnreachable):
                await bench.sender(journal).submit(bench.pay())
            bench.transport.failing_broadcasts = False
            return
        await bench.sender(journal).submit(bench.pay())
        if when == "after the block":
            await bench.transport.advance()

    run(crash())
    result = run(bench.sender(journal).send(bench.pay()))
    assert result.code == 0
    run(bench.transport.advance(3_000))
    assert bench.paid == 1
    assert journal.read() == []


@pytest.mark.parametrize("cause", ["its last block", "its key is removed"])
def test_a_transaction_that_is_refused_again_for_what_its_block_did_was_carried_out(
    quiet: Bench, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """The node was started again meanwhile: it does not remember the bytes."""
    other = SecretKey(b"o" * 32)
    message: Any = quiet.pay()
    sender = quiet.sender()
    if cause == "its key is removed":
        added = build_set_key(quiet.chain.tag, sender.account, other, tx_pb2.KEY_SCOPE_OWNER)
        quiet.transport.auto_ms = 1_000
        run(sender.send(added))
        quiet.transport.auto_ms = None
        message = tx_pb2.SetKey(public_key=other.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED)
        sender = Sender(quiet.client, other, sender.account)

    async def send_twice() -> None:
        pending = await sender.submit(message)
        if cause == "its last block":
            while quiet.chain.height < pending.expires_at_height - 1:
                quiet.chain.block()
        else:
            quiet.transport.make_block()
        broadcast = quiet.transport.broadcast

        async def forget_and_broadcast(tx: bytes) -> int:
            if cause == "its last block":
                quiet.transport.make_block()
            quiet.transport._known.clear()
            return await broadcast(tx)

        monkeypatch.setattr(quiet.transport, "broadcast", forget_and_broadcast)
        again = await sender.submit(message)
        assert again.tx_hash == pending.tx_hash
        assert (await sender.wait(again, 1)).code == 0
        assert sender.list_pending() == []

    run(send_twice())


def test_a_crash_is_noticed_even_long_after_its_transaction_expired(bench: Bench, journal: FileJournal) -> None:
    run(bench.sender(journal).submit(bench.pay()))
    run(bench.transport.advance(120_000 * 4))
    assert bench.paid == 1
    landed = run(bench.sender(journal).send(bench.pay()))
    assert landed.height < bench.chain.height
    assert bench.paid == 1


def test_a_transaction_that_never_landed_is_signed_anew(bench: Bench, journal: FileJournal) -> None:
    async def lose() -> None:
        pending = await bench.sender(journal).submit(bench.pay())
        bench.transport.evict()
        await bench.transport.advance(120_000 * 4)
        with pytest.raises(TxExpired):
            await bench.sender(MemoryJournal()).wait(pending, 1)

    run(lose())
    assert bench.paid == 0
    run(bench.sender(journal).send(bench.pay()))
    assert bench.paid == 1


def test_an_evicted_transaction_is_sent_again_before_a_new_one(bench: Bench, journal: FileJournal) -> None:
    async def evict() -> None:
        sender = bench.sender(journal)
        first = await sender.submit(bench.pay(UCREDIT))
        bench.transport.evict()
        second = await sender.submit(bench.pay(2 * UCREDIT))
        assert (first.nonce, second.nonce) == (1, 2)
        await bench.transport.advance()

    run(evict())
    assert bench.paid == 3


def test_another_program_with_the_same_key_costs_one_more_try(bench: Bench) -> None:
    async def interfere() -> None:
        ours, theirs = bench.sender(), bench.sender()
        await theirs.submit(bench.pay(UCREDIT))
        with pytest.raises(TxRefused) as refused:
            await ours.submit(bench.pay(2 * UCREDIT))
        assert refused.value.code == reasons.WrongNonce.code
        await bench.transport.advance()
        await ours.send(bench.pay(2 * UCREDIT))

    run(interfere())
    assert bench.paid == 3


def test_two_processes_share_a_journal_without_a_clash(bench: Bench, tmp_path: Path) -> None:
    async def together() -> None:
        paths = (tmp_path / "journal", bench.chain.tag, bench.key.public_key)
        senders = [bench.sender(FileJournal(*paths)) for _ in range(3)]
        sending = [sender.submit(bench.pay((1 + index) * UCREDIT)) for index, sender in enumerate(senders)]
        assert sorted(entry.nonce for entry in await asyncio.gather(*sending)) == [1, 2, 3]
        await bench.transport.advance()

    run(together())
    assert bench.paid == 6


def test_settling_tells_what_became_of_everything_left_behind(bench: Bench, journal: FileJournal) -> None:
    async def leave_behind() -> None:
        sender = bench.sender(journal)
        await sender.submit(bench.pay(UCREDIT), intent="one")
        await bench.transport.advance()
        await sender.submit(bench.pay(2 * UCREDIT), intent="two")

    run(leave_behind())
    settled = run(bench.sender(journal).settle())
    assert [(item.pending.intent, item.result.code if item.result else None) for item in settled] == [("one", 0)]
    assert [entry.intent for entry in journal.read()] == ["two"]
    run(bench.transport.advance())
    assert [item.pending.intent for item in run(bench.sender(journal).settle(keep_intent="three"))] == ["two"]
    assert run(bench.sender(journal).settle()) == []


def test_settling_leaves_the_intent_alone_that_is_about_to_be_taken_up(bench: Bench, journal: FileJournal) -> None:
    run(bench.sender(journal).submit(bench.pay(), intent="pay"))
    run(bench.transport.advance())
    assert run(bench.sender(journal).settle(keep_intent="pay")) == []
    assert run(bench.sender(journal).submit(bench.pay(), intent="pay")).nonce == 1
    assert bench.paid == 1


def test_a_key_added_to_another_account_signs_for_it(bench: Bench) -> None:
    from learningchain.client.transactions import build_set_key

    work = SecretKey(b"w" * 32)
    message = build_set_key(bench.chain.tag, bench.key.address, work, tx_pb2.KEY_SCOPE_WORK)
    run(bench.sender().send(message))
    sender = Sender(bench.client, work, bench.key.address)
    assert run(sender.send(tx_pb2.SetProfile(name="by the work key"))).code == 0
    with pytest.raises(TxRefused) as refused:
        run(sender.send(bench.pay()))
    assert refused.value.code == reasons.ScopeTooSmall.code


def test_an_unknown_account_or_key_is_said_before_anything_is_signed(bench: Bench) -> None:
    stranger = SecretKey(b"x" * 32)
    for account, code in ((None, reasons.UnknownAccount.code), (bench.key.address, reasons.UnknownKey.code)):
        with pytest.raises(TxRefused) as refused:
            run(Sender(bench.client, stranger, account).submit(bench.pay()))
        assert refused.value.code == code


def test_preparing_signs_without_sending(bench: Bench) -> None:
    before = list(bench.transport.broadcasts)
    prepared = run(bench.sender().prepare(bench.pay()))
    assert (prepared.nonce, bench.transport.broadcasts) == (1, before)
    assert run(bench.client.check_tx(prepared.tx)).code == 0


def test_registering_an_account_that_exists_returns_at_once(bench: Bench) -> None:
    before = len(bench.transport.broadcasts)
    assert run(register(bench.client, bench.key)) == bench.key.address
    assert len(bench.transport.broadcasts) == before


def test_work_is_searched_for_one_bit_more_than_asked(bench: Bench) -> None:
    from abci_app.protocol.hashing import compute_work, count_leading_zero_bits
    from abci_app.protocol.transaction import parse

    key = SecretKey(b"n" * 32)
    bits = run(bench.client.get_required_bits())
    run(register(bench.client, key))
    message = parse(bench.transport.broadcasts[-1]).message
    assert isinstance(message, tx_pb2.Register)
    work = compute_work(bench.chain.tag, key.public_key, message.solution)
    assert count_leading_zero_bits(work) >= bits + 1


def test_a_damaged_journal_stops_everything_instead_of_paying_twice(bench: Bench, journal: FileJournal) -> None:
    run(bench.sender(journal).submit(bench.pay()))
    path = next(entry for entry in journal.folder.iterdir() if entry.suffix == ".json")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JournalError, match="may still be carried out"):
        run(bench.sender(journal).submit(bench.pay(2 * UCREDIT)))


def test_the_journal_is_on_disk_before_the_broadcast(bench: Bench, journal: FileJournal) -> None:
    seen: list[list[Pending]] = []

    original = bench.transport.broadcast

    async def broadcast(tx: bytes) -> Any:
        seen.append(journal.read())
        return await original(tx)

    bench.transport.broadcast = broadcast  # type: ignore[method-assign]
    pending = run(bench.sender(journal).submit(bench.pay()))
    assert seen == [[pending]]


def test_a_journal_with_too_much_in_it_is_not_written(journal: FileJournal) -> None:
    entry = Pending(b"", b"", 1, 1, 2, "")
    with pytest.raises(JournalError, match="wait for blocks"):
        journal.write([entry] * 257)
