"""Pulling: within the time there is, and whose failure it is when it fails."""

import gzip
import io
import secrets
import tarfile
from typing import Any

import pytest

from tests.sandbox.fake_registry import FakeRegistry, Held, digest_of, make_layer
from worker.sandbox import BrokenImageError, DockerSandbox, NoSpaceError, OwnFailureError, RegistryError
from worker.sandbox import pulls as pulls_module
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images
from worker.sandbox.loading import load, raise_for
from worker.sandbox.pulls import get_own_name
from worker.sandbox.reference import parse_reference
from worker.sandbox.types import EngineRefusedError


def test_a_layer_that_cannot_be_unpacked_breaks_the_image(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest(b"no layer" * 100, digest_of(b"")))
    with pytest.raises(BrokenImageError, match="header that is none"):
        images.prepare(image, 10)


def _make_entry(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


_BAD_ENTRIES = [
    _make_entry(tarfile.REGTYPE, "n" * 300),
    _make_entry(tarfile.REGTYPE, f"no space left on device/{'n' * 300}"),
    _make_entry(tarfile.LNKTYPE, "a\x1b[31mRED", "nothing"),
    _make_entry(tarfile.LNKTYPE, "a", "../../../etc/passwd"),
]


def _add_image_of(fake: FakeRegistry, *entries: tarfile.TarInfo) -> str:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry)
    return fake.add_manifest(
        fake.make_manifest(gzip.compress(content.getvalue(), mtime=0), digest_of(content.getvalue()))
    )


@pytest.mark.parametrize("entry", _BAD_ENTRIES, ids=["long", "misleading", "dangling", "outside"])
def test_an_entry_that_cannot_be_unpacked_breaks_the_image(
    fake: FakeRegistry, images: Images, entry: tarfile.TarInfo
) -> None:
    """The engine can unpack others."""
    image = _add_image_of(fake, entry)
    with pytest.raises(BrokenImageError, match="cannot be unpacked") as caught:
        images.prepare(image, 10)
    assert "\x1b" not in str(caught.value)


def test_an_entry_with_attributes_that_not_every_disk_holds_breaks_the_image(
    fake: FakeRegistry, images: Images
) -> None:
    """The engine would call the disk full, on some file systems, and all who use them would find nothing."""
    entry = _make_entry(tarfile.REGTYPE, "a")
    entry.pax_headers = {"SCHILY.xattr.user.x": "v" * 5000}
    with pytest.raises(BrokenImageError, match="extended attributes"):
        images.prepare(_add_image_of(fake, entry), 10)


def test_layers_are_broken_only_on_an_engine_that_can_unpack_others(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, repository: str, tag: str, content: bytes) -> None:
        raise OwnFailureError(f"{repository}:{tag} of {len(content)} bytes cannot be imported")

    monkeypatch.setattr(Engine, "import_image", refuse)
    with pytest.raises(OwnFailureError, match="cannot be imported"):
        images.prepare(_add_image_of(fake, _BAD_ENTRIES[0]), 10)


def test_a_layer_that_cannot_be_unpacked_once_is_tried_again(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [EngineRefusedError("failed to register layer: signal: killed")]

    def load_or_fail(*args: Any) -> None:
        if failures:
            raise failures.pop()
        load(*args)

    monkeypatch.setattr(pulls_module, "load", load_or_fail)
    image = fake.add_manifest(fake.make_manifest())
    try:
        assert images.prepare(image, 10).startswith("sha256:")
    finally:
        images.remove(image)


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_layer_that_does_not_come_is_the_registry_s_failure(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = lambda _: (status, {}, b"")
    with pytest.raises(RegistryError):
        images.prepare(image, 10)


@pytest.mark.parametrize(
    "words",
    [
        "failed to register layer: write /lib/x: no space left on device",
        "write /var/lib/docker/tmp/GetImageBlob1: disk quota exceeded",
        f"failed to register layer: write /{'x' * 3000}: no space left on device",
    ],
)
def test_a_full_disk_is_not_the_registry_s_failure(words: str) -> None:
    with pytest.raises(OwnFailureError) as caught:
        raise_for(words)
    assert not isinstance(caught.value, EngineRefusedError)


def test_a_pull_stops_before_the_disk_is_full(
    fake: FakeRegistry, held: Held, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds room for the layer, a later one finds that others took it."""
    looks = 0

    def check(*_: object) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise NoSpaceError("the reserve is reached")

    monkeypatch.setattr(pulls_module, "check_space", check)
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = held
    with pytest.raises(NoSpaceError):
        images.prepare(image, 10)
    assert images.find(image) is None


def test_of_a_layer_larger_than_its_manifest_says_no_more_is_taken(fake: FakeRegistry, images: Images) -> None:
    """What comes in its place is no finding: a registry may garble what is good elsewhere."""
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] -= 1
    with pytest.raises(RegistryError, match="other bytes"):
        images.prepare(fake.add_manifest(manifest), 10)


def test_a_garbled_layer_is_the_registry_s_failure_and_is_not_remembered(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    layer = manifest["layers"][0]["digest"]
    content = fake.content[layer]
    other = make_layer(**{secrets.token_hex(8): 10})[0][: len(content)].ljust(len(content), b"x")
    fake.rules[layer] = lambda _: (200, {}, other)
    with pytest.raises(RegistryError, match="other bytes"):
        images.prepare(image, 10)
    del fake.rules[layer]
    try:
        images.prepare(image, 10)
    finally:
        images.remove(image)


def test_a_layer_smaller_than_its_manifest_says_breaks_the_image(fake: FakeRegistry, images: Images) -> None:
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] += 1
    with pytest.raises(BrokenImageError, match="of its manifest"):
        images.prepare(fake.add_manifest(manifest), 10)


def test_an_image_is_pulled_from_a_real_registry(sandbox: DockerSandbox, hostile: str) -> None:
    engine = sandbox.host.engine
    own = get_own_name(parse_reference(hostile).digest)
    for name in (own, hostile.partition("@")[0] + ":1", hostile):
        engine.remove_image(name)
    assert [engine.image(name) for name in (hostile, own)] == [None, None]
    sandbox.prepare(hostile, 1024)
    assert engine.image(own) is not None
