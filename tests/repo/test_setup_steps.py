"""The steps of the set-up run side by side, in order of need, and end together."""

import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.setup import steps
from tools.setup.board import Board
from tools.setup.processes import get_start_time, write_record
from tools.setup.settings import SetupError
from tools.setup.steps import Run, Step, Work


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep logs and records of these tests apart from those of a running set-up."""
    for name in ("LOGS", "COMMANDS", "TEMPORARY"):
        monkeypatch.setattr(steps, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()


class Screen(io.StringIO):
    """Text output that claims to be a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until a text was shown so many times."""
        while self.getvalue().count(text) < times:
            time.sleep(0.01)


def run(*list_of_steps: Step) -> str:
    """Run steps and return what was shown without a terminal."""
    return run_on(Screen(terminal=False), *list_of_steps)


def run_on(screen: Screen, *list_of_steps: Step) -> str:
    Run(Board(screen)).execute(list_of_steps)
    return screen.getvalue()


def meet(barrier: threading.Barrier) -> Callable[[Work], str]:
    def action(work: Work) -> str:
        barrier.wait(timeout=10)
        return "met"

    return action


def test_independent_steps_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    shown = run(*(Step(name, meet(barrier)) for name in "abc"))
    assert shown.count("met") == 3


def test_a_step_waits_for_what_it_needs() -> None:
    order: list[str] = []

    def note(work: Work) -> str:
        time.sleep(0.05)
        order.append(work.name)
        return ""

    run(Step("last", note, ("middle",)), Step("middle", note, ("first",)), Step("first", note))
    assert order == ["first", "middle", "last"]


def fail(work: Work) -> str:
    raise SetupError("no disk", "buy one")


def test_a_failure_names_the_step_and_the_remedy() -> None:
    with pytest.raises(SetupError, match="broken: no disk") as caught:
        run(Step("broken", fail))
    assert caught.value.remedy == "buy one"


def test_a_failure_ends_the_commands_of_other_steps_and_starts_no_new_ones() -> None:
    begun = threading.Event()
    started: list[str] = []

    def sleep(work: Work) -> str:
        begun.set()
        work.run(["sleep", "600"])  # longer than any test may take
        return ""

    def fail_late(work: Work) -> str:
        begun.wait(timeout=10)
        return fail(work)

    def never(work: Work) -> str:
        started.append(work.name)
        return ""

    with pytest.raises(SetupError):
        run(Step("sleeper", sleep), Step("broken", fail_late), Step("next", never, ("sleeper",)))
    assert started == []


def test_a_failed_command_shows_its_last_words_and_its_log(tmp_path: Path) -> None:
    def action(work: Work) -> str:
        work.run([sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"], remedy="try this")
        return ""

    with pytest.raises(SetupError, match=r"status 3[\s\S]*what went wrong[\s\S]*talker\.log") as caught:
        run(Step("talker", action))
    assert caught.value.remedy == "try this"
    assert "what went wrong" in (tmp_path / "logs" / "talker.log").read_text()


def test_a_program_that_is_not_there_is_named() -> None:
    def action(work: Work) -> str:
        work.run(["env-of-no-machine", "x"], remedy="install it")
        return ""

    with pytest.raises(SetupError, match="env-of-no-machine cannot be started") as caught:
        run(Step("starter", action))
    assert caught.value.remedy == "install it"


def test_the_program_behind_sudo_and_env_is_named() -> None:
    assert steps.get_program(["sudo", "env", "A=b", "apt-get", "update"]) == "apt-get"
    assert steps.get_program(["mmdebstrap", "--x=y"]) == "mmdebstrap"


def test_a_package_manager_is_waited_for_when_another_step_fails(tmp_path: Path) -> None:
    begun, failed, proof = (tmp_path / name for name in ("begun", "failed", "proof"))
    script = f"touch {begun}; until test -e {failed}; do sleep 0.05; done; sleep 0.5; touch {proof}"

    def install(work: Work) -> str:
        work.run(["sh", "-c", script], killable=False)
        return ""

    def fail_late(work: Work) -> str:
        while not begun.exists():
            time.sleep(0.01)
        failed.touch()
        return fail(work)

    with pytest.raises(SetupError):
        run(Step("packages", install), Step("broken", fail_late))
    assert proof.exists()


def test_an_interrupt_ends_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def sleep(work: Work) -> str:
        work.run(["sh", "-c", "echo $$; sleep 60"])
        return ""

    def interrupt(work: Work) -> str:
        deadline = time.monotonic() + 10
        while not (texts := [row.text for row in board.rows.values() if row.text.isdigit()]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pids.append(int(texts[0]))
        signal.raise_signal(signal.SIGINT)
        return ""

    board = Board(Screen(terminal=False))
    with pytest.raises(KeyboardInterrupt):
        Run(board).execute([Step("sleeper", sleep), Step("interrupter", interrupt)])
    assert get_start_time(pids[0]) is None


def test_an_interrupt_while_steps_begin_leaves_none_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread.start
    begun: list[threading.Thread] = []

    def begin_or_interrupt(thread: threading.Thread) -> None:
        if begun:
            raise KeyboardInterrupt
        begun.append(thread)
        begin(thread)

    def wait(work: Work) -> str:
        while True:
            work.say("at work")
            time.sleep(0.02)

    monkeypatch.setattr(threading.Thread, "start", begin_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        Run(Board(Screen(terminal=False))).execute([Step("first", wait), Step("second", wait)])
    assert not begun[0].is_alive()


def test_commands_that_a_killed_set_up_left_are_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as orphan:
        write_record(tmp_path / "commands" / "base-image.json", orphan.pid)
        steps.end_stale_commands()
        assert get_start_time(orphan.pid) is None
    assert list((tmp_path / "commands").iterdir()) == []


def test_the_end_of_a_package_installation_left_by_a_killed_set_up_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "0.5"], start_new_session=True) as orphan:
        write_record(tmp_path / "commands" / "system-packages-wait.json", orphan.pid)
        steps.end_stale_commands()
        assert get_start_time(orphan.pid) is None


def test_without_a_terminal_a_long_step_speaks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.setup.board.PLAIN_SECONDS", 0.1)

    screen = Screen(terminal=False)

    def action(work: Work) -> str:
        work.say("half way")
        screen.wait_for("half way", times=2)
        return "there"

    shown = run_on(screen, Step("walker", action))
    assert "✓ walker" in shown
    assert "\x1b" not in shown


def test_on_a_terminal_the_list_is_redrawn_in_place() -> None:
    screen = Screen(terminal=True)

    def walk(work: Work) -> str:
        screen.wait_for("walker")
        return "there"

    shown = run_on(screen, Step("walker", walk))
    assert "\x1b[1A" in shown
    assert shown.splitlines()[-1].endswith("there")
