"""Which images are pulled, which are UNRUNNABLE, and what is only this machine's trouble."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.fake_registry import DrippingServer, FakeRegistry, Server, digest_of, make_layer, wait
from tests.sandbox.support import wait_for
from worker.sandbox import BrokenImageError, OwnFailureError, RegistryError
from worker.sandbox import images as images_module
from worker.sandbox import registry as registry_module
from worker.sandbox.images import Images
from worker.sandbox.reference import parse_reference

INDEX = "application/vnd.oci.image.index.v1+json"


def test_an_image_within_the_contract_is_pulled_once(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest())
    try:
        found = images.prepare(image, 10)
        assert found.startswith("sha256:")
        count = len(fake.requests)
        assert images.prepare(image, 10) == found
        assert len(fake.requests) == count
    finally:
        images.remove(image)
    assert images.find(image) is None


def test_an_image_with_a_name_that_the_engine_cannot_read_is_pulled(fake: FakeRegistry, images: Images) -> None:
    """It has it under our own name; the longest that the chain takes has 512 characters, the engine takes 255."""
    digest = fake.add_manifest(fake.make_manifest()).partition("@")[2]
    image = f"{fake.host}/{'a' * 300}@{digest}"
    try:
        assert images.prepare(image, 10) == images.prepare(image, 10)
        assert images.remove(image)
    finally:
        images.remove(image)


def _change(**changes: Any) -> Callable[[FakeRegistry], dict[str, Any]]:
    return lambda fake: fake.make_manifest() | changes


def _configure(**config: Any) -> Callable[[FakeRegistry], dict[str, Any]]:
    return lambda fake: fake.make_manifest(**config)


def _resize(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] = (10 << 20) + 1
    return manifest


def _foreign(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["layers"][0]["urls"] = ["http://127.0.0.1/layer"]
    return manifest


def _misname(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["config"]["digest"] = "sha256:" + "../" * 21 + "x"
    return manifest


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_change(mediaType=INDEX, manifests=[]), "index"),
        (_change(manifests=[]), "index"),
        (_change(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "not the manifest"),
        (_change(layers=[]), "1 to 120 layers"),
        (_change(layers=[{}] * 121), "1 to 120 layers"),
        (_change(layers=[{"digest": "md5:0", "size": 1}]), "digest"),
        (_change(config=None), "layer that lies elsewhere"),
        (_misname, "digest"),
        (_resize, "11 MiB, 10 are allowed"),
        (_foreign, "lies elsewhere"),
        (_configure(architecture="arm64"), "linux/amd64"),
        (_configure(os="windows"), "linux/amd64"),
        (_configure(config={"Volumes": {"/data": {}}}), "VOLUME"),
        (_configure(config={"Labels": None}), "label"),
        (_configure(config={"Labels": {"org.learningchain.contract": "2"}}), "label"),
        (lambda fake: b"[]", "not a JSON object"),
        (lambda fake: b"[" * 100_000, "not a JSON object"),
        (lambda fake: b" " * (5 << 20), "larger than"),
    ],
)
def test_an_image_outside_the_contract_is_not_pulled(
    fake: FakeRegistry, images: Images, make: Callable[[FakeRegistry], Any], words: str
) -> None:
    image = fake.add_manifest(make(fake))
    with pytest.raises(BrokenImageError, match=words):
        images.prepare(image, 10)
    layer = digest_of(make_layer(x=10)[0])
    assert not [path for path in fake.requests if layer in path]
    assert images.find(image) is None


_TYPE = '"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["DIFF"]}'
_LABELS = '"Labels":{"org.learningchain.contract":"1"}'
_VOLUMES = '{"/data":{}}'


def _add_raw(fake: FakeRegistry, config: str) -> str:
    """Return the name of an image with a configuration that is not what a JSON library would write."""
    layer, diff = make_layer(x=10)
    manifest = fake.make_manifest(layer, diff)
    content = config.replace("DIFF", diff).encode()
    manifest["config"] |= {"digest": fake.add(content), "size": len(content)}
    return fake.add_manifest(manifest)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (f'{{{_TYPE},"config":{{"Volumes":{_VOLUMES}}},"config":{{{_LABELS}}}}}', "more than once"),
        (f'{{{_TYPE},"Config":{{"Volumes":{_VOLUMES}}},"config":{{{_LABELS}}}}}', "more than once"),
        (f'{{{_TYPE},"config":{{"Volumes":{_VOLUMES},"Volumes":{{}},{_LABELS}}}}}', "more than once"),
        (f'{{{_TYPE},"config":{{"volumes":{_VOLUMES},{_LABELS}}}}}', "VOLUME"),
        (f'{{{_TYPE},"config":{{"volume\u017f":{_VOLUMES},{_LABELS}}}}}', "VOLUME"),
    ],
)
def test_a_volume_that_only_the_engine_would_read_breaks_the_image(
    fake: FakeRegistry, images: Images, config: str, words: str
) -> None:
    """The engine matches keys without case, and of keys that come twice it takes both."""
    with pytest.raises(BrokenImageError, match=words):
        images.prepare(_add_raw(fake, config), 10)


def test_a_volume_that_the_engine_sees_breaks_the_image_whatever_was_judged_before(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _add_raw(fake, f'{{{_TYPE},"config":{{"volumes":{_VOLUMES},{_LABELS}}}}}')
    monkeypatch.setattr(images_module, "check_config", lambda _, content: json.loads(content)["rootfs"]["diff_ids"])
    try:
        for _ in range(2):  # after the pull, and when it is here
            with pytest.raises(BrokenImageError, match="VOLUME"):
                images.prepare(image, 10)
        assert images.find(image) is not None
    finally:
        images.remove(image)


def test_a_manifest_with_a_key_twice_breaks_the_image(fake: FakeRegistry, images: Images) -> None:
    manifest = json.dumps(fake.make_manifest())
    other = fake.make_manifest(*make_layer(y=20))["layers"]
    with pytest.raises(BrokenImageError, match="'Layers' more than once"):
        images.prepare(fake.add_manifest(f'{manifest[:-1]}, "Layers": {json.dumps(other)}}}'.encode()), 10)


def test_an_image_that_is_here_already_is_judged_like_anywhere_else(fake: FakeRegistry, images: Images) -> None:
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] = 5 << 20
    manifest["layers"][0] |= {"size": len(fake.content[manifest["layers"][0]["digest"]])}
    image = fake.add_manifest(manifest)
    images.prepare(image, 10)
    with pytest.raises(BrokenImageError, match="0 are allowed"):
        images.prepare(image, 0)
    images.remove(image)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_image_that_is_not_there_for_everybody_is_broken(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (status, {}, b"")
    with pytest.raises(BrokenImageError, match="not for everybody"):
        images.prepare(image, 10)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 302, 418])
def test_a_registry_in_trouble_is_no_finding(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (status, {}, b"")
    with pytest.raises(RegistryError):
        images.prepare(image, 10)


def test_a_registry_that_is_down_or_slow_is_no_finding(
    registry_server: Server, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "READ_SECONDS", 0.2)
    fake = registry_server.registry
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = wait(0.6, (404, {}, b""))
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(image, 10)
    registry_server.stop()
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(image, 10)


def _are_all_ended() -> bool:
    return not any(thread.name == "sandbox-apart" for thread in threading.enumerate())


def test_a_registry_that_drips_is_left_when_the_time_of_an_answer_is_over(
    dripping: DrippingServer, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No single read of the header takes long."""
    monkeypatch.setattr(registry_module, "TOTAL_SECONDS", 0.5)
    with pytest.raises(RegistryError, match="too slow"):
        images.prepare(dripping.image, 10)
    wait_for(_are_all_ended)


def test_a_registry_that_drips_is_left_when_nobody_waits_any_more(dripping: DrippingServer, images: Images) -> None:
    """Also by whoever waits for the first to be done."""
    given_up = threading.Event()
    found: list[str] = []

    def prepare() -> None:
        with pytest.raises(OwnFailureError) as caught:
            images.prepare(dripping.image, 10, given_up)
        found.append(str(caught.value))

    waiting = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in waiting:
        thread.start()
    assert dripping.asked.wait(60)
    given_up.set()
    for thread in waiting:
        thread.join(60)
    assert len([words for words in found if "nobody waits" in words]) == 2
    wait_for(_are_all_ended)


def test_a_digest_named_at_a_slow_registry_is_not_held_up_elsewhere(
    dripping: DrippingServer, fake: FakeRegistry, images: Images
) -> None:
    good = fake.add_manifest(fake.make_manifest())
    evil = f"{dripping.image.partition('@')[0]}@{good.partition('@')[2]}"
    given_up = threading.Event()
    waiting = threading.Thread(target=_prepare_in_vain, args=(images, evil, given_up))
    waiting.start()
    try:
        assert dripping.asked.wait(60)
        images.prepare(good, 10)
    finally:
        given_up.set()
        waiting.join()
        images.remove(good)


def _prepare_in_vain(images: Images, image: str, given_up: threading.Event) -> None:
    with pytest.raises(OwnFailureError):
        images.prepare(image, 10, given_up)


def test_other_bytes_than_the_digests_are_no_finding(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (200, {}, json.dumps(fake.make_manifest(os="windows")).encode())
    with pytest.raises(RegistryError, match="other bytes"):
        images.prepare(image, 10)


def test_manifests_and_configurations_used_longest_ago_are_forgotten(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever publishes jobs would fill the disk with them. What was used last stays, whole."""
    monkeypatch.setattr(images_module, "KEPT_BYTES", 5000)
    names = [fake.add_manifest({"schemaVersion": 2, "padding": str(number) * 1500}) for number in range(5)]
    for name in (*names[:3], names[0], *names[3:]):
        with pytest.raises(BrokenImageError):
            images.prepare(name, 10)
        time.sleep(0.02)  # a file's times are told no finer than the kernel's clock ticks
    kept = {path.name for path in (tmp_path / "manifests").iterdir()}
    assert kept == {parse_reference(names[number]).digest.removeprefix("sha256:") for number in (0, 3, 4)}
