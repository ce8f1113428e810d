"""The demo as a newcomer runs it: real CometBFT, real Docker, real data. Everything it shows is checked here too."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from abci_app.protocol.limits import UCREDIT
from learningchain.devnet.plan import DevnetHome

pytestmark = [pytest.mark.e2e, pytest.mark.docker]
DEMO_SECONDS = 600
UP_SECONDS = 120


def run_lc(*arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "learningchain.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=dict(os.environ))


def leave_files_of_an_earlier_demo(folder: Path) -> None:
    (folder / "failed").mkdir()
    for name in ("summary.json", "race.svg", "model.npz", "runner-up.npz", "failed/old.log", "of-the-user"):
        (folder / name).write_text("old")


@pytest.mark.timeout(DEMO_SECONDS + 60)
def test_the_demo_plays_three_jobs_as_the_rules_promise(
    tmp_path: Path, cometbft: str, docker_host: str, digits_image: str
) -> None:
    leave_files_of_an_earlier_demo(tmp_path)
    done = run_lc("demo", "--out", str(tmp_path), seconds=DEMO_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "summary.json").read_text())
    race, lie, second = summary["jobs"]
    assert race["state"] == "PAID"
    assert race["winner"] in ("ada", "bob")
    assert race["contractor_measured_loss"] == race["announced_loss"]
    assert race["announcements"] > race["lead_changes"] >= 2
    assert (lie["state"], lie["winner"]) == ("REFUNDED", None)
    assert second["state"] == "PAID"
    assert second["winner"] in ("ada", "bob")
    assert second["contractor_measured_loss"] == second["announced_loss"]
    assert [entry["name"] for entry in summary["banned"]] == ["mallory", "mallory2"]
    supply = {name: int(value) for name, value in summary["supply"].items()}
    assert supply["burned"] == 10 * UCREDIT
    assert supply.pop("genesis") == sum(supply.values())
    ET.fromstring((tmp_path / "race.svg").read_text())
    assert (tmp_path / "of-the-user").read_text() == "old"
    assert not (tmp_path / "failed").exists()


@pytest.mark.timeout(UP_SECONDS)
def test_a_demo_in_which_something_does_not_happen_says_so_and_fails(
    tmp_path: Path, cometbft: str, docker_host: str, registry: str
) -> None:
    leave_files_of_an_earlier_demo(tmp_path)
    nothing = f"{registry}/nothing@sha256:{'0' * 64}"
    done = run_lc("demo", "--out", str(tmp_path), "--image", nothing, seconds=UP_SECONDS)
    assert done.returncode == 1
    assert "lc job try" in done.stderr
    assert "next: the logs are in" in done.stderr
    assert (tmp_path / "failed" / "nodes").is_dir()
    assert not (tmp_path / "failed" / "old.log").exists()
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.timeout(UP_SECONDS * 4)
def test_a_detached_devnet_pays_for_a_job_of_default_terms_and_goes_down_without_a_trace(
    tmp_path_factory: pytest.TempPathFactory, cometbft: str, docker_host: str, digits_image: str
) -> None:
    root = tmp_path_factory.mktemp("d", numbered=True) / "n"
    where = ["--home", str(root), "--output", "json"]
    up = run_lc("devnet", "up", "--validators", "2", "--workers", "1", "--detach", *where, seconds=UP_SECONDS)
    assert up.returncode == 0, up.stderr
    try:
        assert json.loads(up.stdout)["home"] == str(root)
        # What README and demo tell people to type next: node and key are found in the home.
        submitted = run_lc("job", "submit", digits_image, "--bounty", "20", "--for", "60s", "--yes-public", *where)
        assert submitted.returncode == 0, submitted.stderr
        again = run_lc("devnet", "up", "--validators", "2", "--workers", "1", *where)
        assert again.returncode == 1
        assert "runs already" in again.stderr
        watched = run_lc("job", "watch", "1", *where, seconds=2 * UP_SECONDS)
        states = [json.loads(line)["state"] for line in watched.stdout.splitlines()]
        status = json.loads(run_lc("devnet", "status", *where).stdout)
        assert (states[0], states[-1]) == ("OPEN", "PAID"), (states, status)
        assert (status["running"], status["workers"][0]["name"]) == (True, "ada")
    finally:
        down = run_lc("devnet", "down", *where, seconds=UP_SECONDS)
    assert down.returncode == 0
    assert json.loads(down.stdout)["ended"] is True
    assert not DevnetHome(root).pid_file.exists()
    assert find_processes(str(root)) == []


def find_processes(mark: str) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found
