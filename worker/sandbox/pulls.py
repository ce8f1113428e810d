"""Pulls: layers are fetched and measured one by one, and the engine gets them once the whole image is known to fit."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from abci_app.protocol.limits import MIB
from worker.sandbox.apart import LOOK_SECONDS
from worker.sandbox.archive import Image, get_id, get_size, make_archive
from worker.sandbox.contract import Manifest, check_unpacked
from worker.sandbox.engine import Engine, Json, uses_containerd
from worker.sandbox.fetch import fetch_layer
from worker.sandbox.folders import count_common
from worker.sandbox.host import RUNS
from worker.sandbox.kept import IMAGES, LAYERS, list_by_use
from worker.sandbox.layers import MAX_ENTRIES, Counts, Layer, measure_layer
from worker.sandbox.loading import load
from worker.sandbox.processes import get_process_name
from worker.sandbox.reference import Reference
from worker.sandbox.registry import Registry, open_registry
from worker.sandbox.storage import check_space, disk_failures
from worker.sandbox.types import (
    BrokenImageError,
    EngineRefusedError,
    OwnFailureError,
    RegistryError,
    SandboxSettings,
    Step,
)
from worker.sandbox.unpack import LayerError
from worker.sandbox.volumes import check_layers

log = structlog.get_logger()

OWN_REPOSITORY: Final = "learningchain.invalid/image"
"""Where images get their names on the engine: no registry can have this host, so nothing else is ever pulled as one."""

LOG_SECONDS: Final = 30.0
"""Between two lines of the log about a layer that is on its way."""

_Check = Callable[[], None]
_Listener = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """An image whose manifest and configuration keep the contract."""

    reference: Reference
    manifest: Manifest
    config: bytes
    diff_ids: tuple[str, ...]


@dataclass(slots=True)
class _Pull:
    """What is known and here of an image on its way."""

    source: Reference
    judged: Judged
    image_mib: int
    folder: Path
    deadline: float  # monotonic, for all layers to be here and measured
    measured: dict[str, Layer]  # by digest
    files: dict[str, Path] = field(default_factory=dict)


def get_own_name(digest: str) -> str:
    """Return the name that an image has on the engine once it was pulled."""
    return f"{OWN_REPOSITORY}:{digest.removeprefix('sha256:')}"


class Puller:
    """Brings images to the engine."""

    def __init__(
        self,
        engine: Engine,
        settings: SandboxSettings,
        root: Path,
        make_room: Callable[[int, int], None],
        record: Callable[[Reference, int], None],
        on_layer: _Listener | None = None,
    ) -> None:
        """`make_room` gets bytes and files for which there is to be room in `root`, or raises NoSpaceError.

        `record` is told of an image and the files in it when the engine gets it, `on_layer` of each layer before and
        while it is fetched.
        """
        self._engine = engine
        self._settings = settings
        self._root = root
        self._make_room = make_room
        self._record = record
        self._on_layer = on_layer
        self._counts = Counts(settings.home / LAYERS)
        self._scratch = settings.home / RUNS / get_process_name()
        self._loading = threading.Lock()  # one at a time: what each needs is compared with all that is free

    def check_known(self, judged: Judged, image_mib: int) -> None:
        """Raise BrokenImageError for an image that is too large by what is known of its layers."""
        check_unpacked(judged.reference, judged.manifest, judged.diff_ids, self._get_known(judged), image_mib)

    def pull(self, source: Reference, judged: Judged, image_mib: int, check: _Check) -> Json:
        """Bring an image to the engine, under our own name, and return what the engine says of it.

        `check` may end it by raising OwnFailureError. Raises BrokenImageError when it cannot be unpacked or
        not within the limits, RegistryError when its layers are not here in time, OwnFailureError for everything else.
        """
        deadline = time.monotonic() + self._settings.pull_seconds
        with disk_failures(self._scratch), self._make_folder() as folder:
            pull = _Pull(source, judged, image_mib, Path(folder), deadline, self._get_known(judged))
            started = time.monotonic()
            found = self._pull_layers(pull, check)
            log.info("image_pulled", image=str(judged.reference), seconds=round(time.monotonic() - started, 1))
        return found

    def _pull_layers(self, pull: _Pull, check: _Check) -> Json:
        """Pull. What the engine does not take twice, while it takes a layer of our own, is broken."""
        for is_last in (False, True):
            is_layout = uses_containerd(self._engine.info())
            here = 0 if is_last or is_layout else self._count_layers_here(pull.judged.diff_ids)
            self._fetch(pull, here, check)
            image = _make_image(pull)
            refusal = self._load(pull, image, here, check, is_layout=is_layout)
            if refusal is None:
                return self._get_taken(pull.judged.reference, image, is_layout=is_layout)
            check()
            check_layers(self._engine)
        raise BrokenImageError(f"{pull.judged.reference} cannot be unpacked: {refusal}") from refusal

    def _fetch(self, pull: _Pull, here: int, check: _Check) -> None:
        """Fetch and measure what is missing; the first `here` layers are on the engine already."""
        layers = pull.judged.manifest.layers
        known = {digest for digest, _ in layers[:here] if digest in pull.measured}
        wanted = {digest: size for digest, size in layers if digest not in known | pull.files.keys()}
        wanted |= {digest: size for digest, size in layers[here:] if digest not in pull.files}
        self._make_scratch_room(sum(wanted.values()))
        with open_registry(pull.source, self._settings) as registry:
            for number, (digest, size) in enumerate(wanted.items(), 1):
                step = Step(f"fetching layer {number} of {len(wanted)}, {size / MIB:.1f} MiB", 0, size)
                self._fetch_one(pull, registry, digest, _Report(digest, step, self._on_layer), check)
                log.info("layer_fetched", digest=digest, mib=round(size / MIB, 1), number=number, of=len(wanted))

    def _fetch_one(self, pull: _Pull, registry: Registry, digest: str, report: "_Report", check: _Check) -> None:
        def check_all(here: int) -> None:
            check()
            check_space(self._scratch, 0, self._reserve)
            report.tell(here)

        size = report.step.size
        path = pull.folder / digest.removeprefix("sha256:")
        fetch_layer(registry, digest, size, path, self._get_left(pull), check_all)
        report.tell(size)
        pull.files[digest] = path
        if digest not in pull.measured:
            pull.measured[digest] = self._measure(pull, path, check)
            self._counts.keep(digest, pull.measured[digest])
        judged = pull.judged
        check_unpacked(judged.reference, judged.manifest, judged.diff_ids, pull.measured, pull.image_mib)

    def _get_left(self, pull: _Pull) -> float:
        """Return the seconds that are left for the layers. Raises RegistryError when there are none."""
        left = pull.deadline - time.monotonic()
        if left <= 0:
            raise RegistryError(f"the layers were not all here and counted within {self._settings.pull_seconds} s")
        return left

    def _measure(self, pull: _Pull, path: Path, check: _Check) -> Layer:
        def check_all() -> None:
            check()
            self._get_left(pull)  # a layer may be made to unpack slowly

        try:
            with path.open("rb") as file:
                return measure_layer(file, pull.image_mib * MIB, MAX_ENTRIES, check_all)
        except LayerError as error:
            raise BrokenImageError(f"{pull.judged.reference}: {error}") from error

    def _load(
        self, pull: _Pull, image: Image, here: int, check: _Check, *, is_layout: bool
    ) -> EngineRefusedError | None:
        """Give the engine what was fetched; return why it does not take it."""

        def check_all() -> None:
            check()
            check_space(self._root, 0, self._reserve)

        reference = pull.judged.reference
        new = [pull.measured[digest] for digest in image.layers[here:]]
        with self._load_alone(check):
            needed = get_size(image) + sum(layer.disk_bytes for layer in new)
            self._make_room(needed, sum(layer.entries for layer in new))
            files = sum(pull.measured[digest].entries for digest in image.layers)
            self._record(reference, files)  # an engine that is cut off here may have the image a moment later
            try:
                load(self._engine, make_archive(image, is_layout=is_layout), self._settings.pull_seconds, check_all)
            except OwnFailureError as error:
                if is_layout:  # containerd's store keeps what it cannot unpack
                    with contextlib.suppress(OwnFailureError):  # the first failure says what is wrong
                        self._engine.remove_image(image.name)
                if isinstance(error, EngineRefusedError):
                    return error
                raise
            self._record(reference, files)  # meanwhile another that needed room may have forgotten it
        return None

    def _get_taken(self, reference: Reference, image: Image, *, is_layout: bool) -> Json:
        """Return what the engine says of an image that it took."""
        found = self._engine.image(image.name)
        if found is None or found["Id"] != get_id(image, is_layout=is_layout):
            raise OwnFailureError(f"the engine took {reference} and does not have it")
        return found

    def _make_folder(self) -> tempfile.TemporaryDirectory[str]:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self._scratch, prefix="pull-")

    @contextlib.contextmanager
    def _load_alone(self, check: _Check) -> Iterator[None]:
        while not self._loading.acquire(timeout=LOOK_SECONDS):
            check()
        try:
            yield
        finally:
            self._loading.release()

    def _make_scratch_room(self, needed: int) -> None:
        """Have room for layers on their way; where the engine's images lie on the same disk, some may go for it."""
        if self._scratch.stat().st_dev == self._root.stat().st_dev:
            self._make_room(needed, 0)
        check_space(self._scratch, needed, self._reserve)

    def _count_layers_here(self, diff_ids: tuple[str, ...]) -> int:
        """Return how many of the first layers the engine has, in images that were pulled here."""
        names = [get_own_name(path.name) for path in list_by_use(self._settings.home / IMAGES)]
        found = [image for image in map(self._engine.image, names) if image is not None]
        chains = [image["RootFS"].get("Layers") or [] for image in found]
        return max((count_common(diff_ids, chain) for chain in chains), default=0)

    def _get_known(self, judged: Judged) -> dict[str, Layer]:
        found = {digest: self._counts.get(digest) for digest, _ in judged.manifest.layers}
        return {digest: layer for digest, layer in found.items() if layer is not None}

    @property
    def _reserve(self) -> int:
        return self._settings.free_reserve_mib * MIB


class _Report:
    """Tells of a layer on its way: a listener at each look, the log now and then."""

    def __init__(self, digest: str, step: Step, on_layer: _Listener | None) -> None:
        self.step = step
        self._digest = digest
        self._on_layer = on_layer
        self._logged = time.monotonic()
        self.tell(0)

    def tell(self, here: int) -> None:
        """Tell how many bytes are here."""
        if self._on_layer is not None:
            self._on_layer(replace(self.step, here=here))
        if time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            mib, size_mib = round(here / MIB, 1), round(self.step.size / MIB, 1)
            log.info("layer_on_its_way", digest=self._digest, mib=mib, size_mib=size_mib)


def _make_image(pull: _Pull) -> Image:
    """Return what the engine gets, once all that it lacks is here."""
    judged = pull.judged
    digests = [digest for digest, _ in judged.manifest.layers]
    name, config_digest = get_own_name(judged.reference.digest), judged.manifest.config_digest
    return Image(name, judged.config, config_digest, digests, pull.measured, pull.files)
