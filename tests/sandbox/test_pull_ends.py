"""How a pull ends: in time, when nobody waits for it, and when its registry drips."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from structlog.testing import capture_logs

from tests.sandbox.fake_registry import Answer, FakeRegistry, Held, Server, make_layer
from worker.sandbox import OwnFailureError, RegistryError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import pulls as pulls_module
from worker.sandbox.engine import Engine
from worker.sandbox.fetch import LayerCopy, Pace
from worker.sandbox.images import Images
from worker.sandbox.loading import load
from worker.sandbox.registry import ATTEMPTS


def test_a_pull_has_a_time_limit(fake: FakeRegistry, held: Held, engine: Engine, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = held
    settings = Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1, pull_seconds=1)
    images = Images(engine, settings, tmp_path, lambda: None)
    with pytest.raises(RegistryError, match="too slow: not done within 1 s"):
        images.prepare(image, 10)


def test_a_pull_s_time_limit_holds_while_a_layer_is_measured(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer can be made to unpack slowly."""
    now = [0.0]
    pieces = iter([bytes(1024)] * 10)

    def unpack(_: BinaryIO) -> Iterator[bytes]:
        for piece in pieces:
            now[0] += 1000.0
            yield piece

    monkeypatch.setattr(pulls_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("worker.sandbox.layers.read_unpacked", unpack)
    with pytest.raises(RegistryError, match="not all here and counted within 1800 s"):
        images.prepare(fake.add_manifest(fake.make_manifest()), 10)
    assert len(list(pieces)) == 8


def test_the_log_tells_now_and_then_how_far_a_layer_is(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls_module, "LOG_SECONDS", 0.0)
    image = fake.add_manifest(manifest := fake.make_manifest(*make_layer(**{secrets.token_hex(8): 2 << 20})))
    layer = manifest["layers"][0]
    try:
        with capture_logs() as logs:
            images.prepare(image, 10)
    finally:
        images.remove(image)
    told = [entry for entry in logs if entry["event"] == "layer_on_its_way"]
    mib = round(layer["size"] / (1 << 20), 1)
    assert {entry["digest"] for entry in told} == {layer["digest"]}
    assert (told[0]["mib"], told[-1]["mib"], told[-1]["size_mib"]) == (0, mib, mib)


def test_a_registry_that_gives_less_than_the_pace_drips() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    second = 32 << 10
    for seconds, total in ((60, 0), (61, 60 * second), (60, 60 * second), (120, 61 * second), (122, 130 * second)):
        now[0] = seconds
        pace.check(total)
    now[0] = 182
    pace.check(189 * second)
    now[0] = 183
    with pytest.raises(RegistryError, match=f"less than 32 KiB/s: {189 * second} bytes of a layer are here"):
        pace.check(189 * second)


def test_a_layer_that_drips_is_given_up(fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sandbox.fetch.PACE_SECONDS", 0.5)
    manifest = fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10}))
    manifest["layers"][0]["size"] = 1_000_000
    digest = manifest["layers"][0]["digest"]
    fake.rules[digest] = lambda _: (200, {"Content-Length": "1000000"}, b"x")  # and then no more
    with pytest.raises(RegistryError, match=r"less than 32 KiB/s: [01] bytes"):
        images.prepare(fake.add_manifest(manifest), 1024)


def test_a_layer_that_never_comes_holds_up_no_other_image_with_the_same_layer(
    fake: FakeRegistry, held: Held, images: Images
) -> None:
    """The engine would join both pulls of the layer, and wait for whoever was asked first."""
    other = Server()
    manifest = fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10}))
    other.registry.content = fake.content
    layer = manifest["layers"][0]["digest"]
    evil, good = fake.add_manifest(manifest), other.registry.add_manifest(manifest)
    given_up = threading.Event()
    fake.rules[layer] = held
    waiting = threading.Thread(target=_pull_in_vain, args=(images, evil, given_up))
    waiting.start()
    try:
        assert held.asked.wait(60)
        images.prepare(good, 10)
        assert waiting.is_alive()
    finally:
        given_up.set()
        waiting.join()
        held.let_go()
        images.remove(good)
        other.stop()


def test_a_pull_that_fails_leaves_the_record_of_the_same_image_pulled_from_elsewhere(
    fake: FakeRegistry, held: Held, images: Images, tmp_path: Path
) -> None:
    """Without its record it would never make room for another."""
    other = Server()
    manifest = fake.make_manifest()
    other.registry.content = fake.content
    evil, good = fake.add_manifest(manifest), other.registry.add_manifest(manifest)
    fake.rules[manifest["layers"][0]["digest"]] = held
    waiting = threading.Thread(target=_find_no_layer, args=(images, evil))
    waiting.start()
    try:
        assert held.asked.wait(60)
        images.prepare(good, 10)
        held.let_go()
        waiting.join()
        assert (tmp_path / "images" / good.partition("@sha256:")[2]).exists()
    finally:
        held.let_go()
        waiting.join()
        images.remove(good)
        other.stop()


def _find_no_layer(images: Images, image: str) -> None:
    with pytest.raises(RegistryError, match="not given"):
        images.prepare(image, 10)


def test_an_image_that_the_engine_has_after_all_makes_room_later(
    fake: FakeRegistry, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines finish what they began, also when nobody waits for it any more."""

    def load_and_give_up(*arguments: Any) -> None:
        load(*arguments)
        raise OwnFailureError("nobody waits any more")

    monkeypatch.setattr(pulls_module, "load", load_and_give_up)
    image = fake.add_manifest(fake.make_manifest())
    try:
        with pytest.raises(OwnFailureError, match="nobody waits"):
            images.prepare(image, 10)
        assert images.find(image) is not None
        assert (tmp_path / "images" / image.partition("@sha256:")[2]).exists()
    finally:
        images.remove(image)


def test_a_layer_goes_on_where_the_line_broke(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is asked for; a registry that cannot give parts begins anew."""
    monkeypatch.setattr("worker.sandbox.registry.AGAIN_SECONDS", 0.0)
    image = fake.add_manifest(manifest := fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10})))
    layer = manifest["layers"][0]["digest"]
    content = fake.content[layer]
    asked: list[str] = []
    whole = {"Content-Length": str(len(content)), "Connection": "close"}
    answers: list[Answer] = [
        (200, whole, content[:10]),
        (206, {"Content-Length": str(len(content) - 10), "Connection": "close"}, content[10:20]),
        (200, whole, content[:5]),
        (206, {}, content[5:]),
    ]

    def answer(headers: dict[str, str]) -> Answer:
        asked.append(headers.get("Range", ""))
        return answers.pop(0)

    fake.rules[layer] = answer
    try:
        images.prepare(image, 10)
    finally:
        images.remove(image)
    assert asked == ["", "bytes=10-", "bytes=20-", "bytes=5-"]


def test_a_disk_that_is_full_is_no_failure_of_the_registry() -> None:
    with pytest.raises(OwnFailureError, match="No space left") as caught, LayerCopy(Path("/dev/full"), 1 << 20) as copy:
        copy.take(bytes(1 << 20))
    assert not isinstance(caught.value, RegistryError)


def test_a_line_that_breaks_again_and_again_is_the_registry_s_failure(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sandbox.registry.AGAIN_SECONDS", 0.0)
    image = fake.add_manifest(manifest := fake.make_manifest(*make_layer(**{secrets.token_hex(8): 10})))
    layer = manifest["layers"][0]["digest"]
    size = str(len(fake.content[layer]))
    fake.rules[layer] = lambda _: (200, {"Content-Length": size, "Connection": "close"}, b"x")
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(image, 10)
    assert sum(layer in path for path in fake.requests) == ATTEMPTS


def test_a_pull_ends_when_the_sandbox_closes(fake: FakeRegistry, held: Held, engine: Engine, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = held

    def check_open() -> None:
        raise OwnFailureError("the sandbox is closing")

    images = Images(engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), tmp_path, check_open)
    with pytest.raises(OwnFailureError, match="closing"):
        images.prepare(image, 10)


def test_a_pull_ends_when_nobody_waits(fake: FakeRegistry, held: Held, images: Images) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    given_up = threading.Event()
    fake.rules[manifest["layers"][0]["digest"]] = held
    waiting = threading.Thread(target=_pull_in_vain, args=(images, image, given_up))
    waiting.start()
    try:
        assert held.asked.wait(60)
        given_up.set()
        waiting.join(60)
        assert not waiting.is_alive()
    finally:
        held.let_go()


def _pull_in_vain(images: Images, image: str, given_up: threading.Event) -> None:
    with pytest.raises(OwnFailureError, match="nobody waits"):
        images.prepare(image, 10, given_up)


def test_a_slow_registry_does_not_hold_up_another_image(fake: FakeRegistry, held: Held, images: Images) -> None:
    slow = fake.add_manifest(manifest := fake.make_manifest(*make_layer(slow=20)))
    fake.rules[manifest["layers"][0]["digest"]] = held

    def pull() -> None:
        with pytest.raises(OwnFailureError):
            images.prepare(slow, 10)

    waiting = threading.Thread(target=pull)
    waiting.start()
    quick = fake.add_manifest(fake.make_manifest())
    try:
        assert held.asked.wait(60)
        images.prepare(quick, 10)
        assert waiting.is_alive()
    finally:
        held.let_go()
        waiting.join()
        images.remove(quick)
