"""The part of the registry protocol that judges an image before the engine pulls it: manifest and configuration.

Reference: the OCI distribution specification, "Pulling manifests" and "Pulling blobs", and Docker's token
authentication, of which only the anonymous kind is used: an image that needs credentials cannot be pulled.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from worker.sandbox.apart import Sockets, call_apart
from worker.sandbox.reference import Reference
from worker.sandbox.types import BrokenImageError, RegistryError

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
INDEX_TYPES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
MANIFEST_BYTES = 4 << 20
TOKEN_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
TOTAL_SECONDS = 120.0  # of one answer, from the look-up of the name on, token and redirects included
REDIRECTS = 3
KEY_SHOWN = 100  # characters of a key in a message

_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')


class Registry:
    """Anonymous, capped GETs at one registry. Made for one image.

    `check` is called again and again while an answer is awaited, and gives it up by raising OwnFailureError.
    """

    def __init__(self, reference: Reference, *, is_plain: bool) -> None:
        self._reference = reference
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

    def _get_checked(self, kind: str, digest: str, cap: int, accept: str, check: Callable[[], None]) -> bytes:
        url = f"{self._scheme}://{self._reference.api_host}/v2/{self._reference.path}/{kind}/{digest}"
        content = self._guard(lambda: call_apart(lambda: self._get(url, cap, accept), TOTAL_SECONDS, check))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise RegistryError(f"{self._reference.host} answered with other bytes than those of {digest}")
        return content

    def _guard(self, call: Callable[[], bytes]) -> bytes:
        try:
            return call()
        except TimeoutError as error:
            raise RegistryError(f"the registry {self._reference.host} is too slow: {error}") from error
        except (httpx2.HTTPError, OSError) as error:
            raise RegistryError(f"the registry {self._reference.host} does not answer: {error}") from error
        except (httpx2.InvalidURL, ValueError) as error:
            raise RegistryError(f"the registry {self._reference.host} sends to an address that is none") from error

    def _get(self, url: str, cap: int, accept: str) -> bytes:
        """Return an answer. The client lives and ends in the thread that uses it; others only cut its connections."""
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            with httpx2.Client(timeout=timeout, trust_env=not self._is_plain, follow_redirects=False) as client:
                return self._get_with(client, url, cap, accept)
        finally:
            self._sockets.close()

    def _get_with(self, client: httpx2.Client, url: str, cap: int, accept: str) -> bytes:
        status, headers, content = self._request(client, url, cap, accept)
        if status == 401 and not self._token:
            self._token = self._fetch_token(client, headers.get("www-authenticate", ""))
            status, headers, content = self._request(client, url, cap, accept)
        for _ in range(REDIRECTS):
            if status not in (301, 302, 303, 307, 308):
                break
            url = self._follow(url, headers.get("location", ""))
            status, headers, content = self._request(client, url, cap, accept)
        self._check_status(status)
        return content

    def _request(self, client: httpx2.Client, url: str, cap: int, accept: str) -> tuple[int, httpx2.Headers, bytes]:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if self._token and urlsplit(url).netloc == self._reference.api_host:
            headers["Authorization"] = f"Bearer {self._token}"
        content = bytearray()
        with client.stream("GET", url, headers=headers, extensions={"trace": self._sockets.trace}) as response:
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > cap and response.status_code == 200:
                    raise BrokenImageError(f"{self._reference}: {urlsplit(url).path} is larger than {cap} bytes")
                if len(content) > cap:
                    raise RegistryError(f"the registry {self._reference.host} says too much")
            return response.status_code, response.headers, bytes(content)

    def _follow(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if not location or urlsplit(target).scheme not in ("https", self._scheme):
            raise RegistryError(f"the registry {self._reference.host} redirects to {location[:200]!r}")
        return target

    def _fetch_token(self, client: httpx2.Client, challenge: str) -> str:
        """Return an anonymous token; a registry that gives none keeps the image from everybody without credentials."""
        parameters = dict(_PARAMETER.findall(challenge))
        realm = parameters.get("realm", "")
        if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in ("https", self._scheme):
            raise self._not_public()
        query = {"service": parameters.get("service", ""), "scope": f"repository:{self._reference.path}:pull"}
        url = str(httpx2.URL(realm).copy_merge_params(query))
        status, _, content = self._request(client, url, TOKEN_BYTES, "application/json")
        self._check_status(status)
        answer = parse_json(content, "the registry's token")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii():
            raise RegistryError(f"the registry {self._reference.host} gives a token that is none")
        return token

    def _check_status(self, status: int) -> None:
        if status == 200:
            return
        if status in (401, 403, 404):
            raise self._not_public()
        raise RegistryError(f"the registry {self._reference.host} answers with status {status}: try again later")

    def _not_public(self) -> BrokenImageError:
        return BrokenImageError(f"{self._reference} is not there, or not for everybody: push it, make it public")


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
