"""Images: judged by manifest and configuration, then pulled by digest, without filling the disk.

They stay for the next job. Where the disk has no room for what a manifest declares, those that were pulled here and not
used for longest go first.
"""

import contextlib
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from worker.sandbox.apart import LOOK_SECONDS
from worker.sandbox.contract import CONFIG_BYTES, Manifest, check_config, check_manifest, check_pulled, check_size
from worker.sandbox.engine import Engine, Json
from worker.sandbox.pulls import pull
from worker.sandbox.reference import Reference, is_loopback, parse_reference
from worker.sandbox.registry import Registry
from worker.sandbox.storage import check_space
from worker.sandbox.types import (
    MIB,
    BrokenImageError,
    EngineRefusedError,
    NoSpaceError,
    OwnFailureError,
    RegistryError,
    SandboxSettings,
)
from worker.sandbox.volumes import check_layers

log = structlog.get_logger()

UNPACKED_FACTOR = 4
"""Bytes on the disk for each byte that a manifest declares: the layer as it came, and thrice that unpacked."""

KEPT_BYTES = 256 * MIB
"""Of manifests and configurations, which anybody with a job can make 5 MiB large; those used longest ago go first."""

_Check = Callable[[], None]


class Images:
    """The engine's images, as far as the sandbox uses them."""

    def __init__(self, engine: Engine, settings: SandboxSettings, root: Path, check_open: Callable[[], None]) -> None:
        """`root` is a folder on the disk that holds the engine's images; `check_open` raises once pulls must end."""
        self.engine = engine
        self._settings = settings
        self._root = root
        self._check_open = check_open
        self._evicting = threading.Lock()
        self._folder = settings.home / "manifests"
        self._pulled = settings.home / "images"  # a file for each: name digest, time last use
        # By name, not by digest alone: a slow registry holds up its own images, not those that lie elsewhere too.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(self, image: str, image_mib: int, given_up: threading.Event | None = None) -> str:
        """Return the engine's id of `image`, pulled and within the contract. Raises BrokenImageError.

        Raises OwnFailureError when registry, engine or disk failed, and soon after `given_up` is set.
        """
        reference = parse_reference(image)

        def check() -> None:
            self._check_open()
            if given_up is not None and given_up.is_set():
                raise OwnFailureError(f"nobody waits for {reference} any more")

        with self._locked(reference, check):
            manifest = self._judge(reference, check)
            check_size(reference, manifest, image_mib)
            found = self._find(reference) or self._pull(reference, manifest, check)
            check_pulled(reference, found)
            with contextlib.suppress(FileNotFoundError):  # what somebody else pulled is not ours to remove
                os.utime(self._get_record(reference))
            return str(found["Id"])

    def remove(self, image: str) -> bool:
        """Remove an image under all its names; False if a container uses it: its record stays as well."""
        reference = parse_reference(image)
        for source in self._get_sources(reference):
            self.engine.remove_image(str(source))
        is_gone = self._find(reference) is None
        if is_gone:
            self._get_record(reference).unlink(missing_ok=True)
        return is_gone

    @contextlib.contextmanager
    def _locked(self, reference: Reference, check: _Check) -> Iterator[None]:
        """Let one thread at a time prepare an image; `check` goes on while others have it."""
        lock = self._locks[str(reference)]
        while not lock.acquire(timeout=LOOK_SECONDS):
            check()
        try:
            yield
        finally:
            lock.release()

    def _get_record(self, reference: Reference) -> Path:
        return self._pulled / reference.digest.removeprefix("sha256:")

    def _list_records(self) -> list[Path]:
        """Return a file for each image that was pulled here, the one not used for longest first."""
        return list(_list_by_use(self._pulled))

    def _prune(self) -> None:
        """Forget manifests and configurations beyond KEPT_BYTES; they are fetched again if they are needed again."""
        kept = _list_by_use(self._folder)
        total = sum(kept.values())
        for path, size in kept.items():
            if total <= KEPT_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _evict(self) -> bool:
        """Remove the image that was pulled here and not used for longest; False if there is none to be removed."""
        with self._evicting:
            for record in self._list_records():
                name = _read_name(record)
                if not name:
                    record.unlink(missing_ok=True)
                elif self.remove(name):
                    return True
        return False

    def _make_room(self, size: int) -> None:
        """Remove images until a pull of `size` declared bytes has room; none if all of them were too few.

        None goes for what a pull turns out to need beyond that: a small image that unpacks to much would cost them all.
        """
        if _get_free(self._root) + self._get_removable() < size + self._reserve:
            return check_space(self._root, size, self._reserve)
        while True:
            try:
                return check_space(self._root, UNPACKED_FACTOR * size, self._reserve)
            except NoSpaceError:
                if not self._evict():
                    return None  # a pull may do with less

    def _get_removable(self) -> int:
        """Return the bytes of all images that were pulled here; layers that several share count for each."""
        names = filter(None, map(_read_name, self._list_records()))
        found = [self.engine.image(name) for name in names]
        return sum(int(image["Size"]) for image in found if image is not None)

    def _get_sources(self, reference: Reference) -> list[Reference]:
        """Return where the image may come from, mirrors first."""
        mirrors = self._settings.mirrors.get(reference.host, ())
        return [*(reference.at(host) for host in mirrors), reference]

    def _find(self, reference: Reference) -> Json | None:
        for source in self._get_sources(reference):
            found = self.engine.image(str(source))
            if found is not None:
                return found
        return None

    def _judge(self, reference: Reference, check: _Check) -> Manifest:
        """Return the manifest, after manifest and configuration were found good. What was fetched once is kept."""
        content = self._load(reference.digest) or self._fetch(reference, reference.digest, check)
        manifest = check_manifest(reference, content)
        config = self._load(manifest.config_digest) or self._fetch(reference, manifest.config_digest, check)
        check_config(reference, config)
        return manifest

    def _fetch(self, reference: Reference, digest: str, check: _Check) -> bytes:
        """Return manifest or configuration from the first source that has it; the named registry's word is last."""
        *mirrors, named = self._get_sources(reference)
        for source in mirrors:
            try:
                return self._fetch_from(source, digest, check)
            except (BrokenImageError, RegistryError):
                continue  # a mirror that lacks or garbles it says nothing about the image
        return self._fetch_from(named, digest, check)

    def _fetch_from(self, source: Reference, digest: str, check: _Check) -> bytes:
        is_plain = is_loopback(source.host) or source.host in self._settings.plain_http_registries
        with Registry(source, is_plain=is_plain) as registry:
            is_manifest = digest == source.digest
            content = registry.get_manifest(check) if is_manifest else registry.get_blob(digest, CONFIG_BYTES, check)
        _write(self._folder / digest.removeprefix("sha256:"), content)
        self._prune()
        return content

    def _pull(self, reference: Reference, manifest: Manifest, check: _Check) -> Json:
        self._make_room(manifest.size)
        found = self._pull_from_any(reference, manifest, check)
        try:
            _write(self._get_record(reference), str(reference).encode("ascii"))
        except OwnFailureError:
            self.remove(str(reference))  # without a record it would never make room
            raise
        return found

    def _pull_from_any(self, reference: Reference, manifest: Manifest, check: _Check) -> Json:
        check_space(self._root, manifest.size, self._reserve)
        *mirrors, named = self._get_sources(reference)
        for source in mirrors:
            try:
                return self._pull_from(source, manifest, check)
            except (BrokenImageError, OwnFailureError):
                check_space(self._root, manifest.size, self._reserve)
        return self._pull_from(named, manifest, check)

    def _pull_from(self, source: Reference, manifest: Manifest, check: _Check) -> Json:
        try:
            self._pull_layers(source, manifest, check)
        except BrokenImageError:
            self.engine.remove_image(str(source))  # the engine may have been done: it would be found the next time
            raise
        found = self.engine.image(str(source))
        if found is None:
            raise OwnFailureError(f"the engine pulled {source} and does not have it")
        return found

    def _pull_layers(self, source: Reference, manifest: Manifest, check: _Check) -> None:
        """Pull. Layers that the engine cannot unpack twice, while it can unpack one of our own, are broken."""

        def check_all() -> None:
            check()
            check_space(self._root, 0, self._reserve)

        for is_last in (False, True):
            try:
                return pull(self.engine, source, manifest.layers, self._settings.pull_seconds, check_all)
            except EngineRefusedError as error:
                check_all()
                check_layers(self.engine)
                if is_last:
                    raise BrokenImageError(f"{source} cannot be unpacked: {error}") from error
        return None

    @property
    def _reserve(self) -> int:
        return self._settings.free_reserve_mib * MIB

    def _load(self, digest: str) -> bytes | None:
        """Return content that was kept, if it still has its digest."""
        path = self._folder / digest.removeprefix("sha256:")
        try:
            content = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        return content if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest else None


def _get_free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _list_by_use(folder: Path) -> dict[Path, int]:
    """Return the files that are named by a digest with their sizes, the one not used for longest first."""
    found: list[tuple[float, Path, int]] = []
    for path in folder.glob("[0-9a-f]" * 64):
        with contextlib.suppress(FileNotFoundError):  # another thread removed it
            status = path.stat()
            found.append((status.st_mtime, path, status.st_size))
    return {path: size for _, path, size in sorted(found)}


def _read_name(record: Path) -> str:
    """Return the image of a record; empty for one that is damaged, which counts as none."""
    try:
        return str(parse_reference(record.read_text(encoding="ascii")))
    except (OSError, UnicodeDecodeError, BrokenImageError) as error:
        log.warning("image_record_damaged", record=record.name, reason=str(error))
        return ""


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever breaks meanwhile. Raises OwnFailureError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error says what is wrong
            part.unlink()
        raise OwnFailureError(f"{path} cannot be written: {error.strerror}") from error
