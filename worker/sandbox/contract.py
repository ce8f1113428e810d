"""Judges manifest and configuration of an image: the same verdict on every machine, before anything is pulled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abci_app.protocol.limits import MIB
from learningchain.registry import CONTRACT_LABEL, CONTRACT_VERSION, INDEX_TYPES, MANIFEST_TYPES
from worker.sandbox.engine import Json
from worker.sandbox.layers import MAX_ENTRIES, Layer
from worker.sandbox.reference import Reference
from worker.sandbox.registry import parse_json
from worker.sandbox.types import BrokenImageError

CONFIG_BYTES = MIB
LAYERS = 120  # the engine's overlay driver stops at about 125
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says."""

    config_digest: str
    size: int  # bytes of configuration and layers, as they are transferred
    layers: tuple[tuple[str, int], ...]  # digest and bytes of each, in their order; one may come twice


def check_manifest(reference: Reference, content: bytes) -> Manifest:
    """Return the manifest of a single image. Raises BrokenImageError for an index and whatever else is none."""
    manifest = parse_json(content, f"the manifest of {reference}")
    kind = _look(manifest, "mediaType") or MANIFEST_TYPES[1]
    if kind in INDEX_TYPES or _look(manifest, "manifests") is not None:
        raise BrokenImageError(f"{reference} is an index of several images: name the linux/amd64 manifest in it")
    layers = manifest.get("layers")
    if kind not in MANIFEST_TYPES or not isinstance(layers, list) or not 0 < len(layers) <= LAYERS:
        raise BrokenImageError(f"{reference} is not the manifest of an image with 1 to {LAYERS} layers")
    parts = [_check_part(reference, part) for part in (manifest.get("config"), *layers)]
    if parts[0][1] > CONFIG_BYTES:
        raise BrokenImageError(f"{reference} has a configuration larger than {CONFIG_BYTES} bytes")
    if len(dict(parts[1:])) != len(set(parts[1:])):
        raise BrokenImageError(f"{reference} has a layer twice with different sizes")
    return Manifest(parts[0][0], sum(size for _, size in parts), tuple(parts[1:]))


def check_size(reference: Reference, manifest: Manifest, image_mib: int) -> None:
    """Raise BrokenImageError when the image is larger than its class allows."""
    if manifest.size > image_mib * MIB:
        raise BrokenImageError(f"{reference} has {-(-manifest.size // MIB)} MiB, {image_mib} are allowed")


def check_config(reference: Reference, content: bytes) -> tuple[str, ...]:
    """Return what its layers unpack to, as digests in their order.

    Raises BrokenImageError when an image with this configuration breaks the contract.
    """
    config = parse_json(content, f"the configuration of {reference}")
    if (config.get("os"), config.get("architecture")) != ("linux", "amd64"):
        raise BrokenImageError(f"{reference} is not for linux/amd64")
    settings = config.get("config") or {}
    if not isinstance(settings, dict):
        raise BrokenImageError(f"the configuration of {reference} is not a JSON object")
    _check_volumes(reference, settings)
    labels = settings.get("Labels") or {}
    if not isinstance(labels, dict) or labels.get(CONTRACT_LABEL) != CONTRACT_VERSION:
        raise BrokenImageError(f"{reference} lacks the label {CONTRACT_LABEL}={CONTRACT_VERSION}")
    rootfs = _look(config, "rootfs")
    diff_ids = _look(rootfs, "diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(isinstance(each, str) for each in diff_ids):
        raise BrokenImageError(f"the configuration of {reference} does not say what its layers unpack to")
    return tuple(diff_ids)


def check_unpacked(
    reference: Reference, manifest: Manifest, diff_ids: Sequence[str], measured: Mapping[str, Layer], image_mib: int
) -> None:
    """Raise BrokenImageError when the layers that were measured so far are others or more than they may be."""
    if len(diff_ids) != len(manifest.layers):
        raise BrokenImageError(f"{reference} has {len(manifest.layers)} layers, its configuration {len(diff_ids)}")
    found = [(diff_id, measured[digest]) for (digest, _), diff_id in zip(manifest.layers, diff_ids, strict=True)
             if digest in measured]  # fmt: skip
    if any(layer.diff_id != diff_id for diff_id, layer in found):
        raise BrokenImageError(f"the layers of {reference} cannot be unpacked to those that its configuration names")
    if sum(layer.size for _, layer in found) > image_mib * MIB:
        raise BrokenImageError(f"{reference} unpacks to more than the {image_mib} MiB that are allowed")
    if sum(layer.entries for _, layer in found) > MAX_ENTRIES:
        raise BrokenImageError(f"{reference} has more than {MAX_ENTRIES} files and folders")


def check_pulled(reference: Reference, image: Json) -> None:
    """Raise BrokenImageError when the engine reads from a pulled image what the contract forbids.

    The engine has the last word: what counts is what it makes of the configuration, not what we do.
    """
    _check_volumes(reference, image.get("Config") or {})


def _check_volumes(reference: Reference, settings: dict[str, Any]) -> None:
    if _look(settings, "Volumes"):
        raise BrokenImageError(f"{reference} declares VOLUME, which would be writable without a cap: remove it")


def _look(mapping: dict[str, Any], name: str) -> Any:
    """Return the value of a key in whatever case, as the engine reads it; None if there is none."""
    return next((value for key, value in mapping.items() if key.casefold() == name.casefold()), None)


def _check_part(reference: Reference, part: Any) -> tuple[str, int]:
    """Return digest and size of the configuration or a layer."""
    if not isinstance(part, dict) or _look(part, "urls"):
        raise BrokenImageError(f"{reference} has a layer that lies elsewhere than in its registry")
    digest, size = part.get("digest"), part.get("size")
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise BrokenImageError(f"{reference} has a part without a sha256 digest")
    if type(size) is not int or size < 0:
        raise BrokenImageError(f"{reference} has a part without a size")
    return digest, size
