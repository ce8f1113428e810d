"""`lc job` for a contractor: publishing, looking, watching."""

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.limits import UCREDIT
from learningchain.cli import exit_codes
from learningchain.cli.session import Session
from learningchain.client.transport import QueryAnswer
from learningchain.wallet import Keystore, SecretKey
from tests.cli.terminal import DIGEST, IMAGE, QUICK, Terminal, make_image, no_room_for_the_next_step
from tests.support.market import SALT, measured
from tests.support.wallets import Wallet

SUBMIT = ("job", "submit", f"{IMAGE}:1", "--bounty", "20", "--for", "30s", "--title", "digits")


def submit(carl: Terminal, *words: str) -> int:
    done = carl.json(*SUBMIT, "--yes-public", *words)
    assert done.code == 0, done.err
    return int(done.data["job_id"])


def test_a_job_is_published_with_its_digest_and_the_cost_is_shown(carl: Terminal) -> None:
    before = carl.market.balance("carl")
    done = carl.json(*SUBMIT, "--yes-public", "--runner-ups", "1")
    job = carl.market.job(int(done.data["job_id"]))
    assert job.terms.image == f"{IMAGE}@{DIGEST}" == done.data["image"]
    assert (job.bounty, job.terms.runner_ups, job.terms.deposit, job.terms.free_places) == (
        20 * UCREDIT,
        1,
        2 * UCREDIT,
        1,
    )
    assert before - carl.market.balance("carl") == int(done.data["locked"])
    assert done.data["expiry_ms"] == str(job.terms.expiry_ms)
    for shown in (
        "public, for ever",
        "5 bonded account(s)",
        "test labels",
        "bounty 20 + verify fees 0.2 + network fee 0.4",
    ):
        assert shown in done.err


def test_all_terms_can_be_chosen(carl: Terminal) -> None:
    job_id = submit(
        carl, "--class", "1", "--verify-fee", "0.5", "--deposit", "3", "--free-places", "0", "--reveal-window", "20s",
        "--tolerance", "0.00001", "--ban-margin", "0.5", "--min-improvement", "0.001", "--loss-ceiling", "1.5",
        "--about", "who and why", "--metric", "rmse", "--cpus", "1.5", "--memory", "2048", "--disk", "10",
        "--gpus", "1", "--gpu-memory", "8192", "--accelerator", "cuda>=12.4", "--train-time", "2h",
    )  # fmt: skip
    terms = carl.market.job(job_id).terms
    assert (terms.job_class, terms.verify_fee, terms.deposit, terms.free_places) == (1, 500_000, 3 * UCREDIT, 0)
    assert (terms.tolerance, terms.ban_margin, terms.min_improvement) == (10_000, 500_000_000, 1_000_000)
    assert (terms.loss_ceiling, terms.reveal_window_ms) == (1_500_000_000, 20_000)
    assert (terms.about, terms.metric, terms.title) == ("who and why", "rmse", "digits")
    needs = terms.needs
    assert (needs.milli_cpus, needs.memory_mib, needs.disk_mib, needs.gpus) == (1500, 2048, 10, 1)
    assert (needs.gpu_memory_mib, needs.accelerator, needs.seconds) == (8192, "cuda>=12.4", 7200)


def test_without_consent_nothing_is_published(carl: Terminal) -> None:
    for general in ((), ("--yes",)):
        done = carl.json(*SUBMIT, *general)
        assert done.code == exit_codes.FAILED
        assert "--yes-public" in done.error["hint"]
    assert carl.transport.broadcasts == []


@pytest.mark.parametrize("asked", ["confirm", "ask_password"])
def test_thinking_about_the_answer_takes_nothing_off_the_job(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    Keystore(carl.home / "keys", QUICK).add("locked", SecretKey(Wallet("carl").seed), "password")
    answered_ms: list[int] = []

    def think(*_: object) -> str:
        carl.market.skip(60_000)
        answered_ms.append(carl.market.time_ms)
        return "password"

    monkeypatch.setattr(Session, asked, think)
    if asked == "confirm":
        done = carl.json(*SUBMIT, "--from", "carl")
    else:
        done = carl.json(*SUBMIT, "--from", "locked", "--yes-public")
    assert done.code == 0, done.err
    assert "open for 30s from its publication" in done.err
    assert carl.market.job(1).terms.expiry_ms == answered_ms[0] + 30_000 == int(done.data["expiry_ms"])


def test_runner_ups_are_recommended_where_there_are_none(carl: Terminal) -> None:
    assert "Recommended" in carl.run(*SUBMIT).err
    assert "Recommended" not in carl.run(*SUBMIT, "--runner-ups", "1").err


def test_the_same_job_after_a_timeout_is_published_once(carl: Terminal) -> None:
    carl.transport.auto_ms = None
    assert carl.run(*SUBMIT, "--yes-public", "--timeout", "0.1").code == exit_codes.TIMEOUT
    carl.market.block()  # the clock of the chain goes on, so that a new submission would have another expiry
    carl.transport.make_block()
    carl.transport.auto_ms = 1_000
    again = carl.json(*SUBMIT, "--yes-public")
    assert (again.code, again.data["job_id"]) == (0, "1")
    assert again.data["expiry_ms"] == str(carl.market.job(1).terms.expiry_ms)
    assert len(carl.json("job", "list").data["jobs"]) == 1


def test_a_job_that_took_the_balance_is_told_by_the_same_command(carl: Terminal) -> None:
    words = (*SUBMIT, "--yes-public", "--bounty", "600")
    carl.transport.auto_ms = None
    assert carl.run(*words, "--timeout", "0.1").code == exit_codes.TIMEOUT
    carl.transport.auto_ms = 1_000
    carl.transport.make_block()
    again = carl.json(*words)
    assert (again.code, again.data["job_id"]) == (0, "1")
    assert carl.json(*words).code == exit_codes.REFUSED


def test_a_job_whose_next_step_cannot_be_told_is_published_once(
    carl: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_room_for_the_next_step(monkeypatch):
        first = carl.json(*SUBMIT, "--yes-public")
    assert first.code == exit_codes.FAILED
    assert carl.json(*SUBMIT, "--yes-public").data["job_id"] == first.data["job_id"]
    assert len(set(carl.transport.broadcasts)) == 1


def test_a_smaller_image_for_evaluation_is_named_too(carl: Terminal) -> None:
    small = make_image(reference=f"{IMAGE}-eval@{DIGEST}")
    carl.images[f"{IMAGE}-eval:1"] = small
    carl.images[f"{IMAGE}:1"] = make_image(size=1 << 40)
    job_id = submit(carl, "--eval-image", f"{IMAGE}-eval:1")
    assert carl.market.job(job_id).terms.eval_image == small.reference


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"labels": {}}, "org.learningchain.contract"),
        ({"volumes": ("/data",)}, "VOLUME"),
        ({"size": 1 << 40}, "--eval-image"),
    ],
)
def test_an_image_that_no_checker_could_run_is_refused_before_paying(
    carl: Terminal, changed: dict[str, Any], reason: str
) -> None:
    carl.images[f"{IMAGE}:1"] = make_image(**changed)
    done = carl.json(*SUBMIT, "--yes-public")
    assert done.code == exit_codes.FAILED
    assert reason in done.error["message"] + done.error["hint"]
    assert carl.transport.broadcasts == []


def test_what_the_chain_would_refuse_is_said_early(carl: Terminal) -> None:
    poor = carl.json(*SUBMIT[:3], "--bounty", "5000", "--for", "30s", "--yes-public")
    assert poor.code == exit_codes.REFUSED
    assert "balance" in poor.error["message"]
    unknown = carl.json(*SUBMIT, "--class", "7", "--yes-public")
    assert unknown.code == exit_codes.USAGE
    for words, bound in (
        (("--bounty", "5", "--for", "1s"), "more than 5s and at most"),
        (("--bounty", "5", "--for", "999d"), "more than 5s and at most"),
        (("--bounty", "0.01", "--for", "30s"), "1 credits"),
        (("--bounty", "5", "--for", "30s", "--runner-ups", "99"), "at most 4 runner-ups"),
    ):
        done = carl.json("job", "submit", f"{IMAGE}:1", *words, "--yes-public")
        assert (done.code, bound in done.error["hint"]) == (exit_codes.USAGE, True), (words, done.err)
    assert carl.transport.broadcasts == []


def test_without_checkers_of_the_class_nothing_is_published(carl: Terminal) -> None:
    for name in [name for name in carl.market.wallets if name.startswith("checker")]:
        carl.market.must(name, tx_pb2.SetChecker())
    carl.market.skip(12_000)
    done = carl.json(*SUBMIT, "--yes-public")
    assert done.code == exit_codes.REFUSED
    assert "lc query checkers" in done.error["hint"]


def test_a_signed_job_can_be_shown_without_consent(carl: Terminal) -> None:
    done = carl.json(*SUBMIT, "--generate-only")
    assert done.code == 0
    assert "curl" in done.data
    assert carl.transport.broadcasts == []


def test_jobs_are_listed_newest_first_and_filtered(carl: Terminal) -> None:
    first, second = submit(carl), submit(carl, "--about", "another")
    assert [job["id"] for job in carl.json("job", "list").data["jobs"]] == [str(second), str(first)]
    assert carl.run("job", "cancel", str(first), "--yes").code == 0
    assert [job["id"] for job in carl.json("job", "list", "--state", "open,reveal").data["jobs"]] == [str(second)]
    assert [job["id"] for job in carl.json("job", "list", "--before", str(second)).data["jobs"]] == [str(first)]
    assert len(carl.json("job", "list", "--mine").data["jobs"]) == 2
    other = encode_address(carl.market.address("worker0"))
    assert carl.json("job", "list", "--contractor", other).data["jobs"] == []
    assert "CANCELLED" in carl.run("job", "list").out
    assert carl.run("job", "list", "--mine", "--contractor", other).code == exit_codes.USAGE


def test_a_list_of_jobs_tells_how_to_see_those_before(carl: Terminal) -> None:
    first, second = submit(carl), submit(carl, "--about", "another")
    newest = carl.json("job", "list", "--limit", "1")
    assert ([job["id"] for job in newest.data["jobs"]], newest.data["next_before"]) == ([str(second)], str(second))
    assert f"next: the same with --before {second}" in newest.err
    rest = carl.json("job", "list", "--limit", "1", "--before", newest.data["next_before"])
    assert ([job["id"] for job in rest.data["jobs"]], rest.data["next_before"]) == ([str(first)], None)
    assert rest.err == ""


def test_a_job_is_cancelled_with_consent_and_its_bounty_is_raised(carl: Terminal) -> None:
    job_id = submit(carl)
    assert carl.run("job", "cancel", str(job_id)).code == exit_codes.FAILED
    assert carl.market.job(job_id).state == pb.JOB_STATE_OPEN
    assert carl.run("job", "raise", str(job_id), "1.5").code == 0
    assert carl.market.job(job_id).bounty == 21_500_000
    assert carl.run("job", "cancel", str(job_id), "--yes").code == 0
    assert carl.market.job(job_id).state == pb.JOB_STATE_CANCELLED


def decide(carl: Terminal, endpoint: str = "", model: bytes = b"model", found: int = 70_000_000) -> int:
    """Bring a job with a revealed model to its end; its candidate serves it at `endpoint`."""
    market = carl.market
    job_id = submit(carl)
    if endpoint:
        market.must("worker0", tx_pb2.SetProfile(endpoint=endpoint))
    digest = hashlib.sha256(model).digest()
    market.must("worker0", market.announcement("worker0", job_id, 70_000_000, digest=digest))
    market.expire(job_id)
    revelation = market.revelation("worker0", job_id, model_digest=digest, size=len(model), locations=[])
    assert revelation.salt == SALT
    market.must("worker0", revelation)
    market.decide_all(job_id, measured(found))
    return job_id


def test_a_job_is_shown_with_losses_people_can_read(carl: Terminal) -> None:
    job_id = decide(carl)
    data = carl.json("job", "show", str(job_id)).data
    assert (data["state"], data["winning_loss"], data["bounty_credits"]) == ("PAID", "0.07", "20")
    assert data["winner"] == encode_address(carl.market.address("worker0"))
    assert data["rounds"][0]["votes"]
    assert " 0.07 " in carl.run("job", "list").out
    shown = carl.run("job", "show", str(job_id), "--history").out
    assert "ACCEPTED" in shown
    assert "announcements" in shown


def test_why_tells_an_account_its_part(carl: Terminal) -> None:
    job_id = decide(carl)
    winner = encode_address(carl.market.address("worker0"))
    why = carl.json("job", "show", str(job_id), "--why", winner).data["why"]
    assert any("It was paid 20 credits" in line for line in why)
    assert "contractor" in carl.run("job", "show", str(job_id), "--why", "carl").out


def test_a_job_is_shown_with_its_proof_checked(carl: Terminal) -> None:
    job_id = submit(carl)
    carl.market.block()
    carl.market.block()
    assert "proof checked" in carl.run("job", "show", str(job_id), "--prove").err


def test_what_is_shown_with_proof_is_what_was_proved(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = carl.market.submit()
    carl.market.announce("worker1", job_id, 50_000_000)
    carl.market.expire(job_id)
    carl.market.block()
    carl.market.block()
    query = carl.transport.query

    async def lie(path: str, *words: Any, **options: Any) -> QueryAnswer:
        answer = await query(path, *words, **options)
        if path.startswith("/job/"):
            return replace(answer, value=answer.value.replace(b"50000000", b"98765432"))
        return answer

    monkeypatch.setattr(carl.transport, "query", lie)
    assert "98765432" in carl.json("job", "show", str(job_id)).out
    done = carl.json("job", "show", str(job_id), "--prove")
    assert done.code == 0, done.err
    assert "98765432" not in done.out
    assert done.data["job"]["candidates"][0]["loss"] == "50000000"
    assert done.data["rounds"][0]["candidate"]["loss"] == "50000000"


def test_a_node_cannot_hide_a_round_from_a_proof(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = decide(carl)
    carl.market.block()
    query = carl.transport.query

    async def hide(path: str, *words: Any, **options: Any) -> QueryAnswer:
        answer = await query(path, *words, **options)
        if path.startswith("/job/"):
            return replace(answer, value=json.dumps({**json.loads(answer.value), "rounds": []}).encode())
        return answer

    monkeypatch.setattr(carl.transport, "query", hide)
    assert carl.json("job", "show", str(job_id)).data["rounds"] == []
    assert len(carl.json("job", "show", str(job_id), "--prove").data["rounds"]) == 1


def test_a_history_that_does_not_reach_back_says_so(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = decide(carl)
    assert "older announcements" not in carl.run("job", "show", str(job_id), "--history").err
    monkeypatch.setattr("learningchain.history.MAX_BLOCKS", 1)
    done = carl.json("job", "show", str(job_id), "--history")
    assert (done.data["announcements"], "older announcements are not shown" in done.err) == ([], True)


def test_watching_gives_a_line_per_change_until_it_is_settled(carl: Terminal) -> None:
    job_id = submit(carl)
    done = carl.json("job", "watch", str(job_id))
    states = [json.loads(line)["state"] for line in done.out.splitlines()]
    assert states == ["OPEN", "EXPIRED"]
    plain = carl.run("job", "watch", str(job_id))
    assert plain.out == f"job {job_id} EXPIRED, 0 announcements\n"


def test_watching_ends_after_its_time(carl: Terminal) -> None:
    job_id = submit(carl)
    carl.transport.auto_ms = None
    done = carl.run("job", "watch", str(job_id), "--timeout", "1")
    assert done.code == 0
    assert len(done.out.splitlines()) == 1


def test_watching_ends_after_its_time_though_the_node_is_down(carl: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, now = submit(carl), [0.0]
    carl.transport.auto_ms = None

    def sleep(seconds: float) -> None:
        assert now[0] < 60, "it goes on"
        now[0] += seconds

    async def wait(timeout_s: float) -> None:
        carl.transport.failing = True

    monkeypatch.setattr("learningchain.cli.job_watch.time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(carl.transport, "wait_for_news", wait)
    done = carl.run("job", "watch", str(job_id), "--timeout", "30")
    assert done.code == exit_codes.UNREACHABLE
    assert (now[0], len(done.out.splitlines())) == (30.0, 1)


def test_a_number_above_all_jobs_is_a_job_that_does_not_exist(carl: Terminal) -> None:
    submit(carl)
    for question in ("job show", "query committee"):
        done = carl.json(*question.split(), str(2**64 - 1))
        assert (done.code, done.error["message"]) == (exit_codes.NOT_FOUND, f"there is no job {2**64 - 1}")
    assert len(carl.json("job", "list", "--before", str(2**64 - 1)).data["jobs"]) == 1
    assert carl.json("job", "list", "--before", str(2**64)).code == exit_codes.USAGE


@pytest.mark.parametrize("path", ["/job/one", "/jobs?limit=0", "/account/lc1x", "/nonsense"])
def test_a_wrong_view_says_to_correct_the_path(carl: Terminal, path: str) -> None:
    done = carl.json("query", "view", path)
    assert done.code == exit_codes.FAILED
    assert "correct the path" in done.error["hint"]
