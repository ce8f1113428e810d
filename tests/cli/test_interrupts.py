"""Ctrl-C at odd moments: what is done is not done again when the command is run again, as it then says."""

import subprocess
import sys
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from learningchain.client import SyncSender
from tests.cli.sandbox import Sandbox
from tests.cli.terminal import Terminal


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_a_payment_interrupted_when_its_result_is_shown_is_made_once(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, is_forgotten: bool
) -> None:
    words = ("tx", "transfer", encode_address(carl.market.address("worker0")), "1")
    before = carl.market.balance("worker0")
    forget = SyncSender.forget

    def interrupt(sender: SyncSender, *words: object) -> None:
        if is_forgotten or not words[0]:
            forget(sender, *words)  # type: ignore[arg-type]
        if words[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SyncSender, "forget", interrupt)
        stopped = carl.json(*words)
    assert stopped.data["code"] == 0
    if is_forgotten:
        assert stopped.code == exit_codes.OK
    else:
        assert stopped.code == exit_codes.INTERRUPTED
        assert "by an earlier run" in carl.json(*words).err
    assert carl.market.balance("worker0") - before == 1_000_000


def test_ctrl_c_after_the_work_is_done_changes_nothing(tmp_path: Path) -> None:
    """The process takes a moment to end, and would tell scripts to run the command again."""
    code = (
        "import atexit, os, signal, sys\n"
        "from learningchain.cli import main, session\n"
        "def press(*_):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "session.Session.close = press\n"
        "atexit.register(press)\n"
        f"sys.argv = ['lc', 'keys', 'list', '--home', {str(tmp_path)!r}]\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (exit_codes.OK, "")
    assert "account" in done.stdout


def test_ctrl_c_while_waiting_for_the_turn_tells_how_to_go_on(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    job_id = ada.market.submit()
    monkeypatch.setattr("learningchain.client.SyncClient.wait_for_block", interrupt)
    done = ada.run("job", "announce", str(job_id), "--model", model, "--stay")
    assert done.code == exit_codes.INTERRUPTED
    assert f"next: lc job reveal --home {ada.home} {job_id} --stay" in done.err.splitlines()
    assert ada.market.job(job_id).state == pb.JOB_STATE_OPEN
    assert len(ada.market.job(job_id).candidates) == 1
