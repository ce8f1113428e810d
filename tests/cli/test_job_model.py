"""`lc job model`: the model that was paid for."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.bech32 import encode_address
from learningchain.cli import exit_codes
from tests.cli.terminal import DIGEST, IMAGE, Terminal, make_image
from tests.cli.test_job import decide, submit
from tests.client.test_models import serve


def test_a_model_that_is_not_revealed_says_to_wait(carl: Terminal) -> None:
    done = carl.json("job", "model", str(submit(carl)))
    assert done.code == exit_codes.NOT_FOUND
    assert "lc job watch" in done.error["hint"]


def test_a_model_that_will_never_be_revealed_is_not_waited_for(carl: Terminal) -> None:
    job_id = submit(carl)
    carl.market.expire(job_id)
    done = carl.json("job", "model", str(job_id))
    assert done.code == exit_codes.NOT_FOUND
    assert "lc job watch" not in done.error["hint"]
    assert "lc job show" in done.error["hint"]


def test_the_folder_of_a_model_is_looked_at_first(carl: Terminal, tmp_path: Path) -> None:
    with serve({}) as node:
        job_id = decide(carl, node)
        done = carl.json("job", "model", str(job_id), "--file", str(tmp_path / "nosuch" / "m"))
    assert done.code == exit_codes.NOT_FOUND
    assert str(tmp_path / "nosuch") in done.error["message"]
    assert "--file" in done.error["hint"]


def test_a_model_is_fetched_checked_and_saved_under_its_jobs_name(carl: Terminal, tmp_path: Path) -> None:
    model = b"weights" * 1000
    path = f"/v1/models/{hashlib.sha256(model).hexdigest()}"
    with serve({path: model}) as node:
        job_id = decide(carl, node, model)
        done = carl.json("job", "model", str(job_id), "--file", str(tmp_path))
    assert done.data["announced_loss"] == "0.07"
    assert done.data["digest"] == hashlib.sha256(model).hexdigest()
    assert done.data["source"] == node + path
    assert (tmp_path / f"job-{job_id}-model.npz").read_bytes() == model
    assert done.data["winner"] == done.data["candidate"] == encode_address(carl.market.address("worker0"))
    again = carl.json("job", "model", str(job_id), "--file", str(tmp_path))
    assert again.data["source"] == "already here"
    (tmp_path / f"job-{job_id}-model.npz").write_bytes(b"mine")
    assert "exists already" in carl.json("job", "model", str(job_id), "--file", str(tmp_path)).error["message"]
    assert (tmp_path / f"job-{job_id}-model.npz").read_bytes() == b"mine"


def test_a_label_cannot_name_a_file_elsewhere(carl: Terminal, tmp_path: Path) -> None:
    carl.images[f"{IMAGE}:1"] = make_image(
        labels={"org.learningchain.contract": "1", "org.learningchain.model.name": "../../evil"}
    )
    model = b"\x80\x04pickle"
    with serve({f"/v1/models/{hashlib.sha256(model).hexdigest()}": model}) as node:
        job_id = decide(carl, node, model)
        done = carl.json("job", "model", str(job_id), "--file", str(tmp_path))
    assert done.data["path"] == str(tmp_path / f"job-{job_id}.model")
    assert "pickle" in done.err


def test_the_registry_of_a_strangers_image_is_trusted_only_by_name(carl: Terminal, tmp_path: Path) -> None:
    model = b"weights"
    with serve({f"/v1/models/{hashlib.sha256(model).hexdigest()}": model}) as node:
        job_id = decide(carl, node, model)
        carl.resolved.clear()
        for words in ([], ["--registry", "other.example"], ["--registry", "registry.example"]):
            assert carl.run("job", "model", str(job_id), "--file", str(tmp_path), *words).code == 0
    assert [given["is_trusted"] for given in carl.resolved] == [False, False, True]


def test_why_the_file_has_no_name_of_the_image_s_is_told(carl: Terminal, tmp_path: Path) -> None:
    model = b"weights"
    with serve({f"/v1/models/{hashlib.sha256(model).hexdigest()}": model}) as node:
        job_id = decide(carl, node, model)
        carl.images.clear()
        done = carl.json("job", "model", str(job_id), "--file", str(tmp_path))
    assert done.data["path"] == str(tmp_path / f"job-{job_id}.model")
    assert "is not known" in done.err
    assert "has no such tag or digest (push the image first, check the name)" in done.err


def test_a_model_that_lost_has_a_candidate_but_no_winner(carl: Terminal, tmp_path: Path) -> None:
    model = b"weights"
    with serve({f"/v1/models/{hashlib.sha256(model).hexdigest()}": model}) as node:
        job_id = decide(carl, node, model, found=900_000_000)
        done = carl.json("job", "model", str(job_id), "--file", str(tmp_path / "m"))
    assert carl.market.job(job_id).state == pb.JOB_STATE_REFUNDED
    assert done.data["candidate"] == encode_address(carl.market.address("worker0"))
    assert done.data["winner"] is None


def test_a_model_that_nobody_gives_is_not_found(carl: Terminal, tmp_path: Path) -> None:
    with serve({}) as node:
        done = carl.json("job", "model", str(decide(carl, node)), "--file", str(tmp_path / "m"))
    assert done.code == exit_codes.NOT_FOUND
    assert "404" in done.error["message"]
    assert list(tmp_path.glob("m*")) == []


@pytest.mark.parametrize(
    ("loss", "matches"),
    [(70_000_000, True), (70_001_000, True), (69_000_000, True), (70_002_000, False), (None, False)],
)
def test_a_model_is_measured_and_compared_with_what_was_announced(
    carl: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: int | None, matches: bool
) -> None:
    evaluation = SimpleNamespace(
        has_score=loss is not None,
        loss_nano=loss or 0,
        finding=SimpleNamespace(name="MEASURED"),
        receipt=b"r" * 32,
        seconds=1.0,
        detail="it crashed",
    )
    asked: list[Any] = []

    def evaluate(_: object, *words: object) -> object:
        asked.append(words)
        return evaluation

    monkeypatch.setattr("learningchain.cli.worker_tools.evaluate", evaluate)
    model = b"weights"
    with serve({f"/v1/models/{hashlib.sha256(model).hexdigest()}": model}) as node:
        job_id = decide(carl, node, model)
        done = carl.json("job", "model", str(job_id), "--evaluate", "--file", str(tmp_path / "m"))
    assert done.code == (0 if matches else exit_codes.DIFFERS)
    assert done.data["matches"] is matches
    assert done.data["announced_loss"] == "0.07"
    if loss is None:
        assert done.data["measured_loss"] == "no score"
        assert "no valid score: it crashed" in done.err
    assert asked == [(f"{IMAGE}@{DIGEST}", tmp_path / "m", carl.market.params.classes[0], [])]
