"""An image is tried as checkers and workers will use it, before anybody pays for it."""

import contextlib
import gzip
import secrets
from pathlib import Path

import pytest

from abci_app.protocol.limits import RESERVED_LOSS
from tests.sandbox.fake_registry import FakeRegistry, digest_of, make_layer
from tests.sandbox.support import JOBS, LIMITS, TRAINING
from worker.sandbox import (
    BrokenImageError,
    Evaluation,
    Finding,
    SandboxSettings,
    Step,
    Trial,
    evaluate_model,
    trial,
    try_image,
)
from worker.sandbox.engine import Engine
from worker.sandbox.pulls import get_own_name
from worker.sandbox.reference import parse_reference
from worker.sandbox.types import Usage


def _try(image: str, docker_host: str, home: Path, steps: list[Step]) -> Trial:
    settings = SandboxSettings(allow_loopback=True, home=home, engine=docker_host, free_reserve_mib=64)
    return try_image(image, image, LIMITS, TRAINING, settings, steps.append)


def test_the_sample_and_the_first_model_are_measured(docker_host: str, digits_image: str, tmp_path: Path) -> None:
    steps: list[Step] = []
    elsewhere: list[Path] = []

    def look(step: Step) -> None:
        steps.append(step)
        elsewhere.extend(tmp_path.glob("tmp*"))  # no worker that starts would remove it

    settings = SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, free_reserve_mib=64)
    found = try_image(digits_image, digits_image, LIMITS, TRAINING, settings, look)
    assert found.sample.has_score
    assert found.first.has_score
    assert found.first_bytes > 1000
    assert len([step for step in steps if not step.text.startswith("fetching layer ")]) == 4
    assert elsewhere == []
    assert [*tmp_path.glob("attempts/*"), *tmp_path.glob("runs/*/*")] == []


def test_a_training_without_a_model_shows_what_it_printed(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "JOB_ID", JOBS.index("memory"))
    with pytest.raises(BrokenImageError, match=r"wrote no valid model to /lc/out/model: .*memory"):
        _try(hostile, docker_host, tmp_path, [])
    assert list(tmp_path.glob("attempts/*")) == []


def test_each_layer_is_told_before_it_is_fetched(docker_host: str, fake: FakeRegistry, tmp_path: Path) -> None:
    packed, diff = make_layer(**{secrets.token_hex(8): 10})
    tar = gzip.decompress(make_layer(**{secrets.token_hex(8): 2 << 20})[0])
    manifest = fake.make_manifest(packed, diff, rootfs={"type": "layers", "diff_ids": [diff, digest_of(tar)]})
    manifest["layers"].append({"digest": fake.add(tar), "size": len(tar)})
    steps: list[Step] = []
    image = fake.add_manifest(manifest)
    try:
        with pytest.raises(BrokenImageError):
            _try(image, docker_host, tmp_path, steps)
    finally:
        with contextlib.closing(Engine(docker_host)) as engine:
            engine.remove_image(get_own_name(parse_reference(image).digest))
    first, second = "fetching layer 1 of 2, 0.0 MiB", "fetching layer 2 of 2, 2.0 MiB"
    assert list(dict.fromkeys(step.text for step in steps))[:3] == ["fetching and counting the image", first, second]
    told = [(step.here, step.size) for step in steps if step.text == second]
    assert (told[0], told[-1]) == ((0, len(tar)), (len(tar), len(tar)))


def test_an_evaluation_alone_tells_them_too(docker_host: str, fake: FakeRegistry, tmp_path: Path) -> None:
    settings = SandboxSettings(allow_loopback=True, home=tmp_path, engine=docker_host, free_reserve_mib=64)
    steps: list[Step] = []
    image = fake.add_manifest(fake.make_manifest())
    try:
        assert evaluate_model(image, tmp_path / "model", LIMITS, settings, steps.append).finding is Finding.UNRUNNABLE
    finally:
        with contextlib.closing(Engine(docker_host)) as engine:
            engine.remove_image(get_own_name(parse_reference(image).digest))
    assert {step.text for step in steps} == {"fetching layer 1 of 1, 0.0 MiB"}


def test_an_image_outside_the_contract_is_not_run(docker_host: str, fake: FakeRegistry, tmp_path: Path) -> None:
    steps: list[Step] = []
    with pytest.raises(BrokenImageError, match="label"):
        _try(fake.add_manifest(fake.make_manifest(config={"Labels": None})), docker_host, tmp_path, steps)
    assert len(steps) == 1


class _ScorelessSandbox:
    """Finds no score for a sample, as where the scorer ends with an error."""

    def __init__(self, *_: object) -> None:
        pass

    def prepare(self, *_: object) -> None:
        pass

    def evaluate_sample(self, *_: object) -> Evaluation:
        return Evaluation(Finding.MEASURED, RESERVED_LOSS, b"", 1.0, Usage(), "score: exit status 1")

    def close(self) -> None:
        pass


def test_a_sample_without_a_score_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "DockerSandbox", _ScorelessSandbox)
    with pytest.raises(BrokenImageError, match=r"^no valid score for its sample: score: exit status 1$"):
        _try("registry.example/job", "unix:///nowhere", tmp_path, [])
