"""Finding the one image that a tag stands for: the digest of a single linux/amd64 manifest, as anybody can pull it.

Speaks the OCI distribution API without credentials, because every checker has to pull the image without any. Plain
HTTP is used for registries on this machine only. The image of a stranger's job is asked for at public addresses only,
as workers do it: its registry may be any host, and redirect to any other.
"""

import asyncio
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from learningchain.addresses import AddressRefused, Target, resolve
from learningchain.client.errors import describe

TIMEOUT_S: Final = 20.0
"""For each read."""
MOST_S: Final = 60.0
"""For all that a registry is asked about an image: one that drips passes every limit of a read."""
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_CONFIG_BYTES: Final = 4 << 20
MAX_REDIRECTS: Final = 3
CONTRACT_LABEL: Final = "org.learningchain.contract"
CONTRACT_VERSION: Final = "1"
"""Of the job contract (docs/job-image.md), as the label says it."""
MODEL_NAME_LABEL: Final = "org.learningchain.model.name"
HUB: Final = "docker.io"
"""The registry of an image whose name has none."""
HUB_API: Final = "registry-1.docker.io"
"""Where its HTTP interface is."""
MANIFEST_TYPES: Final = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
INDEX_TYPES: Final = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_HUB_NAMES: Final = frozenset({HUB, "index.docker.io", HUB_API})
_HOST: Final = r"(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
_PATH: Final = r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_REFERENCE: Final = re.compile(
    rf"(?:{_HOST}/)?{_PATH}(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?", re.ASCII
)
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


class ImageError(Exception):
    """The image cannot be used for a job; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class BadReference(ImageError):
    """The text is no image reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image reference."""

    host: str
    """Registry as the user wrote it, `docker.io` if it was not named."""
    path: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.host}/{self.path}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that anybody can pull: `reference` ends in the digest of its manifest."""

    reference: str
    size: int
    """Compressed bytes of all layers and the configuration."""
    labels: Mapping[str, str]
    volumes: tuple[str, ...]


def parse_reference(text: str) -> Reference:
    """Return the parts of `[HOST/]PATH[:TAG][@sha256:…]`. Raises BadReference."""
    match = _REFERENCE.fullmatch(text)
    if match is None or (match["host"] and not _is_host(match["host"]) and match["host"] != match["host"].lower()):
        raise BadReference(
            f"{text!r} is not an image reference", "write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST"
        )
    host, path = match["host"], match["path"]
    if host is not None and not _is_host(host):
        host, path = None, f"{host}/{path}"  # the first part of a name without dot or port is no registry
    if host is None or host in _HUB_NAMES:
        host = HUB
        path = path if "/" in path else f"library/{path}"
    return Reference(host, path, match["tag"] or ("" if match["digest"] else "latest"), match["digest"] or "")


def resolve_image(
    text: str, client: httpx2.AsyncClient | None = None, *, is_trusted: bool = True, allow_loopback: bool = False
) -> Image:
    """Return the image a reference stands for, pulling its manifest and configuration without credentials.

    A registry that is not trusted is asked at public addresses only, or on this machine where that is allowed.
    Raises ImageError: unknown, not public, several platforms without linux/amd64, wrong digest, no answer in time.
    """
    reference = parse_reference(text)
    try:
        return asyncio.run(_resolve(reference, client, is_trusted, allow_loopback))
    except (httpx2.HTTPError, TimeoutError, ExceptionGroup) as error:
        # A group is what failed, for each address of a host, in a way that httpx does not know.
        cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        reason = f"not within {MOST_S:.0f} s" if isinstance(error, TimeoutError) else describe(cause)
        raise ImageError(
            f"the registry {reference.host} does not answer: {reason}", "check the name and the network, then try again"
        ) from error
    except (httpx2.InvalidURL, ValueError, TypeError, AttributeError) as error:
        raise ImageError(
            f"what the registry {reference.host} answers is not in the form of one: {error}", "use another registry"
        ) from error


async def _resolve(
    reference: Reference, client: httpx2.AsyncClient | None, is_trusted: bool, allow_loopback: bool
) -> Image:
    async with asyncio.timeout(MOST_S), client or httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=True) as http:
        return await _Registry(http, reference, is_trusted, allow_loopback).resolve()


def _is_host(part: str) -> bool:
    """Tell whether the first part of a name is a registry, as Docker decides it."""
    return bool(set(part) & {".", ":"}) or part == "localhost"


def is_loopback(host: str) -> bool:
    """Tell whether a registry `HOST[:PORT]` is on this machine, where plain HTTP is safe."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Registry:
    """One repository of a registry, asked anonymously."""

    def __init__(self, http: httpx2.AsyncClient, reference: Reference, is_trusted: bool, allow_loopback: bool) -> None:
        self._http = http
        self._reference = reference
        host = HUB_API if reference.host == HUB else reference.host
        self._base = f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{reference.path}"
        self._token = ""
        self._is_trusted = is_trusted
        self._allow_loopback = allow_loopback and is_loopback(host)

    async def resolve(self) -> Image:
        wanted = self._reference.digest or self._reference.tag
        manifest, digest = await self._get_manifest(wanted)
        if manifest.get("mediaType") in INDEX_TYPES or "manifests" in manifest:
            if self._reference.digest:
                raise ImageError(
                    "this digest is that of an index of several platforms, which no checker accepts",
                    f"give the digest of the linux/amd64 manifest: {self._pick_platform(manifest)}",
                )
            manifest, digest = await self._get_manifest(self._pick_platform(manifest))
        return await self._describe(manifest, digest)

    async def _describe(self, manifest: Mapping[str, Any], digest: str) -> Image:
        layers, config = manifest.get("layers"), manifest.get("config")
        if not isinstance(layers, list) or not isinstance(config, dict):
            raise ImageError("the manifest is not one of an image", "push it with docker push or an OCI tool")
        settings = await self._get_config(str(config.get("digest")))
        platform = (settings.get("os"), settings.get("architecture"))
        if platform != ("linux", "amd64"):
            raise ImageError(f"the image is for {platform[0]}/{platform[1]}", "build it with --platform linux/amd64")
        details = settings.get("config") or {}
        size = sum(int(part.get("size") or 0) for part in (*layers, config))
        return Image(
            reference=f"{self._reference.name}@{digest}",
            size=size,
            labels={str(name): str(value) for name, value in (details.get("Labels") or {}).items()},
            volumes=tuple(details.get("Volumes") or ()),
        )

    async def _get_manifest(self, wanted: str) -> tuple[Mapping[str, Any], str]:
        headers = {"Accept": ", ".join(MANIFEST_TYPES + INDEX_TYPES)}
        content = await self._get(f"{self._base}/manifests/{wanted}", headers, MAX_MANIFEST_BYTES)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if wanted.startswith("sha256:") and wanted != digest:
            raise ImageError("the registry sent other bytes than the digest says", "use another registry")
        return _parse(content), digest

    async def _get_config(self, digest: str) -> Mapping[str, Any]:
        content = await self._get(f"{self._base}/blobs/{digest}", {}, MAX_CONFIG_BYTES)
        if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise ImageError("the registry sent other bytes than the digest says", "use another registry")
        return _parse(content)

    def _pick_platform(self, index: Mapping[str, Any]) -> str:
        for entry in index.get("manifests") or ():
            platform = entry.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                return str(entry.get("digest"))
        raise ImageError(
            "the image has no linux/amd64 version", "build it with --platform linux/amd64 and push it again"
        )

    async def _get(self, url: str, headers: Mapping[str, str], limit: int) -> bytes:
        status, content = await self._fetch(url, headers, limit)
        if status == 404:
            raise ImageError(
                f"{self._reference.name} has no such tag or digest", "push the image first, check the name"
            )
        if status in (401, 403):
            raise ImageError(
                f"{self._reference.name} cannot be pulled without credentials, so no checker could pull it",
                "make the repository public in the settings of your registry, then try again",
            )
        if status == 429:
            raise ImageError("the registry limits anonymous pulls from this address", "wait, or use another registry")
        if status != 200:
            raise ImageError(f"the registry answered {status}", "try again, or use another registry")
        return content

    async def _fetch(self, url: str, headers: Mapping[str, str], limit: int) -> tuple[int, bytes]:
        """Follow the anonymous token challenge once, and redirects without lowering the transport's safety."""
        for _ in range(MAX_REDIRECTS + 2):
            async with await self._open(url, self._authorize(url, headers)) as answer:
                if answer.is_redirect:
                    url = self._check_url(urljoin(url, answer.headers.get("location", "")))
                elif answer.status_code == 401 and not self._token and await self._take_token(answer):
                    continue
                else:
                    return answer.status_code, await _read(answer, limit)
        raise ImageError("the registry redirects without end", "use another registry")

    async def _open(
        self, url: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        place = await asyncio.to_thread(self._locate, url)
        every = {**headers, **place.headers}
        return self._http.stream("GET", place.url, headers=every, params=query, extensions=place.extensions)

    def _locate(self, url: str) -> Target:
        """Return where to connect to; behind a proxy of the user's nothing is looked up, and the proxy decides."""
        parts, proxies = urlsplit(url), getproxies()
        is_proxied = bool({parts.scheme, "all"} & proxies.keys()) and not proxy_bypass(parts.netloc)
        if self._is_trusted or is_proxied:
            return Target(url, {}, {})
        try:
            return resolve(url, self._allow_loopback)
        except AddressRefused as error:
            raise ImageError(f"the registry {self._reference.host}: {error}", "name it with --registry") from error

    def _authorize(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        # A token is for the registry alone; a redirect to a store of blobs must not see it.
        if self._token and url.startswith(self._base):
            return {**headers, "Authorization": f"Bearer {self._token}"}
        return headers

    async def _take_token(self, answer: httpx2.Response) -> bool:
        scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        fields = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            return False
        query = {name: fields[name] for name in ("service", "scope") if name in fields}
        async with await self._open(self._check_url(fields["realm"]), {}, query) as reply:
            if reply.status_code != 200:
                return False
            token = _parse(await _read(reply, MAX_CONFIG_BYTES))
        self._token = str(token.get("token") or token.get("access_token") or "")
        return bool(self._token)

    def _check_url(self, url: str) -> str:
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc))
        if is_safe and parts.port != 0:  # the port raises ValueError where no port has its number
            return url
        raise ImageError(f"the registry points to {parts.scheme}://, which is not safe", "use another registry")


async def _read(answer: httpx2.Response, limit: int) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > limit:
            raise ImageError(f"the registry's answer has more than {limit} bytes", "use another registry")
    return bytes(content)


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ImageError("the registry's answer is not a JSON object", "use another registry")
    return parsed
