"""`lc job announce|reveal`: a model that was trained elsewhere."""

import errno
import hashlib
from pathlib import Path

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from learningchain.claims import Claims
from learningchain.cli import exit_codes, worker_tools
from learningchain.cli.failure import Failure
from learningchain.cli.session import Session
from learningchain.wallet import Keystore, SecretKey
from tests.cli.sandbox import MODEL, Sandbox
from tests.cli.terminal import QUICK, Terminal, no_room_for_the_next_step
from tests.support.wallets import Wallet


def test_the_worst_of_three_measurements_is_announced(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    sandbox.losses = iter([50_000_000, 50_000_900, 50_000_100])
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert done.code == 0, done.err
    candidate = ada.market.job(job_id).candidates[0]
    assert (candidate.loss, done.data["loss"]) == (50_000_900, "0.0500009")
    claim = Claims(ada.home).find(candidate.commitment)
    assert claim is not None
    assert (claim.digest, claim.size) == (hashlib.sha256(MODEL).digest(), len(MODEL))


def test_the_announced_model_is_kept_though_training_goes_on(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    Path(model).write_bytes(b"a later checkpoint")
    claim = Claims(ada.home).find(ada.market.job(job_id).candidates[0].commitment)
    assert claim is not None
    assert Path(claim.path).read_bytes() == MODEL


def test_a_copy_that_a_power_cut_left_short_is_made_again(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    (ada.home / "claims").mkdir(mode=0o700)
    (ada.home / "claims" / f"{hashlib.sha256(MODEL).hexdigest()}.model").write_bytes(MODEL[:5])
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    claim = Claims(ada.home).find(ada.market.job(job_id).candidates[0].commitment)
    assert claim is not None
    assert Path(claim.path).read_bytes() == MODEL


def test_a_copy_that_fills_the_disk_is_named_and_not_left(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ada.market.submit()

    def copy(source: Path, target: Path) -> None:
        target.write_bytes(MODEL[:5])
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr("learningchain.cli.job_announce.shutil.copyfile", copy)
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert (done.code, list((ada.home / "claims").iterdir())) == (exit_codes.FAILED, [])
    partial = ada.home / "claims" / f"{hashlib.sha256(MODEL).hexdigest()}.part"
    assert done.error["message"] == f"{model} -> {partial}: No space left on device"
    assert ada.transport.broadcasts == []


def test_a_model_that_changes_while_it_is_evaluated_is_not_announced(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ada.market.submit()

    def evaluate(*words: object) -> object:
        Path(model).write_bytes(b"a later checkpoint")
        return sandbox.evaluate(*words)

    monkeypatch.setattr(worker_tools, "evaluate", evaluate)
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert (done.code, "changed while it was evaluated" in done.error["message"]) == (exit_codes.FAILED, True)
    assert ada.transport.broadcasts == []


@pytest.mark.parametrize("option", ["--no-wait", "--generate-only"])
def test_who_stays_has_to_wait_for_what_is_sent(ada: Terminal, sandbox: Sandbox, model: str, option: str) -> None:
    job_id = ada.market.submit()
    done = ada.json("job", "announce", str(job_id), "--model", model, "--stay", option)
    assert (done.code, sandbox.evaluations) == (exit_codes.USAGE, 0)
    assert f"lc job reveal --home {ada.home} {job_id} --stay" in done.error["hint"]
    assert ada.transport.broadcasts == []


def test_a_claim_that_cannot_be_used_is_named(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    path = next((ada.home / "claims").glob("*.json"))
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    damaged = ada.json("job", "reveal", str(job_id))
    assert (damaged.code, damaged.error["message"]) == (exit_codes.FAILED, f"the claim {path} is damaged")
    assert "restore it from a backup" in damaged.error["hint"]
    path.write_bytes(whole)
    path.chmod(0o644)
    is_open = ada.json("job", "reveal", str(job_id))
    assert (is_open.code, is_open.error["message"]) == (exit_codes.FAILED, f"the claim {path} cannot be used")
    assert f"chmod 600 {path}" in is_open.error["hint"]


def test_staying_reveals_the_model_when_its_turn_comes(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    done = ada.run("job", "announce", str(job_id), "--model", model, "--stay", "--location", "https://me.example/m")
    assert done.code == 0, done.err
    assert ada.market.job(job_id).state == pb.JOB_STATE_VOTE
    turn = ada.market.round(job_id)
    assert (turn.model_digest, list(turn.locations)) == (hashlib.sha256(MODEL).digest(), ["https://me.example/m"])
    assert sandbox.uploads[0][0].digest == turn.model_digest


def test_a_model_can_be_revealed_later(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert "lc job reveal" in ada.run("job", "announce", str(job_id), "--model", model).err
    early = ada.json("job", "reveal", str(job_id), "--from", "worker1")
    assert early.code == exit_codes.FAILED
    assert f"lc job reveal --home {ada.home} {job_id} --stay --from worker1" in early.error["hint"]
    ada.market.expire(job_id)
    assert ada.run("job", "reveal", str(job_id)).code == 0
    assert ada.market.job(job_id).state == pb.JOB_STATE_VOTE


def test_who_is_undercut_is_told_and_stops_waiting(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    ada.market.announce("worker0", job_id, 1_000)
    gone = ada.json("job", "reveal", str(job_id), "--stay")
    assert gone.code == exit_codes.NOT_FOUND
    assert "--why" in gone.error["hint"]


def test_waiting_ends_when_somebody_better_comes(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ada.market.submit()
    make_block = ada.transport.make_block

    def undercut(ms: int = 1_000) -> None:
        make_block(ms)
        candidates = ada.market.job(job_id).candidates
        if candidates and candidates[0].account == ada.market.address("worker1"):
            ada.market.announce("worker0", job_id, 1_000)

    monkeypatch.setattr(ada.transport, "make_block", undercut)
    done = ada.run("job", "announce", str(job_id), "--model", model, "--stay")
    assert done.code == 0
    assert "undercut" in done.err
    assert sandbox.uploads == []


def test_the_same_command_after_a_timeout_stays_for_what_it_sent_first(
    ada: Terminal, sandbox: Sandbox, model: str
) -> None:
    job_id = ada.market.submit()
    words = ("job", "announce", str(job_id), "--model", model, "--stay")
    ada.transport.auto_ms = None
    assert ada.run(*words, "--timeout", "0.1").code == exit_codes.TIMEOUT
    ada.transport.auto_ms = 1_000
    again = ada.run(*words)
    assert (again.code, "by an earlier run" in again.err) == (0, True)
    assert ada.market.job(job_id).state == pb.JOB_STATE_VOTE
    assert len(sandbox.uploads) == 1


@pytest.mark.parametrize("command", ["announce", "reveal"])
def test_who_stays_is_asked_for_the_password_once_and_before_the_wait(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    job_id = ada.market.submit()
    Keystore(ada.home / "keys", QUICK).add("ada", SecretKey(Wallet("worker0").seed), "password")
    asked_in: list[int] = []

    def ask(*_: object) -> str:
        asked_in.append(ada.market.job(job_id).state)
        return "password"

    monkeypatch.setattr(Session, "ask_password", ask)
    words = ("job", "announce", str(job_id), "--model", model, "--from", "ada")
    if command == "announce":
        assert ada.run(*words, "--stay").code == 0
    else:
        assert ada.run(*words).code == 0
        asked_in.clear()
        assert ada.run("job", "reveal", str(job_id), "--stay", "--from", "ada").code == 0
    assert ada.market.job(job_id).state == pb.JOB_STATE_VOTE
    assert asked_in == [pb.JOB_STATE_OPEN]


@pytest.mark.parametrize("failures", [2, 1_000])
def test_a_reveal_that_fails_is_tried_again_while_the_turn_lasts(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    job_id = ada.market.submit()
    sandbox.failing_uploads = failures
    monkeypatch.setattr("learningchain.cli.job_announce.time.sleep", lambda _: ada.market.block())
    done = ada.json("job", "announce", str(job_id), "--model", model, "--stay")
    if failures == 2:
        assert (done.code, done.err.count("trying again")) == (0, 2)
        assert ada.market.job(job_id).state == pb.JOB_STATE_VOTE
    else:
        assert (done.code, sandbox.uploads) == (exit_codes.FAILED, [])
        assert "no relay took the model" in done.error["message"]
        assert ada.market.round(job_id).outcome == pb.OUTCOME_DEFAULTED


def test_an_announcement_whose_next_step_cannot_be_told_is_found_again(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("job", "announce", str(ada.market.submit()), "--model", model)
    with no_room_for_the_next_step(monkeypatch):
        assert ada.json(*words).code == exit_codes.FAILED
    again = ada.run(*words)
    assert (again.code, "by an earlier run" in again.err, "next: lc job reveal" in again.err) == (0, True, True)


@pytest.mark.parametrize("case", ["slow", "noisy", "no score", "ceiling", "behind"])
def test_what_could_be_held_against_it_is_not_announced(ada: Terminal, sandbox: Sandbox, model: str, case: str) -> None:
    job_id = ada.market.submit(loss_ceiling=60_000_000)
    reasons = {
        "slow": "used 60% of a limit",
        "noisy": "differ by more",
        "no score": "gave no valid score: predict: exit status 1",
        "ceiling": "above the job's ceiling",
        "behind": "does not take the lead",
    }
    if case == "slow":
        sandbox.use = 0.6
    elif case == "noisy":
        sandbox.losses = iter([50_000_000, 50_001_001, 50_000_000])
    elif case == "no score":
        sandbox.scores = False
    elif case == "ceiling":
        sandbox.losses = iter([60_000_001] * 3)
    else:
        ada.market.announce("worker0", job_id, 50_001_000)
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert done.code == exit_codes.FAILED
    assert reasons[case] in done.error["message"]
    assert ada.transport.broadcasts == []
    assert not (ada.home / "claims").exists()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("settled", "job_not_open"),
        ("own", "own_job"),
        ("no account", "unknown_account"),
        ("no deposit", "not_securable"),
    ],
)
def test_what_the_chain_would_refuse_is_found_before_the_model_is_evaluated(
    ada: Terminal, sandbox: Sandbox, model: str, case: str, reason: str
) -> None:
    job_id = ada.market.submit()
    words = ["--secured"] if case == "no deposit" else []
    if case == "settled":
        ada.market.must("carl", tx_pb2.CancelJob(job_id=job_id))
    elif case == "no account":
        Keystore(ada.home / "keys", QUICK).add("nobody", SecretKey(b"n" * 32), None)
        words = ["--from", "nobody"]
    elif case == "own":
        ada.add_wallet("carl")
        words = ["--from", "carl"]
    done = ada.json("job", "announce", str(job_id), "--model", model, *words)
    assert (done.code, done.error["name"]) == (exit_codes.REFUSED, reason)
    assert sandbox.evaluations == 0
    assert ada.transport.broadcasts == []


def test_a_missing_model_is_not_found(ada: Terminal, sandbox: Sandbox) -> None:
    job_id = ada.market.submit()
    assert ada.json("job", "announce", str(job_id), "--model", "/no/such").code == exit_codes.NOT_FOUND


def test_what_did_not_improve_is_not_sent(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    Path(model).write_bytes(b"other weights")
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert (done.code, done.error["name"]) == (exit_codes.REFUSED, "not_improved")
    assert len(ada.transport.broadcasts) == 1


def test_what_others_announced_during_the_evaluation_counts(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ada.market.submit()

    def evaluate(*words: object) -> object:
        if not sandbox.evaluations:
            ada.market.announce("worker0", job_id, 1_000)
        return sandbox.evaluate(*words)

    monkeypatch.setattr(worker_tools, "evaluate", evaluate)
    done = ada.json("job", "announce", str(job_id), "--model", model)
    assert "does not take the lead" in done.error["message"]
    assert ada.transport.broadcasts == []


def test_an_announcement_of_an_earlier_run_is_told_though_the_job_has_expired(
    ada: Terminal, sandbox: Sandbox, model: str
) -> None:
    job_id = ada.market.submit()
    words = ("job", "announce", str(job_id), "--model", model)
    assert ada.run(*words, "--no-wait").code == 0
    ada.market.expire(job_id)
    assert ada.market.job(job_id).state != pb.JOB_STATE_OPEN
    again = ada.run(*words)
    assert "by an earlier run of this command" in again.err


def test_a_runner_up_place_may_be_taken(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit(runner_ups=1)
    ada.market.announce("worker0", job_id, 1_000)
    done = ada.run("job", "announce", str(job_id), "--model", model)
    assert done.code == 0
    assert "runner-up" in done.err
    assert len(ada.market.job(job_id).candidates) == 2


def test_a_deposit_is_locked_with_consent_only(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit(deposit=2_000_000)
    words = ("job", "announce", str(job_id), "--model", model, "--secured")
    assert ada.run(*words).code == exit_codes.FAILED
    assert ada.run(*words, "--yes").code == 0
    assert ada.market.job(job_id).candidates[0].deposit == 2_000_000


def test_a_model_of_a_size_the_class_does_not_allow_is_refused(ada: Terminal, sandbox: Sandbox, tmp_path: Path) -> None:
    job_id = ada.market.submit()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    done = ada.json("job", "announce", str(job_id), "--model", str(empty))
    assert done.code == exit_codes.FAILED
    assert "4 MiB" in done.error["hint"]


def test_without_relay_and_location_nothing_is_revealed(ada: Terminal, sandbox: Sandbox, model: str) -> None:
    job_id = ada.market.submit()
    assert ada.run("job", "announce", str(job_id), "--model", model).code == 0
    ada.market.expire(job_id)
    sandbox.relays = []
    done = ada.json("job", "reveal", str(job_id))
    assert done.code == exit_codes.FAILED
    assert "--location" in done.error["hint"]
    assert ada.market.job(job_id).state == pb.JOB_STATE_REVEAL


def test_a_machine_that_cannot_evaluate_says_what_is_missing(
    ada: Terminal, sandbox: Sandbox, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        raise Failure("this machine cannot evaluate: no engine", "start a Docker Engine")

    monkeypatch.setattr(worker_tools, "evaluate", fail)
    done = ada.json("job", "announce", str(ada.market.submit()), "--model", model)
    assert done.error["hint"] == "start a Docker Engine"
