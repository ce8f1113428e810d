"""A disk that is full while something is sent hides nothing of what became of it."""

import errno
from collections.abc import Callable

import pytest

from abci_app.protocol import errors as reasons
from abci_app.protocol.limits import UCREDIT
from learningchain.client import FileJournal
from learningchain.client.errors import ClientError, TxExpired, TxFailed, TxRefused
from learningchain.client.journal import JournalError
from tests.support.sending import Bench, run


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what fills the disk: from then on nothing is written any more."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr("learningchain.client.journal.write_private", refuse)


def test_what_cannot_be_remembered_is_not_sent(bench: Bench, journal: FileJournal, fill: Callable[[], None]) -> None:
    before = len(bench.transport.broadcasts)
    fill()
    with pytest.raises(JournalError, match=r"^nothing was sent: .*\.json, cannot be written: No space left") as failed:
        run(bench.sender(journal).submit(bench.pay()))
    assert "run the same command again" in failed.value.hint
    assert len(bench.transport.broadcasts) == before


def test_a_refusal_is_told(bench: Bench, journal: FileJournal, fill: Callable[[], None]) -> None:
    broadcast = bench.transport.broadcast

    async def fill_and_broadcast(tx: bytes) -> int:
        fill()
        return await broadcast(tx)

    bench.transport.broadcast = fill_and_broadcast  # type: ignore[method-assign]
    with pytest.raises(TxRefused) as refused:
        run(bench.sender(journal).submit(bench.pay(10**6 * UCREDIT)))
    assert refused.value.code == reasons.InsufficientBalance.code
    _require_told(refused.value)
    assert len(journal.read()) == 1


def test_a_failure_in_a_block_is_told(bench: Bench, journal: FileJournal, fill: Callable[[], None]) -> None:
    bench.transport.auto_ms = None

    async def fail() -> TxFailed:
        sender = bench.sender(journal)
        await sender.submit(bench.pay(60 * UCREDIT))
        second = await sender.submit(bench.pay(61 * UCREDIT))
        await bench.transport.advance()
        fill()
        with pytest.raises(TxFailed) as failed:
            await sender.wait(second, 1)
        return failed.value

    error = run(fail())
    assert error.code == reasons.InsufficientBalance.code
    _require_told(error)


def test_an_end_without_effect_is_told(bench: Bench, journal: FileJournal, fill: Callable[[], None]) -> None:
    async def expire() -> TxExpired:
        sender = bench.sender(journal)
        pending = await sender.submit(bench.pay())
        bench.transport.evict()
        await bench.transport.advance(120_000 * 4)
        fill()
        with pytest.raises(TxExpired) as expired:
            await sender.wait(pending, 1)
        return expired.value

    _require_told(run(expire()))


def _require_told(error: ClientError) -> None:
    assert "cannot be written: No space left" in error.hint
