"""How a pull ends: in time, when nobody waits for it, and when its registry drips."""

import secrets
import threading
import time
from pathlib import Path

import pytest

from tests.sandbox.fake_registry import DOCKER_MANIFEST, Answer, FakeRegistry, make_layer, wait
from tests.sandbox.support import wait_for
from worker.sandbox import OwnFailureError, RegistryError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images
from worker.sandbox.pulls import Pace
from worker.sandbox.reference import parse_reference


def test_a_pull_has_a_time_limit(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = wait(3, (404, {}, b""))
    settings = Settings(home=tmp_path, free_reserve_mib=1, pull_seconds=1)
    images = Images(engine, settings, tmp_path, lambda: None)
    with pytest.raises(RegistryError, match="pull_seconds"):
        images.prepare(image, 10)


def _tell(pace: Pace, layer: str, status: str, current: int = 0) -> None:
    pace.note({"id": layer, "status": status, "progressDetail": {"current": current} if current else {}})


def test_only_a_registry_whose_turn_it_is_drips() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])

    def wait_and_check() -> None:
        for _ in range(3):
            now[0] += 25
            pace.check()

    pace.note({"id": "registry.example/name", "status": "Pulling from name"})
    with pytest.raises(RegistryError, match="less than 32 KiB/s"):  # it has not even given the manifest
        wait_and_check()
    for status in ("Waiting", "Extracting", "Download complete", "Pull complete"):
        _tell(pace, "a", status)
        wait_and_check()
    _tell(pace, "b", "Downloading", 1 << 20)
    now[0] += 59
    pace.check()
    _tell(pace, "b", "Downloading", 3 << 20)
    pace.check()
    now[0] += 59
    pace.check()
    _tell(pace, "a", "Extracting")  # the engine may have no time for more now
    wait_and_check()
    _tell(pace, "a", "Pull complete")
    _tell(pace, "b", "Retrying in 5 seconds")
    with pytest.raises(RegistryError, match="3145728 bytes of layers are here"):
        wait_and_check()


def test_layers_that_drip_are_given_up_and_hold_up_other_images_no_longer(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine downloads three layers at a time, whosoever they are."""
    monkeypatch.setattr("worker.sandbox.pulls.PACE_SECONDS", 3.0)
    layers = [make_layer(**{secrets.token_hex(8): 10}) for _ in range(4)]
    manifest = fake.make_manifest(*layers[0], rootfs={"type": "layers", "diff_ids": [diff for _, diff in layers]})
    size = 1_000_000  # as the registry says it is: of a layer cut short the engine may tell that all of it came
    manifest["layers"] = [{**manifest["layers"][0], "digest": fake.add(layer), "size": size} for layer, _ in layers]
    for part in manifest["layers"]:
        fake.rules[part["digest"]] = lambda _: (200, {"Content-Length": str(size)}, b"x")  # and then no more
    evil = fake.add_manifest(manifest)
    quick = fake.add_manifest(fake.make_manifest(*make_layer(**{secrets.token_hex(8): 20})))
    failures: list[str] = []

    def pull_evil() -> None:
        with pytest.raises(RegistryError) as caught:
            images.prepare(evil, 1024)
        failures.append(str(caught.value))

    dripping = threading.Thread(target=pull_evil)
    dripping.start()
    try:
        wait_for(lambda: sum("/blobs/" in path for path in fake.requests) >= 4)  # the configuration, and three layers
        started = time.monotonic()
        images.prepare(quick, 10)
        assert time.monotonic() - started < 15
        dripping.join()
    finally:
        images.remove(quick)
    assert "KiB/s" in failures[0]


def test_a_pull_that_cannot_be_watched_ends(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10})))
    fake.rules[manifest["layers"][0]["digest"]] = wait(4, (404, {}, b""))

    def fail(_: Pace) -> None:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr(Pace, "check", fail)
    with pytest.raises(OwnFailureError, match="what nobody thought of"):
        images.prepare(image, 10)


def test_a_pull_ends_when_the_sandbox_closes(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = wait(3, (404, {}, b""))

    def check_open() -> None:
        raise OwnFailureError("the sandbox is closing")

    images = Images(engine, Settings(home=tmp_path, free_reserve_mib=1), tmp_path, check_open)
    with pytest.raises(OwnFailureError, match="closing"):
        images.prepare(image, 10)


def test_a_pull_ends_when_nobody_waits_also_before_the_engine_has_said_a_word(
    fake: FakeRegistry, images: Images
) -> None:
    """The registry answers us, and then lets the engine wait for the same manifest."""
    image = fake.add_manifest(fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10})))
    given_up, asked = threading.Event(), threading.Event()
    good = 200, {"Content-Type": DOCKER_MANIFEST}, fake.content[parse_reference(image).digest]

    def answer(_: dict[str, str]) -> Answer:
        if sum("/manifests/" in path for path in fake.requests) > 1:
            asked.set()
            time.sleep(4)
        return good

    fake.rules["/manifests/"] = answer
    waiting = threading.Thread(target=_pull_in_vain, args=(images, image, given_up))
    waiting.start()
    try:
        assert asked.wait(5)
        given_up.set()
        waiting.join(2)
        assert not waiting.is_alive()
    finally:
        waiting.join()
        images.remove(image)


def _pull_in_vain(images: Images, image: str, given_up: threading.Event) -> None:
    with pytest.raises(OwnFailureError, match="nobody waits"):
        images.prepare(image, 10, given_up)


def test_a_slow_registry_does_not_hold_up_another_image(fake: FakeRegistry, images: Images) -> None:
    slow = fake.add_manifest(manifest := fake.make_manifest(*make_layer(slow=20)))
    fake.rules[manifest["layers"][0]["digest"]] = wait(4, (404, {}, b""))

    def pull() -> None:
        with pytest.raises(OwnFailureError):
            images.prepare(slow, 10)

    waiting = threading.Thread(target=pull)
    waiting.start()
    quick = fake.add_manifest(fake.make_manifest())
    try:
        images.prepare(quick, 10)
        assert waiting.is_alive()
    finally:
        waiting.join()
        images.remove(quick)
