"""Processes of a node: how they ended, and their last words."""

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from learningchain.node import NO_BLOCKS, RunningNode, run_node
from learningchain.node_home import NodeError, NodeHome
from learningchain.processes import Log, Lookout, describe_end, get_module_command, start_process, stop_process


def test_an_end_names_the_code_or_the_signal() -> None:
    assert describe_end(3) == "ended with code 3"
    assert describe_end(-signal.SIGBUS) == "was ended by SIGBUS"


ABORT = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"


def test_an_application_that_ends_as_on_a_damaged_store_is_told_with_what_to_do(tmp_path: Path) -> None:
    node = RunningNode(NodeHome(tmp_path), -1)
    node.app = subprocess.Popen([sys.executable, "-c", ABORT])
    node.cometbft = subprocess.Popen(["sleep", "60"])
    ended = node.wait(lambda: False)
    assert ended is not None
    assert ended.startswith("abci_app was ended by SIGABRT, as it does on a damaged store: ")
    assert f"move {tmp_path / 'app' / 'state'} away" in ended


def test_a_node_that_ended_by_itself_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SimpleNamespace(wait=lambda _: "cometbft ended with code 1", stop=lambda: None)
    monkeypatch.setattr("learningchain.node.start_node", lambda *_: ended)
    with pytest.raises(NodeError, match="the node stopped: cometbft ended with code 1") as raised:
        run_node(NodeHome(tmp_path))
    assert raised.value.hint.endswith(str(tmp_path / "logs"))


def test_the_last_words_are_those_of_this_run(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("panic: of the run before\n")
    log = Log.begin(path)
    with path.open("a") as file:
        file.write("one\ntwo\n")
    assert log.read_last_words() == "one\ntwo"


def test_the_last_words_are_found_in_a_log_that_was_emptied_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("long ago\n" * 1_000)
    log = Log.begin(path)
    path.write_text("panic: full\n")
    assert log.read_last_words() == "panic: full"


def test_a_panic_is_shown_instead_of_the_stack_traces_after_it(tmp_path: Path) -> None:
    log = Log.begin(tmp_path / "a.log")
    log.path.write_text("starting\npanic: no blocks\n\n" + "goroutine 1 [running]\n" * 500)
    words = log.read_last_words()
    assert words.startswith("panic: no blocks")
    assert len(words) < 200


FAILURE = b'E[2026-12-01|16:41:29.275] CONSENSUS FAILURE!!!     module=consensus err="no space left on device"'


@pytest.mark.parametrize("line", [FAILURE, b'{"_msg":"CONSENSUS FAILURE!!!","err":"no space","level":"error"}'])
def test_that_no_blocks_are_made_any_more_is_seen_however_the_line_arrives(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(line + b"\n")  # of the run before
    lookout = Lookout(Log.begin(path), NO_BLOCKS)
    for piece in (b"I[2026] one\ntwo\n", line[:20], line[20:50]):  # a full disk took no more of it
        assert not lookout.is_seen()
        with path.open("ab") as file:
            file.write(piece)
    assert lookout.is_seen()
    path.unlink()
    assert lookout.is_seen()


def test_that_no_blocks_are_made_any_more_is_seen_in_a_log_that_was_emptied_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"long ago\n" * 1_000)
    lookout = Lookout(Log.begin(path), NO_BLOCKS)
    path.write_bytes(FAILURE)
    assert lookout.is_seen()


@pytest.mark.parametrize("line", [b'E[2026] Stopping peer err="E[2026] %s"', rb'{"_msg":"peer","err":"\"_msg\":\"%s"}'])
def test_what_a_peer_calls_itself_ends_no_node(tmp_path: Path, line: bytes) -> None:
    lookout = Lookout(Log.begin(tmp_path / "a.log"), NO_BLOCKS)
    (tmp_path / "a.log").write_bytes(line % b"CONSENSUS FAILURE!!!" + b"\n")
    assert not lookout.is_seen()


def test_a_huge_log_is_not_read_whole(tmp_path: Path) -> None:
    log = Log.begin(tmp_path / "a.log")
    with log.path.open("wb") as file:
        file.write(b"panic: of long ago\n")
        file.truncate(2**30)
        file.seek(2**30)
        file.write(b"\npanic: full\n" + b"goroutine 1 [running]\n" * 500)
    tracemalloc.start()
    words = log.read_last_words()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words.startswith("panic: full")
    assert peak < 64 * 2**20


def test_a_long_log_is_cut_and_a_missing_one_says_nothing(tmp_path: Path) -> None:
    log = Log.begin(tmp_path / "a.log")
    assert log.read_last_words() == ""
    log.path.write_text("x" * 10_000 + "\nthe end\n")
    assert log.read_last_words().endswith("the end")
    assert len(log.read_last_words()) == 2_000


def test_a_process_writes_to_its_log_and_is_killed_when_it_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learningchain.processes.STOP_SECONDS", 0.2)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = start_process([sys.executable, "-c", code], tmp_path / "logs" / "a.log")
    while "deaf" not in (tmp_path / "logs" / "a.log").read_text():
        assert process.poll() is None
    stop_process(process)
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="cannot start /nonexistent/program"):
        start_process(["/nonexistent/program"], tmp_path / "a.log")


def test_a_module_is_not_looked_for_in_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abci_app").mkdir()
    for name in ("abci_app/__init__.py", "structlog.py"):
        (tmp_path / name).write_text("raise SystemExit('from the present folder')")
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "a.log"
    assert start_process(get_module_command("abci_app", "--help"), log).wait(20) == 0
    assert log.read_text().startswith("usage: python -m abci_app")


def test_a_module_is_looked_for_where_this_process_imports_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("print('found')")
    monkeypatch.syspath_prepend(tmp_path)
    assert start_process(get_module_command("only_here"), tmp_path / "a.log").wait(20) == 0
    assert (tmp_path / "a.log").read_text() == "found\n"
