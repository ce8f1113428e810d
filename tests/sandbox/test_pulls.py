"""Pulling: within the disk and the time there is, and whose failure it is when it fails."""

import contextlib
import gzip
import io
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.fake_registry import FakeRegistry, Held, digest_of, make_layer
from worker.sandbox import BrokenImageError, DockerSandbox, NoSpaceError, OwnFailureError, RegistryError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import images as images_module
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


def test_images_used_longest_ago_make_room(fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was pulled here goes; the newest stays. With none left to go the disk is full."""
    old, new, third = (fake.add_manifest(fake.make_manifest(*make_layer(x=size))) for size in (10, 20, 30))
    for image in (new, old, new):  # the second use counts
        images.prepare(image, 10)
        time.sleep(0.02)
    room = [False, True, True]
    monkeypatch.setattr(images_module, "check_space", lambda *_: _require(room.pop(0) if room else True))
    try:
        images.prepare(third, 10)
        assert [images.find(image) is not None for image in (old, new, third)] == [False, True, True]
        monkeypatch.setattr(images_module, "check_space", lambda *_: _require(False))
        with pytest.raises(NoSpaceError):
            images.prepare(old, 10)
        assert [images.find(image) for image in (new, third)] == [None, None]
    finally:
        for image in (old, new, third):
            images.remove(image)


def test_an_image_that_unpacks_to_more_than_the_disk_holds_costs_no_other(
    fake: FakeRegistry, engine: Engine, tmp_path: Path
) -> None:
    """What its manifest declares has room."""
    good, evil = (fake.add_manifest(fake.make_manifest(*make_layer(x=size))) for size in (10, 64 << 20))
    with _small_disk(tmp_path / "root", "size=16m", is_filled=False) as root:
        images = Images(engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), root, lambda: None)
        images.prepare(good, 100)
        try:
            with pytest.raises(NoSpaceError, match="64 MiB are needed"):
                images.prepare(evil, 100)
            assert images.find(good) is not None
        finally:
            images.remove(good)


def test_an_image_in_use_makes_no_room_and_is_not_forgotten(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes once no container uses it any more."""
    used, free, third = (fake.add_manifest(fake.make_manifest(*make_layer(x=size))) for size in (40, 50, 60))
    used_id = images.prepare(used, 10)
    time.sleep(0.02)
    images.prepare(free, 10)
    container = images.engine.create(f"lc-test-{secrets.token_hex(8)}", {"Image": used_id, "Cmd": ["/x"]})
    room = [False, True]
    monkeypatch.setattr(images_module, "check_space", lambda *_: _require(room.pop(0) if room else True))
    try:
        images.prepare(third, 10)
        assert [images.find(image) is not None for image in (used, free, third)] == [True, False, True]
        images.engine.remove(container)
        room[:] = [False, True]
        images.prepare(free, 10)
        assert [images.find(image) is not None for image in (used, free, third)] == [False, True, True]
    finally:
        images.engine.remove(container)
        for image in (used, free, third):
            images.remove(image)


def test_an_image_that_the_engine_does_not_remove_is_no_failure_of_the_one_that_needs_room(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one goes in its place. With none left the disk is full, and the new image is not found broken."""
    stuck, free, third = (fake.add_manifest(fake.make_manifest(*make_layer(x=size))) for size in (70, 80, 90))
    for image in (stuck, free):
        images.prepare(image, 10)
        time.sleep(0.02)
    remove_image = Engine.remove_image

    def remove(engine: Engine, name: str) -> None:
        if name == get_own_name(parse_reference(stuck).digest):
            raise EngineRefusedError("the engine failed to remove an image: device or resource busy")
        remove_image(engine, name)

    room = [False, True, True]
    monkeypatch.setattr(images_module, "check_space", lambda *_: _require(room.pop(0) if room else True))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "remove_image", remove)
            images.prepare(third, 10)
            assert [images.find(image) is not None for image in (stuck, free, third)] == [True, False, True]
            room[:] = [True, *[False] * 9]
            with pytest.raises(NoSpaceError):
                images.prepare(free, 10)
    finally:
        for image in (stuck, free, third):
            images.remove(image)


def test_no_image_goes_when_all_of_them_were_too_few(fake: FakeRegistry, images: Images, tmp_path: Path) -> None:
    good = fake.add_manifest(fake.make_manifest())
    images.prepare(good, 10)
    full = Images(
        images.engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1 << 40), tmp_path, lambda: None
    )
    try:
        with pytest.raises(NoSpaceError):
            full.prepare(fake.add_manifest(fake.make_manifest(*make_layer(x=20))), 10)
        assert images.find(good) is not None
    finally:
        images.remove(good)


@pytest.mark.parametrize("content", [b"", b"\xff", b"no image"])
def test_a_damaged_record_is_none(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    """A full disk or a power cut may have left it; it says nothing about the image that needs room."""
    record = tmp_path / "images" / ("c" * 64)
    record.parent.mkdir()
    record.write_bytes(content)
    room = [False, True, True]
    monkeypatch.setattr(images_module, "check_space", lambda *_: _require(room.pop(0) if room else True))
    image = fake.add_manifest(fake.make_manifest())
    try:
        images.prepare(image, 10)
        assert not record.exists()
    finally:
        images.remove(image)


def test_a_record_that_cannot_be_written_is_an_own_failure_and_leaves_nothing(
    fake: FakeRegistry, images: Images, tmp_path: Path
) -> None:
    image = fake.add_manifest(fake.make_manifest())
    with _small_disk(tmp_path / "images", "size=64k", is_filled=True) as folder:
        with pytest.raises(OwnFailureError, match="cannot be written"):
            images.prepare(image, 10)
        assert [path.name for path in folder.iterdir()] == ["filled"]
    assert images.find(image) is None


@contextlib.contextmanager
def _small_disk(folder: Path, options: str, *, is_filled: bool) -> Iterator[Path]:
    """Have a disk in a folder inside the block, without a free byte if `is_filled`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        if is_filled:
            with (folder / "filled").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


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


def _require(is_room: bool) -> None:
    if not is_room:
        raise NoSpaceError("the reserve is reached")


def test_no_pull_starts_without_room(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    images = Images(
        engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1 << 40), tmp_path, lambda: None
    )
    with pytest.raises(NoSpaceError, match="in reserve"):
        images.prepare(fake.add_manifest(fake.make_manifest()), 10)


def test_a_disk_that_can_hold_few_more_files_is_full(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    """A small image of empty files would take all of them, and nothing else on this machine could be written."""
    image = fake.add_manifest(fake.make_manifest())
    with _small_disk(tmp_path / "root", "size=64m,nr_inodes=100", is_filled=False) as root:
        images = Images(engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), root, lambda: None)
        try:
            images.prepare(image, 10)
            images.remove(image)
            for number in range(95):
                (root / str(number)).touch()
            with pytest.raises(NoSpaceError, match="more files"):
                images.prepare(image, 10)
        finally:
            images.remove(image)


def test_an_image_of_more_files_than_the_disk_can_hold_costs_no_other(
    fake: FakeRegistry, engine: Engine, tmp_path: Path
) -> None:
    many = make_layer(**{f"{secrets.token_hex(8)}{number}": 0 for number in range(200)})
    good, evil = fake.add_manifest(fake.make_manifest()), fake.add_manifest(fake.make_manifest(*many))
    with _small_disk(tmp_path / "root", "size=64m,nr_inodes=100", is_filled=False) as root:
        images = Images(engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), root, lambda: None)
        images.prepare(good, 10)
        try:
            with pytest.raises(NoSpaceError, match="200 are needed"):
                images.prepare(evil, 10)
            assert images.find(good) is not None
        finally:
            images.remove(good)


def test_an_image_whose_files_find_room_once_others_went(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    first, second = (
        fake.add_manifest(fake.make_manifest(*make_layer(**{f"{secrets.token_hex(8)}{n}": 0 for n in range(60)})))
        for _ in range(2)
    )
    with _small_disk(tmp_path / "root", "size=64m,nr_inodes=100", is_filled=False) as root:
        images = Images(engine, Settings(allow_loopback=True, home=tmp_path, free_reserve_mib=1), root, lambda: None)
        taken = [root / str(number) for number in range(60)]
        try:
            images.prepare(first, 10)
            for path in taken:  # the engine's own disk is another one: what it unpacks takes none of these
                path.touch()
            with pytest.raises(NoSpaceError, match="60 are needed"):
                images.prepare(second, 10)
            assert images.find(first) is None
        finally:
            images.remove(first)
            images.remove(second)


def test_an_image_is_pulled_from_a_real_registry(sandbox: DockerSandbox, hostile: str) -> None:
    sandbox.remove_image(hostile)
    engine = sandbox.host.engine
    for tag in (hostile.partition("@")[0] + ":1", hostile):
        engine.remove_image(tag)
    own = get_own_name(parse_reference(hostile).digest)
    assert [engine.image(name) for name in (hostile, own)] == [None, None]
    sandbox.prepare(hostile, 1024)
    assert engine.image(own) is not None
