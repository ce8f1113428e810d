"""Images that unpack to more than they may, to something else, or to what the engine has already."""

import gzip
import io
import json
import secrets
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.fake_registry import FakeRegistry, Server, digest_of, make_layer
from worker.sandbox import BrokenImageError, OwnFailureError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import contract as contract_module
from worker.sandbox import pulls as pulls_module
from worker.sandbox.archive import Image, get_id, make_archive
from worker.sandbox.engine import Engine, uses_containerd
from worker.sandbox.images import Images
from worker.sandbox.layers import Layer
from worker.sandbox.loading import load
from worker.sandbox.pulls import get_own_name
from worker.sandbox.reference import parse_reference

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _add_image(fake: FakeRegistry, *layers: tuple[bytes, str]) -> str:
    manifest = fake.make_manifest(*layers[0], rootfs={"type": "layers", "diff_ids": [diff for _, diff in layers]})
    manifest["layers"] = [
        {"mediaType": LAYER_TYPE, "digest": fake.add(layer), "size": len(layer)} for layer, _ in layers
    ]
    return fake.add_manifest(manifest)


def _make_new_layer() -> tuple[bytes, str]:
    """Return one that the engine has from no other test."""
    return make_layer(**{secrets.token_hex(8): 10})


def _count_requests(fake: FakeRegistry, layer: tuple[bytes, str]) -> int:
    return sum(digest_of(layer[0]) in path for path in fake.requests)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each image that the engine gets."""
    seen: list[str] = []

    def note(engine: Engine, archive: Iterator[bytes], *rest: Any) -> None:
        seen.append("image")
        load(engine, archive, *rest)

    monkeypatch.setattr(pulls_module, "load", note)
    return seen


def test_a_small_image_that_unpacks_to_a_large_one_never_gets_to_the_engine(
    fake: FakeRegistry, images: Images, loads: list[str]
) -> None:
    bomb = make_layer(**{secrets.token_hex(8): 64 << 20})
    assert len(bomb[0]) < 100_000
    image = _add_image(fake, bomb)
    for _ in range(2):
        with pytest.raises(BrokenImageError, match="more than the 10485760 bytes"):
            images.prepare(image, 10)
    assert loads == []


def test_layers_that_are_too_large_together_break_the_image(
    fake: FakeRegistry, images: Images, loads: list[str]
) -> None:
    """One that was measured is not fetched again to be refused."""
    layers = [make_layer(**{secrets.token_hex(8): 6 << 20}) for _ in range(2)]
    image = _add_image(fake, *layers, _make_new_layer())
    for _ in range(2):
        with pytest.raises(BrokenImageError, match="unpacks to more than the 10 MiB"):
            images.prepare(image, 10)
    assert [_count_requests(fake, layer) for layer in layers] == [1, 1]
    assert loads == []


def test_an_image_that_was_small_enough_is_too_large_for_a_smaller_class(fake: FakeRegistry, images: Images) -> None:
    image = _add_image(fake, make_layer(**{secrets.token_hex(8): 6 << 20}))
    images.prepare(image, 10)
    try:
        with pytest.raises(BrokenImageError, match="unpacks to more than the 5 MiB"):
            images.prepare(image, 5)
    finally:
        images.remove(image)


def test_an_image_of_many_empty_files_is_broken(
    fake: FakeRegistry, images: Images, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls_module, "MAX_ENTRIES", 10)
    monkeypatch.setattr(contract_module, "MAX_ENTRIES", 10)
    many = [make_layer(**{f"{secrets.token_hex(8)}{number}": 0 for number in range(count)}) for count in (11, 6, 6)]
    for image in (_add_image(fake, many[0]), _add_image(fake, *many[1:])):
        with pytest.raises(BrokenImageError, match="more than 10 files"):
            images.prepare(image, 10)
    assert loads == []


def test_a_layer_that_unpacks_to_another_breaks_the_image(fake: FakeRegistry, images: Images, loads: list[str]) -> None:
    layer, _ = _make_new_layer()
    image = _add_image(fake, (layer, digest_of(b"another")))
    with pytest.raises(BrokenImageError, match="those that its configuration names"):
        images.prepare(image, 10)
    assert loads == []


@pytest.mark.parametrize(
    ("rootfs", "words"),
    [
        (None, "does not say"),
        ({"type": "layers"}, "does not say"),
        ({"diff_ids": [7]}, "does not say"),
        ({"diff_ids": []}, "has 1 layers, its configuration 0"),
    ],
)
def test_a_configuration_names_its_layers(fake: FakeRegistry, images: Images, rootfs: Any, words: str) -> None:
    with pytest.raises(BrokenImageError, match=words):
        images.prepare(fake.add_manifest(fake.make_manifest(rootfs=rootfs)), 10)


def _pack_plain(tar: bytes) -> bytes:
    return tar


@pytest.mark.parametrize("pack", [_pack_plain, gzip.compress, zstd.compress])
def test_any_engine_takes_any_packing(fake: FakeRegistry, images: Images, pack: Callable[[bytes], bytes]) -> None:
    tar = gzip.decompress(_make_new_layer()[0])
    image = _add_image(fake, (pack(tar), digest_of(tar)))
    try:
        images.prepare(image, 10)
        found = images.find(image)
        assert found is not None
        assert found["RootFS"]["Layers"] == [digest_of(tar)]
    finally:
        images.remove(image)


def test_a_layer_may_be_there_twice(fake: FakeRegistry, images: Images) -> None:
    one, two = _make_new_layer(), _make_new_layer()
    image = _add_image(fake, one, two, one)
    try:
        images.prepare(image, 10)
        found = images.find(image)
        assert found is not None
        assert found["RootFS"]["Layers"] == [one[1], two[1], one[1]]
    finally:
        images.remove(image)
    assert [_count_requests(fake, layer) for layer in (one, two)] == [1, 1]


def test_layers_that_the_engine_has_are_not_fetched_again(fake: FakeRegistry, images: Images) -> None:
    """As far as they begin an image that was pulled here; the same layer elsewhere is another to the engine."""
    base, middle, top = _make_new_layer(), _make_new_layer(), _make_new_layer()
    first, second = _add_image(fake, base, middle), _add_image(fake, base, top, middle)
    try:
        images.prepare(first, 10)
        images.prepare(second, 10)
        again = uses_containerd(images.engine.info())  # its store takes an image only whole
        assert [_count_requests(fake, layer) for layer in (base, middle, top)] == [1 + again, 2, 1]
    finally:
        images.remove(first)
        images.remove(second)


def test_layers_that_the_engine_has_lost_meanwhile_are_fetched(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removed the image that had them."""
    base, top = _make_new_layer(), _make_new_layer()
    first, second = _add_image(fake, base), _add_image(fake, base, top)
    images.prepare(first, 10)

    def remove_and_load(*arguments: Any) -> None:
        images.engine.remove_image(get_own_name(parse_reference(first).digest))
        load(*arguments)

    monkeypatch.setattr(pulls_module, "load", remove_and_load)
    try:
        images.prepare(second, 10)
        assert [_count_requests(fake, layer) for layer in (base, top)] == [2, 1]
    finally:
        images.remove(second)


def test_two_workers_share_what_one_of_them_pulled(fake: FakeRegistry, images: Images, tmp_path: Path) -> None:
    image = _add_image(fake, layer := _make_new_layer())
    other = Images(
        images.engine,
        Settings(allow_loopback=True, home=tmp_path / "other", free_reserve_mib=1),
        tmp_path,
        lambda: None,
    )
    try:
        assert other.prepare(image, 10) == images.prepare(image, 10)
        assert _count_requests(fake, layer) == 1
    finally:
        images.remove(image)


def test_an_image_is_no_other_than_the_one_that_was_judged(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = _add_image(fake, _make_new_layer()), _add_image(fake, _make_new_layer())
    images.prepare(other, 10)
    monkeypatch.setattr(pulls_module, "load", lambda *_: None)
    monkeypatch.setattr(pulls_module, "get_own_name", lambda _: get_own_name(parse_reference(other).digest))
    monkeypatch.setattr(Images, "_find", lambda *_: None)
    try:
        with pytest.raises(OwnFailureError, match="does not have it"):
            images.prepare(good, 10)
    finally:
        images.engine.remove_image(get_own_name(parse_reference(other).digest))


def test_nothing_is_left_of_a_pull(fake: FakeRegistry, images: Images, tmp_path: Path) -> None:
    good, evil = _add_image(fake, _make_new_layer()), _add_image(fake, (_make_new_layer()[0], digest_of(b"")))
    try:
        images.prepare(good, 10)
        with pytest.raises(BrokenImageError):
            images.prepare(evil, 10)
    finally:
        images.remove(good)
    assert list(tmp_path.glob("runs/*/*")) == []
    assert list(tmp_path.glob("images/*")) == []


def test_an_engine_with_containerds_store_is_told_what_each_layer_is_packed_with(tmp_path: Path) -> None:
    """OCI image layout 1.0: every blob under its own digest, and the name in an annotation."""
    packed, config = _make_new_layer()[0], b'{"c":1}'
    tar = gzip.decompress(packed)
    layers = {"+gzip": packed, "": tar, "+zstd": zstd.compress(tar)}
    for layer in layers.values():
        (tmp_path / digest_of(layer)).write_bytes(layer)
    digests = [*map(digest_of, layers.values()), digest_of(packed)]
    image = Image(
        name="learningchain.invalid/image:1", config=config, config_digest=digest_of(config), layers=digests,
        measured=dict.fromkeys(digests, Layer("", 0, 0)), files={digest: tmp_path / digest for digest in digests},
    )  # fmt: skip
    content = b"".join(make_archive(image, is_layout=True))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {info.name: read.read() for info in archive if (read := archive.extractfile(info)) is not None}
    index = json.loads(files.pop("index.json"))["manifests"][0]
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    manifest = files.pop(f"blobs/sha256/{index['digest'][7:]}")
    assert (index["digest"], index["size"]) == (digest_of(manifest), len(manifest))
    assert (index["digest"], digest_of(config)) == (get_id(image, is_layout=True), get_id(image, is_layout=False))
    assert index["annotations"] == {"io.containerd.image.name": image.name}
    assert json.loads(manifest)["mediaType"] == index["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert json.loads(manifest)["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config),
    }  # fmt: skip
    assert json.loads(manifest)["layers"] == [
        {"mediaType": f"application/vnd.oci.image.layer.v1.tar{end}", "digest": digest_of(layer), "size": len(layer)}
        for end, layer in [*layers.items(), ("+gzip", packed)]
    ]
    assert {f"blobs/sha256/{digest_of(blob)[7:]}": blob for blob in (config, *layers.values())} == files


def test_a_mirror_that_gives_no_layers_is_passed_over(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    image = _add_image(fake, layer := _make_new_layer())
    mirror = Server()
    mirror.registry.content = fake.content
    mirror.registry.rules[digest_of(layer[0])] = lambda _: (403, {}, b"")
    settings = Settings(
        allow_loopback=True, home=tmp_path, free_reserve_mib=1, mirrors={fake.host: (mirror.registry.host,)}
    )
    images = Images(engine, settings, tmp_path, lambda: None)
    try:
        images.prepare(image, 10)
        assert (_count_requests(mirror.registry, layer), _count_requests(fake, layer)) == (1, 1)
    finally:
        images.remove(image)
        mirror.stop()
