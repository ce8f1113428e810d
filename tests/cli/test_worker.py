"""`lc worker`: what it writes, shows and says; the worker itself is tested in tests/worker."""

import errno
import json
import os
import re
import time
from pathlib import Path

import pytest
import structlog

from abci_app.protocol.bech32 import decode_address
from learningchain.cli import exit_codes
from learningchain.wallet import Keystore, SecretKey
from tests.cli.terminal import QUICK, Terminal
from worker import cli
from worker.sandbox import OwnFailureError, SandboxSettings
from worker.settings import WorkerSettings, load_settings

PASSWORD = "correct horse"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return str(path)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, WorkerSettings, SecretKey]]:
    """Starts of the worker, which log one line and end at once."""
    made: list[tuple[Path, WorkerSettings, SecretKey]] = []

    async def run(home: Path, settings: WorkerSettings, key: SecretKey) -> None:
        structlog.get_logger().info("engine", description="none")
        made.append((home, settings, key))

    monkeypatch.setattr(cli, "run_worker", run)
    return made


def test_a_new_worker_has_settings_an_encrypted_key_and_its_words(terminal: Terminal, password_file: str) -> None:
    done = terminal.json("worker", "init", "--node", "http://10.0.0.1:1", "--password-file", password_file)
    assert done.code == 0
    key = Keystore(terminal.home / "keys", QUICK).open("worker", lambda: PASSWORD)
    assert decode_address(done.data["account"]) == key.address
    assert done.data["encrypted"] is True
    assert key.get_words() in done.err
    settings = load_settings(terminal.home)
    assert settings.node == "http://10.0.0.1:1"
    assert "# what all trainings together may use" in (terminal.home / "worker.toml").read_text()
    assert (terminal.home.stat().st_mode & 0o777, (terminal.home / "worker.toml").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )


def test_a_worker_whose_settings_could_not_be_written_is_finished_by_the_same_command(
    terminal: Terminal, password_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_private", fail)
        first = terminal.json("worker", "init", "--password-file", password_file)
    key = Keystore(terminal.home / "keys", QUICK).open("worker", lambda: PASSWORD)
    assert (first.code, key.get_words() in first.err) == (exit_codes.FAILED, True)
    again = terminal.json("worker", "init", "--password-file", password_file)
    assert (again.code, decode_address(again.data["account"])) == (0, key.address)
    assert "lc keys show worker --words" in again.err
    assert (terminal.home / "worker.toml").exists()


def test_without_a_password_nothing_is_written(terminal: Terminal) -> None:
    done = terminal.json("worker", "init")
    assert done.code == exit_codes.FAILED
    assert "--password-file" in done.error["hint"]
    assert not terminal.home.exists()


def test_a_worker_is_made_once(terminal: Terminal) -> None:
    assert "not encrypted" in terminal.run("worker", "init", "--unencrypted").err
    text = (terminal.home / "worker.toml").read_text()
    again = terminal.json("worker", "init", "--unencrypted")
    assert again.code == exit_codes.FAILED
    assert "exists already" in again.error["message"]
    assert (terminal.home / "worker.toml").read_text() == text


def test_starting_takes_node_and_password_from_the_command_line(
    terminal: Terminal, password_file: str, runs: list[tuple[Path, WorkerSettings, SecretKey]]
) -> None:
    terminal.run("worker", "init", "--password-file", password_file)
    done = terminal.run("worker", "start", "--node", "unix:///n.sock", "--password-file", password_file)
    assert done.code == 0, done.err
    home, settings, _ = runs[0]
    assert (home, settings.node) == (terminal.home, "unix:///n.sock")
    assert terminal.run("worker", "start", "--password-file", password_file).code == 0
    assert runs[1][1].node == "http://127.0.0.1:26657"


def test_the_environment_of_other_tools_does_not_move_a_worker(
    terminal: Terminal, runs: list[tuple[Path, WorkerSettings, SecretKey]], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.run("worker", "init", "--unencrypted")
    monkeypatch.setenv("LC_NODE", "http://elsewhere:1")
    monkeypatch.setenv("LC_HOME", "/no/such/folder")
    assert terminal.run("worker", "start").code == 0
    assert (runs[0][0], runs[0][1].node) == (terminal.home, "http://127.0.0.1:26657")


def test_logs_are_on_stderr_in_the_form_that_is_asked_for(
    terminal: Terminal, runs: list[tuple[Path, WorkerSettings, SecretKey]]
) -> None:
    terminal.run("worker", "init", "--unencrypted")
    text, as_json = terminal.run("worker", "start"), terminal.json("worker", "start")
    assert (text.out, as_json.out) == ("", "")
    assert re.search(r"engine\s+description=none", text.err)
    assert json.loads(as_json.err)["event"] == "engine"


def test_a_machine_that_cannot_work_says_what_is_missing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OwnFailureError("no engine answers: start Docker")

    monkeypatch.setattr(cli, "run_worker", fail)
    terminal.run("worker", "init", "--unencrypted")
    done = terminal.json("worker", "start")
    assert done.code == exit_codes.FAILED
    assert (done.error["message"], done.error["hint"]) == ("no engine answers", "start Docker")


def test_a_full_disk_at_the_start_is_named(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cli, "run_worker", fail)
    terminal.run("worker", "init", "--unencrypted")
    done = terminal.json("worker", "start")
    assert done.code == exit_codes.FAILED
    assert "No space left on device" in done.error["message"]
    assert done.error["hint"] == "free some space"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[jobs]\nmax_parallel = 0\n", "worker.toml cannot be used; correct jobs.max_parallel: "),
        ("[jobs]\nmax_paralel = 1\n", "worker.toml cannot be used; correct jobs.max_paralel: there is no such setting"),
        ('[jobs]\nallowed_owners = ["lc1x"]\n', "worker.toml cannot be used; correct section jobs: an address starts"),
        ("[jobs]\nmax_parallel = 5\n[resources]\nmemory = 319\n", "memory = 319 is too little for max_parallel = 5"),
        ('[models]\nendpoint = "relay.example:8080"\n', "models.endpoint = relay.example:8080"),
        (f'[models]\nendpoint = "http://{"x" * 176}"\n', "181 are allowed"),
    ],
)
def test_settings_that_cannot_be_used_are_named(terminal: Terminal, settings: str, named: str) -> None:
    terminal.run("worker", "init", "--unencrypted")
    (terminal.home / "worker.toml").write_text(settings)
    done = terminal.json("worker", "start")
    assert done.code == exit_codes.FAILED
    assert named in f"{done.error['message']}; {done.error['hint']}"


def test_a_list_in_the_environment_that_is_no_json_is_named(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.run("worker", "init", "--unencrypted")
    monkeypatch.setenv("LC_WORKER_JOBS__ALLOWED_OWNERS", "lc1abc")
    done = terminal.json("worker", "start")
    assert done.code == exit_codes.FAILED
    assert "written as JSON" in done.error["message"] + done.error["hint"]


def test_the_status_is_shown_and_its_age_is_told(terminal: Terminal) -> None:
    terminal.home.mkdir()
    path = terminal.home / "status.json"
    path.write_text(json.dumps({"state": "running", "height": "9007199254740993"}))
    done = terminal.json("worker", "status")
    assert (done.code, done.data["height"], done.err) == (0, "9007199254740993", "")
    assert "state: running" in terminal.run("worker", "status").out
    os.utime(path, (time.time() - 600, time.time() - 600))
    done = terminal.json("worker", "status")
    assert "does not run" in done.err
    assert 600 <= done.data["age_seconds"] < 700
    path.write_text(json.dumps({"state": "stopped"}))
    os.utime(path, (time.time() - 600, time.time() - 600))
    assert terminal.json("worker", "status").err == ""


def test_what_a_training_printed_is_data_and_not_obeyed(terminal: Terminal) -> None:
    """Half of a surrogate pair, a C1 control and an override of the direction of text."""
    terminal.home.mkdir()
    shown = {"training": {"1": {"metrics": {"\ud800": "\x9b31m \u202e é"}}}}
    (terminal.home / "status.json").write_text(json.dumps(shown))
    done = terminal.json("worker", "status")
    assert (done.code, done.data) == (0, {**shown, "age_seconds": 0})
    assert done.out.isascii()
    text = terminal.run("worker", "status")
    assert (text.code, "\ufffd: \ufffd31m \ufffd é" in text.out) == (0, True)


@pytest.mark.parametrize("rest", [b"", b'{"tra', b"\xff"])
def test_a_status_that_a_power_cut_left_short_is_named(terminal: Terminal, rest: bytes) -> None:
    terminal.home.mkdir()
    (terminal.home / "status.json").write_bytes(rest)
    done = terminal.json("worker", "status")
    assert (done.code, "status.json is damaged" in done.error["message"]) == (exit_codes.FAILED, True)
    assert f"lc worker start --home {terminal.home}" in done.error["hint"]


def test_a_log_line_for_people_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Sources and relays are URLs that strangers wrote; the chain refuses only the oldest control characters."""
    cli._configure_logging(as_json=False)
    structlog.get_logger().info("source_failed", source="http://x/\x9b2J\u202eend")
    shown = capsys.readouterr().err
    assert "http://x/" in shown
    assert not set("\x9b\u202e") & set(shown)


def test_settings_of_the_sandbox_reach_it(tmp_path: Path) -> None:
    assert WorkerSettings().make_sandbox_settings(tmp_path) == SandboxSettings(home=tmp_path / "sandbox")
    (tmp_path / "worker.toml").write_text(
        """
        [jobs]
        allowed_registries = ["registry.lan"]
        [sandbox]
        engine = "unix:///e"
        runtime = "runsc"
        cpus = [1]
        storage = "loop"
        free_reserve = 7
        plain_http_registries = ["plain.lan:5000"]
        mirrors = {"docker.io" = ["mirror.lan"]}
        [models]
        allow_loopback = true
        """
    )
    assert load_settings(tmp_path).make_sandbox_settings(tmp_path) == SandboxSettings(
        home=tmp_path / "sandbox",
        engine="unix:///e",
        runtime="runsc",
        cpus=(1,),
        storage="loop",
        free_reserve_mib=7,
        plain_http_registries=("plain.lan:5000",),
        trusted_registries=("registry.lan",),
        mirrors={"docker.io": ("mirror.lan",)},
        allow_loopback=True,
    )
