"""`python -m abci_app`: what it refuses, how it stops, what it says."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from abci_app import __main__ as program
from abci_app.protocol.crypto import CryptoMismatch
from abci_app.server.preflight import DEFAULT_MEMPOOL_SIZE, StartRefused, read_mempool_size
from abci_app.store.lmdb_store import LmdbStore

TIMEOUT_S = 20.0


def run(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "abci_app", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Return what it said until it is ready, which it says when signals stop it cleanly."""
    assert process.stderr is not None
    said = ""
    while "ready" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("transport", ["socket", "grpc"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, transport: str, number: int) -> None:
    process = run("--home", tmp_path, "--transport", transport)
    wait_until_ready(process)
    assert (tmp_path / "abci.sock").exists()
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == program.EXIT_STOPPED
    assert "stopped" in err
    assert out == ""
    assert not (tmp_path / "abci.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_at_once_and_says_nothing(tmp_path: Path, number: int) -> None:
    home = write_config(tmp_path, "")
    (config := home / "config" / "config.toml").unlink()
    os.mkfifo(config)
    process = run("--home", tmp_path, "--cometbft-home", home)
    with config.open("wb"):  # it reads now, and waits for more
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -number
    assert err == ""


@pytest.mark.parametrize("transport", ["socket", "grpc"])
def test_many_signals_to_its_very_end_stop_it_as_one_does(tmp_path: Path, transport: str) -> None:
    for number in range(5):
        process = run("--home", tmp_path / str(number), "--transport", transport)
        wait_until_ready(process)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == program.EXIT_STOPPED


def test_a_log_that_nobody_reads_any_more_does_not_end_it(tmp_path: Path) -> None:
    process = run("--home", tmp_path)
    wait_until_ready(process)
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == program.EXIT_STOPPED


def test_a_store_in_use_is_refused_with_who_uses_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = LmdbStore(tmp_path / "state")
    assert program.main(["--home", str(tmp_path)]) == program.EXIT_REFUSED
    assert "in use by process" in capsys.readouterr().err
    store.close()


def test_an_address_in_use_is_refused_and_the_store_is_free_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "abci.sock").write_text("in the way")
    assert program.main(["--home", str(tmp_path)]) == program.EXIT_REFUSED
    assert "is no socket" in capsys.readouterr().err
    LmdbStore(tmp_path / "state").close()


def test_a_signature_library_that_disagrees_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disagree() -> None:
        raise CryptoMismatch("libsodium disagrees")

    monkeypatch.setattr(program, "self_test", disagree)
    assert program.main(["--home", str(tmp_path)]) == program.EXIT_REFUSED
    assert "libsodium disagrees" in capsys.readouterr().err


def test_protobuf_in_pure_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    _, err = (process := run("--home", tmp_path)).communicate(timeout=TIMEOUT_S)
    assert process.returncode == program.EXIT_REFUSED
    assert "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" in err


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:1", "nonsense", "unix://relative"])
def test_wrong_addresses_are_wrong_arguments(tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        program.main(["--home", str(tmp_path), "--address", address])
    assert stopped.value.code == 2
    assert re.search("unix://|loopback|not absolute", capsys.readouterr().err)


def write_config(home: Path, text: str) -> Path:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(text)
    return home


def test_the_mempools_size_comes_from_cometbfts_settings(tmp_path: Path) -> None:
    assert read_mempool_size(write_config(tmp_path, "[mempool]\nsize = 20000\nrecheck = true\n")) == 20_000
    assert read_mempool_size(None) == DEFAULT_MEMPOOL_SIZE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[mempool]\nrecheck = false\n", r"set mempool\.recheck = true"),
        ('[mempool]\ntype = "nop"\n', r"set mempool\.type = flood"),
        ("[consensus]\ncreate_empty_blocks = false\n", r"set consensus\.create_empty_blocks = true"),
        ('[consensus]\ncreate_empty_blocks_interval = "5s"\n', r"set consensus\.create_empty_blocks_interval = 0s"),
        ("[statesync]\nenable = true\n", r"set statesync\.enable = false: no node offers snapshots"),
        ("filter_peers = true\n", "set filter_peers = false"),
        ("[mempool", "cannot be read"),
    ],
)
def test_settings_the_chain_cannot_work_with_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(StartRefused, match=reason):
        read_mempool_size(write_config(tmp_path, text))


def test_a_home_without_settings_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="cometbft init"):
        read_mempool_size(tmp_path)
