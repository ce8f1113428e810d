"""Who stays for its turn is told at once about what no waiting changes."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import errors
from abci_app.protocol.bech32 import encode_address
from learningchain.announcing import LASTING
from learningchain.claims import Claims
from learningchain.cli import exit_codes
from learningchain.cli.output import Output
from learningchain.client import FileJournal, Pending
from learningchain.client.journal import JournalError
from tests.cli.sandbox import Sandbox
from tests.cli.terminal import Terminal

PASSING = (
    errors.Expired,
    errors.ExpiryTooFar,
    errors.DuplicateTx,
    errors.UnknownAccount,
    errors.WrongNonce,
    errors.QuotaExceeded,
    errors.FreshAccount,
    errors.PoorPlacesTaken,
    errors.UnknownJob,
    errors.NotInReveal,
    errors.NotYourTurn,
    errors.DeadlinePassed,
)
"""What else a Reveal is refused for: it passes, or the turn is looked at again."""


def announce(ada: Terminal, model: str) -> int:
    """Announce a model for a new job."""
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    return job_id


def refuse(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, code: int) -> Callable[[], int]:
    """Have the node refuse every transaction with one reason; give the number of refusals."""
    refused: list[bytes] = []

    async def broadcast(tx: bytes) -> int:
        refused.append(tx)
        terminal.market.block()
        return code

    monkeypatch.setattr(terminal.transport, "broadcast", broadcast)
    monkeypatch.setattr("learningchain.cli.job_announce.RETRY_S", 0.0)
    return lambda: len(refused)


@pytest.mark.parametrize("reason", sorted(LASTING))
def test_a_reason_that_lasts_ends_the_wait_at_once(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    job_id = announce(ada, model)
    ada.market.expire(job_id)
    count = refuse(ada, monkeypatch, reason)
    done = ada.json("job", "reveal", str(job_id), "--stay")
    assert (done.code, done.error["code"]) == (exit_codes.REFUSED, reason)
    assert (count(), ada.market.job(job_id).state) == (1, pb.JOB_STATE_REVEAL)


@pytest.mark.parametrize("reason", [reason.code for reason in PASSING if reason is not errors.WrongNonce])
def test_a_reason_that_may_pass_is_tried_again_until_the_turn_is_over(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    job_id = announce(ada, model)
    ada.market.expire(job_id)
    count = refuse(ada, monkeypatch, reason)
    done = ada.json("job", "reveal", str(job_id), "--stay")
    assert (done.code, done.error["code"]) == (exit_codes.REFUSED, reason)
    assert count() > 1
    assert ada.market.round(job_id).outcome == pb.OUTCOME_DEFAULTED


def test_every_reason_to_refuse_a_reveal_either_lasts_or_passes() -> None:
    of_envelope = {code for code in errors.REASONS if code < 40}
    of_reveal = {
        errors.UnknownJob.code,
        errors.NotSupported.code,
        *(code for code in errors.REASONS if 250 <= code < 260),
    }
    assert of_envelope | of_reveal == LASTING | {reason.code for reason in PASSING}
    assert LASTING.isdisjoint(reason.code for reason in PASSING)


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_full_disk_loses_no_turn(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, is_shown: bool
) -> None:
    """The list of what was sent cannot be written, nor perhaps the log that stderr is: the deposit is on the chain."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    job_id = announce(ada, model)
    ada.market.expire(job_id)
    monkeypatch.setattr("learningchain.cli.job_announce.time.sleep", lambda _: ada.transport.make_block())
    monkeypatch.setattr(FileJournal, "write", refuse)
    if not is_shown:
        monkeypatch.setattr(Output, "say", refuse)
    done = ada.json("job", "reveal", str(job_id), "--stay")
    assert ada.market.job(job_id).state != pb.JOB_STATE_REVEAL
    assert ada.market.round(job_id).outcome != pb.OUTCOME_DEFAULTED
    assert done.code == exit_codes.FAILED
    assert "without the list of what was sent" in done.error["message"]
    assert "no space left" in done.error["message"]


@pytest.mark.parametrize("part", ["list", "result", "line"])
def test_who_stays_goes_on_where_the_disk_fills_while_the_announcement_is_sent(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It stands on the chain then, perhaps with a deposit: its turn must not be lost."""
    full = OSError(errno.ENOSPC, "No space left on device")
    write, show, say = FileJournal.write, Output.show, Output.say
    is_freed = False

    def write_if(journal: FileJournal, entries: list[Pending]) -> None:
        if part == "list" and not entries and not is_freed:
            raise JournalError("the list cannot be written: no space", "correct this")
        write(journal, entries)

    def show_if(out: Output, *words: Any) -> None:
        if part == "result" and not is_freed:
            raise full
        show(out, *words)

    def say_if(out: Output, text: str) -> None:
        nonlocal is_freed
        if part == "line" and text.startswith("transaction") and not is_freed:
            raise full
        is_freed = is_freed or text.startswith("waiting")
        say(out, text)

    monkeypatch.setattr(FileJournal, "write", write_if)
    monkeypatch.setattr(Output, "show", show_if)
    monkeypatch.setattr(Output, "say", say_if)
    job_id = ada.market.submit()
    done = ada.run("job", "announce", str(job_id), "--model", model, "--stay")
    assert (done.code, ada.market.job(job_id).state) == (0, pb.JOB_STATE_VOTE), done.err
    assert "going on" in done.err
    assert ("an earlier Announce was carried out" in done.err) is (part != "line")


def test_a_key_that_cannot_reveal_is_told_before_the_wait(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = announce(ada, model)
    owner = encode_address(ada.market.address("worker1"))
    assert ada.run("keys", "add", "work", "--unencrypted", "--account", owner).code == 0
    assert ada.run("tx", "set-key", "work", "--from", "worker1").code == 0
    assert ada.run("tx", "set-key", "work", "--scope", "removed", "--from", "worker1").code == 0
    done = ada.json("job", "reveal", str(job_id), "--stay", "--from", "work")
    assert (done.code, done.error["name"]) == (exit_codes.REFUSED, "key_removed")
    assert ada.market.job(job_id).state == pb.JOB_STATE_OPEN


@pytest.mark.parametrize("locations", [["x"] * 5, ["http://host/" + "a" * 256], [""], ["http://a\nb"]])
@pytest.mark.parametrize("command", ["announce", "reveal"])
def test_locations_that_the_chain_would_refuse_are_told_before_anything_else(
    ada: Terminal, sandbox: Sandbox, model: str, command: str, locations: list[str]
) -> None:
    job_id = ada.market.submit()
    words = [word for location in locations for word in ("--location", location)]
    words += ["--model", model] if command == "announce" else []
    done = ada.json("job", command, str(job_id), *words)
    assert (done.code, sandbox.evaluations) == (exit_codes.USAGE, 0)
    assert "at most 4 locations" in done.error["hint"]
    assert not Claims(ada.home).folder.exists()
    assert Path(model).exists()
