"""--timeout bounds what a command waits for the node in all."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from learningchain.cli import exit_codes
from learningchain.cli.session import Session
from learningchain.client import Pending, TxResult, client, file_lock, sender, sync
from learningchain.wallet import Keystore, SecretKey
from tests.cli.terminal import QUICK, Terminal
from tests.support.wallets import Wallet

SHORT = ("--timeout", "0.1")


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, sender, sync):
        monkeypatch.setattr(module, "SHORTEST_LOOK_S", 0.5)


@contextmanager
def hanging(terminal: Terminal, name: str, first: Callable[..., Any] | None = None) -> Iterator[None]:
    """Have one kind of question never be answered; what `first` does happens at the node nevertheless."""

    async def never(*words: Any, **named: Any) -> None:
        if first is not None:
            await first(*words, **named)
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal.transport, name, never)
        yield


@pytest.mark.parametrize("question", ["query", "is_catching_up"])
@pytest.mark.parametrize(
    "words",
    [
        ("tx", "bond", "1"),
        ("tx", "bond", "1", "--generate-only"),
        ("tx", "set-profile", "--name", "me"),
        ("tx", "set-checker", "0"),
        ("job", "cancel", "1", "--yes"),
    ],
)
def test_a_node_that_does_not_answer_before_anything_is_sent(
    carl: Terminal, question: str, words: tuple[str, ...]
) -> None:
    with hanging(carl, question):
        done = carl.json(*words, *SHORT)
    assert (done.code, done.out) == (exit_codes.TIMEOUT, "")
    assert "nothing was sent" in done.error["message"]
    assert "--timeout" in done.error["hint"]
    assert carl.transport.broadcasts == []


def test_what_is_typed_does_not_count(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    Keystore(carl.home / "keys", QUICK).add("locked", SecretKey(Wallet("carl").seed), "password")
    now, given = [0.0], []
    wait = sync.SyncSender.wait

    def type_slowly(*_: object) -> str:
        now[0] += 100.0
        return "password"

    def note(sender: sync.SyncSender, pending: Pending, timeout_s: float, keep: bool) -> TxResult:
        given.append(timeout_s)
        return wait(sender, pending, timeout_s, keep)

    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Session, "ask_password", type_slowly)
    monkeypatch.setattr(sync.SyncSender, "wait", note)
    assert carl.run("tx", "bond", "1", "--from", "locked", "--timeout", "60").code == 0
    assert (now, given) == ([100.0], [60.0])


@pytest.mark.parametrize("arrives", [True, False])
def test_a_broadcast_that_is_not_answered_may_land_and_is_made_once(carl: Terminal, arrives: bool) -> None:
    to = encode_address(carl.market.address("worker0"))
    before = carl.market.balance("worker0")
    words = ("tx", "transfer", to, "3")
    with hanging(carl, "broadcast", carl.transport.broadcast if arrives else None):
        for _ in range(2):
            done = carl.json(*words, *SHORT)
            assert (done.code, done.out) == (exit_codes.TIMEOUT, "")
            assert "run the same command again" in done.error["hint"]
    again = carl.json(*words)
    assert again.code == 0
    carl.transport.make_block()
    assert carl.market.balance("worker0") - before == 3 * UCREDIT


def test_another_command_that_is_cut_off_sends_nothing_and_loses_nothing(carl: Terminal) -> None:
    carl.transport.auto_ms = None
    assert carl.run("tx", "bond", "1", "--no-wait").code == 0
    with hanging(carl, "broadcast"):
        done = carl.json("tx", "bond", "2", *SHORT)
    assert done.code == exit_codes.TIMEOUT
    assert "nothing was sent" in done.error["message"]
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    assert "an earlier Bond was carried out" in carl.run("tx", "bond", "2").err
    assert carl.market.account("carl").bond == 3 * UCREDIT


def test_an_unreachable_node_at_the_broadcast_is_told_with_what_may_still_land(carl: Terminal) -> None:
    carl.transport.failing_broadcasts = True
    done = carl.json("tx", "bond", "1")
    assert done.code == exit_codes.UNREACHABLE
    assert "may still land: run the same command again" in done.error["hint"]


def test_a_registration_that_is_cut_off_after_its_work_may_land(terminal: Terminal) -> None:
    terminal.run("keys", "add", "new", "--unencrypted")
    with hanging(terminal, "query"):
        cut = terminal.json("tx", "register", *SHORT)
    assert (cut.code, "nothing was sent" in cut.error["message"]) == (exit_codes.TIMEOUT, True)
    with hanging(terminal, "broadcast", terminal.transport.broadcast):
        cut = terminal.json("tx", "register", *SHORT)
    assert (cut.code, "can still land" in cut.error["hint"]) == (exit_codes.TIMEOUT, True)
    terminal.transport.make_block()
    assert "exists already" in terminal.run("tx", "register").err


def test_the_work_of_a_registration_is_followed_by_questions_that_are_bounded(terminal: Terminal) -> None:
    terminal.run("keys", "add", "new", "--unencrypted")
    with hanging(terminal, "is_catching_up"):  # what is asked for only after the work
        cut = terminal.json("tx", "register", *SHORT)
    assert "searching for work" in cut.err
    assert (cut.code, "nothing was sent" in cut.error["message"]) == (exit_codes.TIMEOUT, True)
    assert terminal.transport.broadcasts == []


def test_a_command_waits_for_another_one_with_the_same_key_and_says_so(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "NOTICE_S", 0.0)
    assert carl.run("tx", "bond", "1").code == 0
    lock = next(path for path in (carl.home / "journal").iterdir() if path.suffix == ".lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = carl.json("tx", "bond", "2", *SHORT)
    assert (done.code, done.out) == (exit_codes.TIMEOUT, "")
    assert f"waiting: process {os.getpid()} holds" in done.err
    assert f"process {os.getpid()} holds" in done.error["message"]
    assert len(carl.transport.broadcasts) == 1
    assert carl.run("tx", "bond", "2").code == 0
    assert carl.market.account("carl").bond == 3 * UCREDIT
