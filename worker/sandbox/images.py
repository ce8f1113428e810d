"""Images: judged by manifest and configuration, then pulled by digest, without filling the disk.

They stay for the next job. Where a pull finds no room, those that were pulled here and not used for longest go first.
"""

import contextlib
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from worker.sandbox.contract import CONFIG_BYTES, Manifest, check_config, check_manifest, check_pulled, check_size
from worker.sandbox.engine import Engine, Json
from worker.sandbox.pulls import pull
from worker.sandbox.reference import Reference, is_loopback, parse_reference
from worker.sandbox.registry import Registry
from worker.sandbox.storage import check_space
from worker.sandbox.types import (
    MIB,
    BrokenImageError,
    NoSpaceError,
    OwnFailureError,
    RegistryError,
    SandboxSettings,
)


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
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # a slow registry holds up its own

    def prepare(self, image: str, image_mib: int) -> str:
        """Return the engine's id of `image`, pulled and within the contract. Raises BrokenImageError.

        Raises OwnFailureError when registry, engine or disk failed.
        """
        reference = parse_reference(image)
        with self._locks[reference.digest]:
            manifest = self._judge(reference)
            check_size(reference, manifest, image_mib)
            found = self._find(reference) or self._pull(reference, manifest)
            check_pulled(reference, found)
            with contextlib.suppress(FileNotFoundError):  # what somebody else pulled is not ours to remove
                os.utime(self._get_record(reference))
            return str(found["Id"])

    def remove(self, image: str) -> None:
        """Remove an image under all its names."""
        reference = parse_reference(image)
        for source in self._get_sources(reference):
            self.engine.remove_image(str(source))
        self._get_record(reference).unlink(missing_ok=True)

    def _get_record(self, reference: Reference) -> Path:
        return self._pulled / reference.digest.removeprefix("sha256:")

    def _evict(self) -> bool:
        """Remove the image that was pulled here and not used for longest; False if there is none."""
        with self._evicting:
            records = sorted(self._pulled.glob("*"), key=lambda path: path.stat().st_mtime)
            if records:
                self.remove(records[0].read_text(encoding="ascii"))
            return bool(records)

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

    def _judge(self, reference: Reference) -> Manifest:
        """Return the manifest, after manifest and configuration were found good. What was fetched once is kept."""
        content = self._load(reference.digest) or self._fetch(reference, reference.digest)
        manifest = check_manifest(reference, content)
        config = self._load(manifest.config_digest) or self._fetch(reference, manifest.config_digest)
        check_config(reference, config)
        return manifest

    def _fetch(self, reference: Reference, digest: str) -> bytes:
        """Return manifest or configuration from the first source that has it; the named registry's word is last."""
        *mirrors, named = self._get_sources(reference)
        for source in mirrors:
            try:
                return self._fetch_from(source, digest)
            except (BrokenImageError, RegistryError):
                continue  # a mirror that lacks or garbles it says nothing about the image
        return self._fetch_from(named, digest)

    def _fetch_from(self, source: Reference, digest: str) -> bytes:
        is_plain = is_loopback(source.host) or source.host in self._settings.plain_http_registries
        with Registry(source, is_plain=is_plain) as registry:
            is_manifest = digest == source.digest
            content = registry.get_manifest() if is_manifest else registry.get_blob(digest, CONFIG_BYTES)
        self._save(digest, content)
        return content

    def _pull(self, reference: Reference, manifest: Manifest) -> Json:
        while True:
            try:
                found = self._pull_from_any(reference, manifest)
            except NoSpaceError:
                if not self._evict():
                    raise
            else:
                self._pulled.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._get_record(reference).write_text(str(reference), encoding="ascii")
                return found

    def _pull_from_any(self, reference: Reference, manifest: Manifest) -> Json:
        check_space(self._root, manifest.size, self._reserve)
        *mirrors, named = self._get_sources(reference)
        for source in mirrors:
            try:
                return self._pull_from(source)
            except (BrokenImageError, OwnFailureError):
                check_space(self._root, manifest.size, self._reserve)
        return self._pull_from(named)

    def _pull_from(self, source: Reference) -> Json:
        pull(self.engine, source, self._settings.pull_seconds, self._check_pull)
        found = self.engine.image(str(source))
        if found is None:
            raise OwnFailureError(f"the engine pulled {source} and does not have it")
        return found

    def _check_pull(self) -> None:
        self._check_open()
        check_space(self._root, 0, self._reserve)

    @property
    def _reserve(self) -> int:
        return self._settings.free_reserve_mib * MIB

    def _load(self, digest: str) -> bytes | None:
        """Return content that was kept, if it still has its digest."""
        try:
            content = (self._folder / digest.removeprefix("sha256:")).read_bytes()
        except FileNotFoundError:
            return None
        return content if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest else None

    def _save(self, digest: str, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / digest.removeprefix("sha256:")
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(content)
        part.replace(path)
