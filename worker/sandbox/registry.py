"""The part of the registry protocol by which an image is fetched: manifest, configuration and layers.

Reference: the OCI distribution specification, "Pulling manifests" and "Pulling blobs", and Docker's token
authentication, of which only the anonymous kind is used: an image that needs credentials cannot be pulled.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from learningchain.addresses import AddressRefused, resolve
from learningchain.addresses import Target as Place
from learningchain.client.errors import describe
from learningchain.registry import INDEX_TYPES, MANIFEST_TYPES, is_loopback
from worker.sandbox.apart import Sockets, call_apart
from worker.sandbox.reference import Reference
from worker.sandbox.types import BrokenImageError, RegistryError, SandboxSettings

MANIFEST_BYTES = 4 << 20
TOKEN_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
TOTAL_SECONDS = 120.0  # of one answer, from the look-up of the name on, token and redirects included
ATTEMPTS = 5  # of a large blob, each from where the line broke before
AGAIN_SECONDS = 1.0
REDIRECTS = 3
KEY_SHOWN = 100  # characters of a key in a message

_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')


class Target(Protocol):
    """What the body of an answer goes to."""

    def get_headers(self) -> dict[str, str]:
        """Return what the request says besides."""

    def begin(self, status: int) -> None:
        """A good answer begins; one with status 206 holds only the part that was asked for."""

    def take(self, chunk: bytes) -> bool:
        """Take the next bytes; False if no more are wanted."""


class _Body:
    """A body in memory."""

    def __init__(self, what: str, cap: int) -> None:
        self.content = bytearray()
        self._what = what
        self._cap = cap

    def get_headers(self) -> dict[str, str]:
        return {}

    def begin(self, _: int) -> None:
        self.content.clear()

    def take(self, chunk: bytes) -> bool:
        self.content += chunk
        if len(self.content) > self._cap:
            raise BrokenImageError(f"{self._what} is larger than {self._cap} bytes")
        return True


class Registry:
    """Anonymous, capped GETs at one registry. Made for one image.

    `check` is called again and again while an answer is awaited, and gives it up by raising OwnFailureError.
    """

    def __init__(self, reference: Reference, *, is_plain: bool, is_trusted: bool, allow_loopback: bool) -> None:
        """Connect to public addresses only, unless the registry `is_trusted`, or to loopback where that is allowed."""
        self._reference = reference
        self._is_trusted = is_trusted
        self._allow_loopback = allow_loopback
        self._scheme = "http" if is_plain else "https"
        self._is_plain = is_plain
        self._token = ""
        self._sockets = Sockets()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self._sockets.cut()

    def get_manifest(self, check: Callable[[], None]) -> bytes:
        """Return the manifest's bytes, of the right digest. Raises BrokenImageError, RegistryError."""
        accept = ", ".join(MANIFEST_TYPES + INDEX_TYPES)  # an index is asked for so that it can be told from nothing
        return self._get_checked("manifests", self._reference.digest, MANIFEST_BYTES, accept, check)

    def get_blob(self, digest: str, cap: int, check: Callable[[], None]) -> bytes:
        """Return a blob of at most `cap` bytes, of the right digest. Raises BrokenImageError, RegistryError."""
        return self._get_checked("blobs", digest, cap, "*/*", check)

    def copy_blob(self, digest: str, copy: Target, seconds: float, check: Callable[[], None]) -> None:
        """Copy a blob of any size, from where the copy ends. Raises RegistryError, and OwnFailureError for the disk."""
        url = self._get_url("blobs", digest)
        try:
            self._guard(lambda: call_apart(lambda: self._copy(url, copy), seconds, check))
        except BrokenImageError as error:  # its manifest was there for everybody
            raise RegistryError(f"a layer is not given: {error}") from error

    def _copy(self, url: str, copy: Target) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                return self._get(url, "*/*", copy)
            except httpx2.TransportError:
                if not left:
                    raise
                time.sleep(AGAIN_SECONDS)
        return None

    def _get_url(self, kind: str, digest: str) -> str:
        return f"{self._scheme}://{self._reference.api_host}/v2/{self._reference.path}/{kind}/{digest}"

    def _get_checked(self, kind: str, digest: str, cap: int, accept: str, check: Callable[[], None]) -> bytes:
        url, body = self._get_url(kind, digest), _Body(f"{self._reference}: its {kind[:-1]}", cap)
        self._guard(lambda: call_apart(lambda: self._get(url, accept, body), TOTAL_SECONDS, check))
        if f"sha256:{hashlib.sha256(body.content).hexdigest()}" != digest:
            raise RegistryError(f"{self._reference.host} answered with other bytes than those of {digest}")
        return bytes(body.content)

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except TimeoutError as error:
            raise RegistryError(f"the registry {self._reference.host} is too slow: {error}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise RegistryError(f"the registry {self._reference.host} does not answer: {describe(error)}") from error
        except (httpx2.InvalidURL, ValueError) as error:
            raise RegistryError(f"the registry {self._reference.host} sends to an address that is none") from error

    def _get(self, url: str, accept: str, target: Target) -> None:
        """Get an answer. Clients live and end in the thread that uses them; others only cut their connections."""
        try:
            self._get_through(url, accept, target)
        finally:
            self._sockets.close()

    def _get_through(self, url: str, accept: str, target: Target) -> None:
        status, headers = self._request(url, accept, target)
        if status == 401:  # a token that was given before may have expired
            self._token = self._fetch_token(headers.get("www-authenticate", ""))
            status, headers = self._request(url, accept, target)
        for _ in range(REDIRECTS):
            if status not in (301, 302, 303, 307, 308):
                break
            url = self._follow(url, headers.get("location", ""))
            status, headers = self._request(url, accept, target)
        self._check_status(status)

    def _request(self, url: str, accept: str, target: Target) -> tuple[int, httpx2.Headers]:
        """Make one request; the body of a good answer goes to the target, of any other nothing is read."""
        proxy = None if self._is_plain else _find_proxy(url)
        checked = self._resolve(url, proxy)
        headers = {"Accept": accept, "Accept-Encoding": "identity", **target.get_headers(), **checked.headers}
        if self._token and urlsplit(url).netloc == self._reference.api_host:
            headers["Authorization"] = f"Bearer {self._token}"
        extensions = {"trace": self._sockets.trace, **checked.extensions}
        with (
            _open_client(proxy) as client,
            client.stream("GET", checked.url, headers=headers, extensions=extensions) as response,
        ):
            if response.status_code in (200, 206):
                target.begin(response.status_code)
                for chunk in response.iter_raw():
                    if not target.take(chunk):
                        break
            return response.status_code, response.headers

    def _resolve(self, url: str, proxy: str | None) -> Place:
        """Return where to connect to: a job may name any host, and its registry redirect to any other.

        Behind a proxy of the machine's owner nothing is looked up here, and the proxy decides.
        """
        if self._is_trusted or proxy:
            return Place(url, {}, {})
        try:
            return resolve(url, self._allow_loopback)
        except AddressRefused as error:
            raise RegistryError(
                f"the registry {self._reference.host}: {error}; if it is yours, name it: a worker in "
                "allowed_registries, plain_http_registries or mirrors, lc with --registry"
            ) from error

    def _follow(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if not location or urlsplit(target).scheme not in ("https", self._scheme):
            raise RegistryError(f"the registry {self._reference.host} redirects to {location[:200]!r}")
        return target

    def _fetch_token(self, challenge: str) -> str:
        """Return an anonymous token; a registry that gives none keeps the image from everybody without credentials."""
        parameters = dict(_PARAMETER.findall(challenge))
        realm = parameters.get("realm", "")
        if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in ("https", self._scheme):
            raise self._not_public()
        query = {"service": parameters.get("service", ""), "scope": f"repository:{self._reference.path}:pull"}
        url = str(httpx2.URL(realm).copy_merge_params(query))
        body = _Body("the registry's token", TOKEN_BYTES)
        try:
            status, _ = self._request(url, "application/json", body)
            answer = parse_json(bytes(body.content), "the registry's token") if status == 200 else {}
        except BrokenImageError as error:
            raise RegistryError(f"the registry {self._reference.host} gives a token that is none: {error}") from error
        self._check_status(status)
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii():
            raise RegistryError(f"the registry {self._reference.host} gives a token that is none")
        return token

    def _check_status(self, status: int) -> None:
        if status in (200, 206):
            return
        if status in (401, 403, 404):
            raise self._not_public()
        raise RegistryError(f"the registry {self._reference.host} answers with status {status}: try again later")

    def _not_public(self) -> BrokenImageError:
        return BrokenImageError(f"{self._reference} is not there, or not for everybody: push it, make it public")


def _find_proxy(url: str) -> str | None:
    """Return the proxy that the machine's owner wants for a URL, as the environment's variables say it."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if parts.scheme != "https" or not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _open_client(proxy: str | None) -> httpx2.Client:
    """Return a client that goes through this proxy, or straight to where it is told: nothing else decides its way."""
    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    return httpx2.Client(
        timeout=timeout, trust_env=False, follow_redirects=False, proxy=proxy, verify=httpx2.create_ssl_context()
    )


def open_registry(reference: Reference, settings: SandboxSettings) -> Registry:
    """Return what an image is fetched with, as the owner of this machine allows it."""
    host = reference.host
    is_plain = host in settings.plain_http_registries
    mirrors = {mirror for hosts in settings.mirrors.values() for mirror in hosts}
    is_trusted = is_plain or host in mirrors or host in settings.trusted_registries
    return Registry(
        reference,
        is_plain=is_plain or is_loopback(host),
        is_trusted=is_trusted,
        allow_loopback=settings.allow_loopback and is_loopback(host),
    )


def parse_json(content: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object from untrusted bytes. Raises BrokenImageError.

    Keys that differ at most in case are refused: the engine does not tell them apart and merges their values.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_make_object)
    except _AmbiguousError as error:
        raise BrokenImageError(f"{what} has the key {str(error)[:KEY_SHOWN]!r} more than once") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BrokenImageError(f"{what} is not a JSON object")
    return value


class _AmbiguousError(Exception):
    """An object has a key more than once; the text is the key."""


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in pairs:
        if key.casefold() in seen:
            raise _AmbiguousError(key)
        seen.add(key.casefold())
    return dict(pairs)
