"""An image is tried as checkers and workers will use it, before anybody pays for it."""

from pathlib import Path

import pytest

from tests.sandbox.fake_registry import FakeRegistry
from tests.sandbox.support import JOBS, LIMITS, TRAINING
from worker.sandbox import BrokenImageError, SandboxSettings, Trial, trial, try_image


def _try(image: str, docker_host: str, home: Path, steps: list[str]) -> Trial:
    settings = SandboxSettings(allow_loopback=True, home=home, engine=docker_host, free_reserve_mib=64)
    return try_image(image, image, LIMITS, TRAINING, settings, steps.append)


def test_the_sample_and_the_first_model_are_measured(docker_host: str, digits_image: str, tmp_path: Path) -> None:
    steps: list[str] = []
    found = _try(digits_image, docker_host, tmp_path, steps)
    assert found.sample.has_score
    assert found.first.has_score
    assert found.first_bytes > 1000
    assert len(steps) == 4
    assert [*tmp_path.glob("attempts/*"), *tmp_path.glob("runs/*/*")] == []


def test_a_training_without_a_model_shows_what_it_printed(
    docker_host: str, hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "JOB_ID", JOBS.index("memory"))
    with pytest.raises(BrokenImageError, match=r"wrote no valid model to /lc/out/model: .*memory"):
        _try(hostile, docker_host, tmp_path, [])
    assert list(tmp_path.glob("attempts/*")) == []


def test_an_image_outside_the_contract_is_not_run(docker_host: str, fake: FakeRegistry, tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(BrokenImageError, match="label"):
        _try(fake.add_manifest(fake.make_manifest(config={"Labels": None})), docker_host, tmp_path, steps)
    assert len(steps) == 1
