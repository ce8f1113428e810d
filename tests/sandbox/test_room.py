"""Room for images: which of those that were pulled here go for another, and when none does."""

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.fake_registry import FakeRegistry, make_layer
from worker.sandbox import NoSpaceError, OwnFailureError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import images as images_module
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images
from worker.sandbox.pulls import get_own_name
from worker.sandbox.reference import parse_reference
from worker.sandbox.types import EngineRefusedError


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


def test_others_go_for_an_image_whose_files_may_find_room_then(
    fake: FakeRegistry, engine: Engine, tmp_path: Path
) -> None:
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
