"""Tars of one image from which an engine takes it: its layers, measured before, under a name that we choose.

Two forms. Engines with a store of their own know that of `docker save` (manifest.json, docs of the Docker Image
Specification v1.2), unpack only gzip everywhere and look only into layers that they lack. Engines that use containerd's
store take an OCI image layout (1.0) with the layers as they came. They believe what a manifest says of their packing,
where others look at the first bytes; so they get a manifest of our own, which says what was found.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from worker.sandbox.layers import Layer
from worker.sandbox.unpack import find_packing, read_unpacked

CHUNK_BYTES: Final = 1 << 20
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"  # with +gzip or +zstd
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True)
class Image:
    """What an archive is made of."""

    name: str  # repository:tag
    config: bytes
    config_digest: str
    layers: Sequence[str]  # digests in their order; one may come twice
    measured: Mapping[str, Layer]  # by digest
    files: Mapping[str, Path]  # by digest; what the engine has already may be missing


def get_size(image: Image) -> int:
    """Return about how many bytes an archive has, unpacked layers included."""
    return sum(_get_layer_size(path, image.measured[digest]) for digest, path in image.files.items())


def make_archive(image: Image, *, is_layout: bool) -> Iterator[bytes]:
    """Give the archive piece by piece: an OCI layout, or else what `docker save` would write."""
    yield from _add_bytes(_get_blob_name(image.config_digest), image.config)
    for digest, path in image.files.items():
        with path.open("rb") as file:
            yield from _add_layer(digest, file, None if is_layout else image.measured[digest])
    if is_layout:
        manifest = _make_manifest(image)
        yield from _add_bytes(_get_blob_name(_get_digest(manifest)), manifest)
        yield from _add_json("index.json", _make_index(image.name, manifest))
        yield from _add_bytes("oci-layout", _LAYOUT)
    else:
        entry = {
            "Config": _get_blob_name(image.config_digest),
            "RepoTags": [image.name],
            "Layers": [_get_blob_name(digest) for digest in image.layers],
        }
        yield from _add_json("manifest.json", [entry])
    yield bytes(2 * tarfile.BLOCKSIZE)


def get_id(image: Image, *, is_layout: bool) -> str:
    """Return the id that an image has on an engine which took it."""
    return _get_digest(_make_manifest(image)) if is_layout else image.config_digest


def _make_manifest(image: Image) -> bytes:
    """Return a manifest of the image, for which all its layers must be here."""
    config = _describe(CONFIG_TYPE, image.config_digest, len(image.config))
    layers = [_describe_layer(digest, image.files[digest]) for digest in image.layers]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}
    return json.dumps(manifest).encode("ascii")


def _describe_layer(digest: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        packing = find_packing(file)
        return _describe(f"{LAYER_TYPE}+{packing}" if packing else LAYER_TYPE, digest, file.seek(0, io.SEEK_END))


def _make_index(name: str, manifest: bytes) -> dict[str, Any]:
    descriptor = _describe(MANIFEST_TYPE, _get_digest(manifest), len(manifest))
    descriptor["annotations"] = {"io.containerd.image.name": name}
    return {"schemaVersion": 2, "manifests": [descriptor]}


def _describe(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _get_digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _add_layer(digest: str, file: BinaryIO, unpacked: Layer | None) -> Iterator[bytes]:
    """Give a layer as it came or, if `unpacked` is given and not every engine could unpack it, as its tar."""
    name = _get_blob_name(digest)
    if unpacked is None or find_packing(file) != "zstd":
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        yield from _add(name, size, iter(lambda: file.read(CHUNK_BYTES), b""))
    else:
        yield from _add(name, unpacked.size, read_unpacked(file))


def _get_layer_size(path: Path, layer: Layer) -> int:
    with path.open("rb") as file:
        return layer.size if find_packing(file) == "zstd" else file.seek(0, io.SEEK_END)


def _get_blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_json(name: str, value: Any) -> Iterator[bytes]:
    return _add_bytes(name, json.dumps(value).encode("ascii"))


def _add_bytes(name: str, content: bytes) -> Iterator[bytes]:
    return _add(name, len(content), iter((content,)))


def _add(name: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give an entry of the archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.GNU_FORMAT)  # tells sizes of 8 GiB and more in binary
    yield from filter(None, chunks)
    if padding := -size % tarfile.BLOCKSIZE:
        yield bytes(padding)
