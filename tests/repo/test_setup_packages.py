"""System packages: named with their use, asked for once, and clear words where they cannot be had."""

import io
from pathlib import Path

import pytest

from tools.setup import packages, services
from tools.setup.settings import SetupError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {"apt-get": "/usr/bin/apt-get", "dpkg": "/usr/bin/dpkg"}
    monkeypatch.setattr(packages, "find_program", found.get)
    monkeypatch.setattr(packages, "has_venv", lambda: False)
    monkeypatch.setattr(packages, "CERTIFICATES", tmp_path / "none")
    monkeypatch.setattr(packages, "APPARMOR", tmp_path / "enabled")
    packages.APPARMOR.write_text("Y\n")


@pytest.mark.usefixtures("nothing_is_installed")
def test_a_bare_debian_lacks_these_packages() -> None:
    missing = packages.list_missing(engine_runs=False, base_is_there=False)
    assert {"apparmor", "ca-certificates", "docker.io", "e2fsprogs", "mmdebstrap", "mount", "python3-venv"} <= set(
        missing
    )
    assert set(packages.list_missing(engine_runs=False, base_is_there=False, tests=True)) - set(missing) == {"curl"}


@pytest.mark.usefixtures("nothing_is_installed")
def test_python_and_cometbft_wait_for_what_their_downloads_need() -> None:
    assert packages.list_missing_for_python() == ["ca-certificates", "python3-venv"]


@pytest.mark.usefixtures("nothing_is_installed")
def test_a_running_engine_and_a_built_image_need_no_packages_for_them() -> None:
    missing = packages.list_missing(engine_runs=True, base_is_there=True)
    assert {"apparmor", "docker.io", "mmdebstrap", "debian-archive-keyring"}.isdisjoint(missing)


@pytest.mark.usefixtures("nothing_is_installed")
@pytest.mark.parametrize("enabled", ["N\n", None], ids=["switched off", "not built in"])
def test_a_kernel_without_apparmor_needs_no_tools_for_it(enabled: str | None) -> None:
    packages.APPARMOR.unlink() if enabled is None else packages.APPARMOR.write_text(enabled)
    assert "apparmor" not in packages.list_missing(engine_runs=False, base_is_there=False)


@pytest.mark.usefixtures("nothing_is_installed")
def test_every_package_that_can_be_missing_says_what_it_is_for() -> None:
    missing = packages.list_missing(engine_runs=False, base_is_there=False, tests=True)
    assert all(line.strip() for line in packages.explain(missing).splitlines())
    assert len(packages.explain(missing).splitlines()) == len(missing)


def ask_on_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> str:
    screen = Terminal()
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", screen)
    packages.ask(["docker.io"])
    return screen.getvalue()


def test_on_a_terminal_the_packages_are_listed_and_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ask_on_a_terminal(monkeypatch, "\n")
    assert "docker.io" in shown
    assert "Continue? [Y/n]" in shown


def test_no_means_that_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="nothing was installed") as caught:
        ask_on_a_terminal(monkeypatch, "n\n")
    assert "apt-get install --no-install-recommends docker.io" in caught.value.remedy


def test_the_end_of_the_input_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="nothing was installed"):
        ask_on_a_terminal(monkeypatch, "")


def test_yes_in_the_environment_goes_on_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("YES", "1")
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    monkeypatch.setattr("sys.stderr", screen)
    packages.ask(["docker.io"])
    assert "Continue?" not in screen.getvalue()


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    packages.ask(["docker.io"])


def test_another_processor_is_told_before_anything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SetupError, match=r"x86-64.*this machine's is aarch64") as caught:
        services.Plan(services.Wish()).prepare()
    assert "--no-containers" in caught.value.remedy


def test_what_needs_no_containers_runs_on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(packages, "list_missing_for_python", list)
    services.Plan(services.Wish(containers=False)).prepare()


def test_another_system_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_debian", lambda: False)
    with pytest.raises(SetupError, match=r"only Debian and Ubuntu[\s\S]*docker\.io"):
        packages.check_possible(["docker.io"])


@pytest.mark.usefixtures("nothing_is_installed")
def test_without_root_the_user_is_told_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SetupError, match=r"root is needed[\s\S]*docker\.io +the container engine") as caught:
        packages.check_possible(["docker.io"])
    assert "with sudo before it" in caught.value.remedy
    assert "apt-get install --no-install-recommends docker.io" in caught.value.remedy


@pytest.mark.usefixtures("nothing_is_installed")
def test_without_sudo_root_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not packages.is_root_in_reach()


def test_nothing_missing_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    packages.check_possible([])
