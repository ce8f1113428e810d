"""Images: judged by manifest and configuration, then pulled by digest, without filling the disk.

They stay for the next job. Where the disk has no room for what a new one unpacks to, those pulled here and not used for
longest go first.
"""

import contextlib
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from abci_app.protocol.limits import MIB
from worker.sandbox.apart import LOOK_SECONDS
from worker.sandbox.contract import CONFIG_BYTES, check_config, check_manifest, check_pulled, check_size
from worker.sandbox.engine import Engine, Json
from worker.sandbox.kept import IMAGES, MANIFESTS, get_path, list_by_use, load, write
from worker.sandbox.pulls import Judged, Puller, get_own_name
from worker.sandbox.reference import Reference, parse_reference
from worker.sandbox.registry import open_registry
from worker.sandbox.storage import check_space, has_space
from worker.sandbox.types import (
    BrokenImageError,
    EngineRefusedError,
    NoSpaceError,
    OwnFailureError,
    RegistryError,
    SandboxSettings,
    Step,
)

log = structlog.get_logger()

KEPT_BYTES = 256 * MIB
"""Of manifests and configurations, which anybody with a job can make 5 MiB large; those used longest ago go first."""

_Check = Callable[[], None]


class Images:
    """The engine's images, as far as the sandbox uses them."""

    def __init__(
        self,
        engine: Engine,
        settings: SandboxSettings,
        root: Path,
        check_open: Callable[[], None],
        on_layer: Callable[[Step], None] | None = None,
    ) -> None:
        """`root` is a folder on the disk that holds the engine's images; `check_open` raises once pulls must end.

        `on_layer` is told of each layer before and while it is fetched.
        """
        self.engine = engine
        self._settings = settings
        self._root = root
        self._check_open = check_open
        self._puller = Puller(engine, settings, root, self._make_room, self._record, on_layer)
        self._records = threading.Lock()  # so that none goes between a look for its image and the end of a pull
        self._folder = settings.home / MANIFESTS
        self._pulled = settings.home / IMAGES  # a file for each: name digest, time last use
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
            judged = self._judge(reference, check)
            check_size(reference, judged.manifest, image_mib)
            self._puller.check_known(judged, image_mib)
            found = self._find(reference) or self._pull(judged, image_mib, check)
            check_pulled(reference, found)
            with contextlib.suppress(FileNotFoundError):  # what somebody else pulled is not ours to remove
                os.utime(self._get_record(reference))
            return str(found["Id"])

    def find(self, image: str) -> Json | None:
        """Return an image that the engine has, None when it has not."""
        return self._find(parse_reference(image))

    def remove(self, image: str) -> bool:
        """Remove an image under all its names; False if a container uses it: its record stays as well."""
        with self._records:
            return self._remove(parse_reference(image))

    def _remove(self, reference: Reference) -> bool:
        for name in self._get_names(reference):
            self.engine.remove_image(name)
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
        return get_path(self._pulled, reference.digest)

    def _record(self, reference: Reference, files: int) -> None:
        """Note that an image is pulled here, which therefore makes room later. Raises OwnFailureError."""
        with self._records:
            write(self._pulled, reference.digest, f"{reference} {files}".encode("ascii"))

    def _forget_missing(self, reference: Reference) -> None:
        """Drop the record of an image that the engine did not take, unless it was pulled under another name."""
        with self._records:
            if self.engine.image(get_own_name(reference.digest)) is None:
                self._get_record(reference).unlink(missing_ok=True)

    def _list_records(self) -> list[Path]:
        """Return a file for each image that was pulled here, the one not used for longest first."""
        return list(list_by_use(self._pulled))

    def _prune(self) -> None:
        """Forget manifests and configurations beyond KEPT_BYTES; they are fetched again if they are needed again."""
        kept = list_by_use(self._folder)
        total = sum(kept.values())
        for path, size in kept.items():
            if total <= KEPT_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _evict(self) -> bool:
        """Remove what was pulled here and not used for longest, or a damaged record; False if there is none."""
        with self._records:
            for record in self._list_records():
                name, _ = _read_record(record)
                if not name:
                    record.unlink(missing_ok=True)
                    return True
                try:
                    if self._remove(parse_reference(name)):
                        return True
                except EngineRefusedError as error:  # another may go: what is wrong with this one is not the next one's
                    log.warning("image_not_removed", image=name, reason=str(error))
        return False

    def _make_room(self, needed: int, files: int) -> None:
        """Remove images until the engine's disk has room; none if all of them were too few. Raises NoSpaceError."""
        size, freed = self._get_removable()
        if not has_space(self._root, needed - size, self._reserve, files - freed):
            return check_space(self._root, needed, self._reserve, files)
        while True:
            try:
                return check_space(self._root, needed, self._reserve, files)
            except NoSpaceError:
                if not self._evict():
                    raise

    def _get_removable(self) -> tuple[int, int]:
        """Return bytes and files of all images that were pulled here; layers that several share count for each."""
        records = [(name, files) for name, files in map(_read_record, self._list_records()) if name]
        found = [(image, files) for name, files in records if (image := self.find(name)) is not None]
        return sum(int(image["Size"]) for image, _ in found), sum(files for _, files in found)

    def _get_sources(self, reference: Reference) -> list[Reference]:
        """Return where the image may come from, mirrors first."""
        mirrors = self._settings.mirrors.get(reference.host, ())
        return [*(reference.at(host) for host in mirrors), reference]

    def _find(self, reference: Reference) -> Json | None:
        found = (self.engine.image(name) for name in self._get_names(reference))
        return next((image for image in found if image is not None), None)

    def _get_names(self, reference: Reference) -> list[str]:
        """Return the names that the image may have on the engine: ours, and those of a pull by somebody else."""
        return [get_own_name(reference.digest), *map(str, self._get_sources(reference))]

    def _judge(self, reference: Reference, check: _Check) -> Judged:
        """Return manifest and configuration, after both were found good. What was fetched once is kept."""
        content = self._load(reference.digest) or self._fetch(reference, reference.digest, check)
        manifest = check_manifest(reference, content)
        config = self._load(manifest.config_digest) or self._fetch(reference, manifest.config_digest, check)
        return Judged(reference, manifest, config, check_config(reference, config))

    def _load(self, digest: str) -> bytes | None:
        """Return content that was kept, if it still has its digest."""
        content = load(self._folder, digest)
        return content if content and f"sha256:{hashlib.sha256(content).hexdigest()}" == digest else None

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
        with open_registry(source, self._settings) as registry:
            is_manifest = digest == source.digest
            content = registry.get_manifest(check) if is_manifest else registry.get_blob(digest, CONFIG_BYTES, check)
        write(self._folder, digest, content)
        self._prune()
        return content

    def _pull(self, judged: Judged, image_mib: int, check: _Check) -> Json:
        try:
            return self._pull_from_any(judged, image_mib, check)
        except BrokenImageError:
            self._forget_missing(judged.reference)
            raise

    def _pull_from_any(self, judged: Judged, image_mib: int, check: _Check) -> Json:
        *mirrors, named = self._get_sources(judged.reference)
        for source in mirrors:
            try:
                return self._puller.pull(source, judged, image_mib, check)
            except RegistryError:
                continue
        return self._puller.pull(named, judged, image_mib, check)

    @property
    def _reserve(self) -> int:
        return self._settings.free_reserve_mib * MIB


def _read_record(record: Path) -> tuple[str, int]:
    """Return the image of a record and the files that it holds; no image for one that is damaged."""
    try:
        name, _, files = record.read_text(encoding="ascii").partition(" ")
        return str(parse_reference(name)), int(files or 0)
    except (OSError, ValueError, BrokenImageError) as error:
        log.warning("image_record_damaged", record=record.name, reason=str(error))
        return "", 0
