"""The pages say what the code does: paths, links, settings and figures."""

import inspect
import json
import re
import tomllib

import pytest

from abci_app.protocol.limits import MAX_LOSS, MAX_TX_BYTES, UCREDIT
from abci_app.protocol.params import get_params
from abci_app.server.query import MAX_PATH_BYTES
from abci_app.server.views import MAX_LOOKED_AT, MAX_PAGE
from learningchain import amounts
from learningchain.cli import job_announce
from learningchain.client import Client, client, file_lock, interface, rpc
from learningchain.devnet.commands import PLACE as DEVNET
from learningchain.node_home import COMETBFT_VERSION
from learningchain.registry import CONTRACT_LABEL, CONTRACT_VERSION
from learningchain.settings import DEFAULT_NODE
from learningchain.wallet import KdfCost
from learningchain.wallet.format import MAX_MEMORY_BYTES, MAX_OPERATIONS
from tests.repo.pages import PAGES, ROOT, list_inline_code, read, read_flat
from tests.support.market import Market
from tests.support.memory_client import MemoryTransport
from tools.setup import settings as setup
from worker import follower, jobbook, state
from worker.cli import PLACE as WORKER
from worker.models import connections, server
from worker.models.uploads import _LENGTHS, HEADER_PREFIX
from worker.sandbox import (
    SandboxSettings,
    evaluate,
    fetch,
    layers,
    orphans,
    output,
    registry,
    sandbox,
    score,
    spec,
    train,
)
from worker.sandbox.types import TrainingLimits, TrainingSpec
from worker.settings import Jobs, WorkerSettings

WORDS = {2: "two", 3: "three", 5: "five"}
CODE_ROOTS = (ROOT, ROOT / "abci_app", ROOT / "worker", ROOT / "learningchain", ROOT / "docs")
MADE = "build"
"""Folder of what the demo and the benchmarks write: it is there or not."""


def group(number: int) -> str:
    """Return a number as the pages write it."""
    return f"{number:,}".replace(",", " ")


def get_minutes(seconds: float) -> int:
    minutes, rest = divmod(seconds, 60)
    assert rest == 0
    return int(minutes)


def read_test_seconds() -> int:
    found = re.search(r"^TEST_SECONDS := (\d+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


KDF = KdfCost()
FIGURES = {
    "README.md": [
        f"CometBFT v{COMETBFT_VERSION} is taken from `PATH`",
        f"checking needs a bond of {get_params('public').min_bond // UCREDIT} credit (",
        f"settings and key in {WORKER.folder};",
        f"--detach lc job submit $LC_DIGITS_IMAGE --bounty 20 --for 60s --home {DEVNET.folder}",
    ],
    "CONTRIBUTING.md": [
        f"all checks and all tests; at most {get_minutes(read_test_seconds())} minutes",
    ],
    "docs/cli.md": [
        f"a call that is not answered within {rpc.TIMEOUT_S:.0f} s is given up",
        f"slower than {rpc.SLOWEST_BYTES_PER_S >> 10} KiB/s after that",
        f"or has more than {rpc.MAX_ANSWER_BYTES >> 20} MiB",
        f"for `--timeout` seconds in all (60, at least {interface.SHORTEST_LOOK_S:.0f})",
        f"after {file_lock.NOTICE_S:.0f} s it is named",
        f"| `LC_NODE` | `{DEFAULT_NODE}` |",
        f"`{WORKER.folder}` and `{DEVNET.folder}` without `--home`",
        f"if it is v{COMETBFT_VERSION})",
        f"one page looks at {interface.MOST_PAGES * MAX_LOOKED_AT:,} numbers at most",
        f"evaluates a model trained elsewhere {WORDS[job_announce.MIN_EVALUATIONS]} times in the sandbox",
        f"({KDF.operations} passes over {KDF.memory_bytes >> 20} MiB)",
        f"bounded when read ({MAX_OPERATIONS} passes, {MAX_MEMORY_BYTES >> 30} GiB)",
    ],
    "docs/clients.md": [
        f"gives up what is not answered within {rpc.TIMEOUT_S:.0f} s",
        f"at most {group(MAX_TX_BYTES)} bytes",
    ],
    "docs/job-image.md": [
        f"Label it `{CONTRACT_LABEL}={CONTRACT_VERSION}`",
        f"in `train` twice the class's model and {train.OUT_SPARE_BYTES >> 20} MiB",
        f"Write the first one within {train.FIRST_MODEL_SECONDS:.0f} seconds of each start",
        f"with status {train.KILLED_EXITS[0]} or {train.KILLED_EXITS[1]}",
        f"and goes on, {WORDS[train.MAX_KILLS]} times at most",
        f"On SIGTERM there are {orphans.GRACE_SECONDS:.0f} seconds to save",
        f"of at most {amounts.MAX_TEXT} characters, within ±{MAX_LOSS / 10**18:.1f}e9",
        f"The file has at most {score.SCORE_BYTES >> 10} KiB and is nested at most {score.NESTING} deep",
        f"processes ({group(spec.PIDS_LIMIT)}) and open files ({group(spec.OPEN_FILES)})",
        f"prints more than {output.EVALUATION_OUTPUT >> 20} MiB is stopped",
        f"longer than {WORDS[get_minutes(registry.TOTAL_SECONDS)]} minutes each time it is asked for",
        f"is tried again after {get_minutes(sandbox.SLOW_SAMPLE_SECONDS)} minutes",
        f"an image has at most {group(layers.MAX_ENTRIES)} files and folders",
        f"each worker's `max_image`, {Jobs().max_image >> 10} GiB if its owner chose no other",
        f"gives less than {fetch.LEAST_BYTES_PER_SECOND >> 10} KiB/s for a minute is given up",
        f"is asked for {WORDS[registry.ATTEMPTS]} times at most",
        f"are there and counted after {get_minutes(SandboxSettings(ROOT).pull_seconds)} minutes begins anew",
    ],
    "docs/architecture.md": [
        f"{jobbook.PAGES} pages of {client.PAGE} jobs, going on",
        f"and {jobbook.STAKES} jobs at stake",
        f"{group(jobbook.MAX_OPEN)} open jobs are remembered besides",
        f"seen after n / {group(jobbook.PAGES * client.PAGE)} looks",
        f"Rounds are asked for {follower.ROUNDS} at a time",
        f"contractors {follower.STANDINGS} at a time",
        f"{connections.MAX_CONNECTIONS} connections, {connections.MAX_OF_ORIGIN} of one address or /64 of IPv6",
        f"stays while it takes in {connections.SLOWEST >> 10} KiB a second",
        f"tried again {WORDS[state.RETRY_BLOCKS]} blocks later",
        f"Of checks {state.MAX_CHECKS} are under way at most",
    ],
    "docs/protocol.md": [
        f"A path has at most {MAX_PATH_BYTES} bytes",
        f"`next` | up to {MAX_PAGE} jobs;",
        f"`GET {server.MODEL_PATH.replace('{digest}', '<sha256 in hex>')}`",
        ", ".join([f"Headers: `{HEADER_PREFIX}job` (decimal)", *(f"`{HEADER_PREFIX}{name}`" for name in _LENGTHS)]),
        f"takes in a model at less than {connections.SLOWEST >> 10} KiB a second",
    ],
}


@pytest.mark.parametrize(("page", "phrase"), [(page, phrase) for page in FIGURES for phrase in FIGURES[page]])
def test_a_figure_is_that_of_the_code(page: str, phrase: str) -> None:
    assert phrase in read_flat(page)


def test_figures_that_have_to_be_equal_are() -> None:
    grace = inspect.signature(train.ContainerTraining.stop).parameters["grace_seconds"].default
    assert grace == orphans.GRACE_SECONDS
    assert fetch.PACE_SECONDS == 60
    assert f"v{COMETBFT_VERSION}" == setup.COMETBFT
    assert set(re.findall(r"v0\.\d+\.\d+", read("README.md"))) == {setup.COMETBFT}


def test_the_oldest_python_is_that_of_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["requires-python"]
    assert wanted == f">={'.'.join(map(str, setup.MIN_PYTHON))}"
    assert f"with Python {wanted.removeprefix('>=')} or newer" in read_flat("README.md")


def test_the_environment_of_an_evaluation_is_the_one_that_runs() -> None:
    page = read("docs/job-image.md")
    block = re.search(r"one environment:\n\n(.*?)\n\n", page, re.DOTALL)
    assert block is not None
    *fixed, threads = block[1].splitlines()
    run = spec.RunSpec(spec.Action.SCORE, "", 1, (0, 1, 2), 0, (), "runc", {})
    documented = dict(word.split("=") for line in fixed for word in line.split())
    documented |= dict.fromkeys(re.findall(r"\w+_NUM_THREADS", threads), "3")
    assert documented == spec.get_environment(run)


def test_the_job_json_of_a_training_and_of_an_evaluation_are_as_shown() -> None:
    page = read("docs/job-image.md")
    shown = re.search(r"stands in `/lc/in/job\.json`.*?\n\n(    \{.*?\n)\n", page, re.DOTALL)
    assert shown is not None
    job = json.loads(shown[1])
    limits = TrainingLimits(image_mib=1, **job["limits"])
    training = TrainingSpec("a" * 16, int(job["job"]), "", limits, job["deadline_ms"])
    assert json.loads(train.get_job_json(training)) == job
    assert f"in `predict` and `score`: `{evaluate.JOB_JSON.decode()}`" in page


def test_what_a_page_calls_a_setting_is_in_the_settings_file() -> None:
    values = WorkerSettings().model_dump()
    known = {*values, *(name for section in values.values() if isinstance(section, dict) for name in section)}
    named = {code for code in list_inline_code("docs/job-image.md") if re.fullmatch(r"[a-z]+(_[a-z]+)+|mirrors", code)}
    assert {"max_image", "mirrors"} <= named <= known


@pytest.mark.parametrize("page", PAGES)
def test_a_path_on_a_page_exists(page: str) -> None:
    for code in list_inline_code(page):
        is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|\w+/", code) is not None
        top = code.split("/")[0]
        tops = [root for root in CODE_ROOTS if (root / top).is_dir()] if is_path and top != MADE else []
        if tops and not code.startswith("learningchain/v1/"):  # how hashed and signed bytes begin
            assert any((root / code).exists() for root in tops), code


@pytest.mark.parametrize("page", PAGES)
def test_a_module_on_a_page_exists(page: str) -> None:
    roots = ("abci_app", "learningchain", "worker", "tools", "tests")
    modules = {path.name for root in roots for path in (ROOT / root).rglob("*.py")}
    assert [code for code in list_inline_code(page) if re.fullmatch(r"\w+\.py", code) and code not in modules] == []


def list_anchors(text: str) -> set[str]:
    titles = (line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in list_anchors(path.read_text("utf-8")), target


def test_the_parts_of_the_vectors_are_those_of_the_file() -> None:
    parts = set(json.loads(read("docs/vectors.json"))) - {"about"}
    rows = [line.split("|")[1:3] for line in read("docs/clients.md").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", " ".join(row))}
    assert named - {"app_hash", "accepted", "refused"} == parts  # these are inside of parts


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    market = Market()
    transport = MemoryTransport(market)
    job_id = market.submit()
    market.announce("worker0", job_id, 5)
    asked: list[str] = []

    def connect(node: str) -> Client:
        asked.append(node)
        return Client(transport)

    monkeypatch.setattr("learningchain.client.connect", connect)
    block = re.search(r"^From Python:\n\n((?:    .*\n|\n)+)", read("README.md"), re.MULTILINE)
    assert block is not None
    lines = [line.removeprefix("    ") for line in block[1].splitlines()]
    exec(compile("\n".join(lines), "README.md", "exec"), {})
    assert asked == [DEFAULT_NODE]
    assert capsys.readouterr().out == f"{job_id} {market.job(job_id).bounty} 1\n"
