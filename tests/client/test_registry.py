"""Images: a tag becomes the digest of one linux/amd64 manifest that anybody can pull."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from learningchain.registry import Image, ImageError, is_loopback, parse_reference, resolve_image
from tests.support.slow_server import drip, serve_pieces

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def encode(document: Mapping[str, Any]) -> tuple[bytes, str]:
    data = json.dumps(document).encode()
    return data, "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """A registry in memory. `needs_token` asks for an anonymous token first, `private` gives none."""

    def __init__(self, os: str = "linux", architecture: str = "amd64", **config: Any) -> None:
        self.config, self.config_digest = encode({"os": os, "architecture": architecture, "config": config})
        layers = [{"digest": "sha256:" + "1" * 64, "size": 1000}, {"digest": "sha256:" + "2" * 64, "size": 24}]
        config_entry = {"digest": self.config_digest, "size": len(self.config)}
        self.manifest, self.digest = encode({"mediaType": MANIFEST, "config": config_entry, "layers": layers})
        self.files = {
            f"/manifests/{self.digest}": self.manifest,
            "/manifests/v1": self.manifest,
            f"/blobs/{self.config_digest}": self.config,
        }
        self.needs_token = False
        self.private = False
        self.realm = "https://auth.example/token"
        self.redirect_blobs = ""
        self.status = 200
        self.requests: list[httpx2.Request] = []

    def add_index(self, *platforms: tuple[str, str]) -> str:
        entries = [
            {"digest": self.digest, "platform": {"os": os, "architecture": architecture}}
            for os, architecture in platforms
        ]
        data, digest = encode({"mediaType": INDEX, "manifests": entries})
        self.files["/manifests/multi"] = self.files[f"/manifests/{digest}"] = data
        return digest

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host == "auth.example":
            return httpx2.Response(401 if self.private else 200, json={"token": "anonymous"})
        if request.url.host == "cdn.example":
            return httpx2.Response(200, content=self.config)
        if self.needs_token and request.headers.get("authorization") != "Bearer anonymous":
            challenge = f'Bearer realm="{self.realm}",service="s",scope="repository:me/job:pull"'
            return httpx2.Response(401, headers={"www-authenticate": challenge})
        path = request.url.path.partition("/v2/me/job")[2]
        if path.startswith("/blobs") and self.redirect_blobs:
            return httpx2.Response(307, headers={"location": self.redirect_blobs})
        if self.status != 200 or path not in self.files:
            return httpx2.Response(404 if self.status == 200 else self.status)
        return httpx2.Response(200, content=self.files[path])

    def resolve(self, text: str, **trust: bool) -> Image:
        return resolve_image(text, httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer)), **trust)


def test_a_tag_becomes_the_digest_of_its_manifest() -> None:
    registry = Registry(Labels={"org.learningchain.contract": "1"})
    image = registry.resolve("registry.example/me/job:v1")
    assert image.reference == f"registry.example/me/job@{registry.digest}"
    assert image.size == 1024 + len(registry.config)
    assert (image.labels, image.volumes) == ({"org.learningchain.contract": "1"}, ())
    assert registry.resolve(image.reference) == image


def test_of_several_platforms_linux_amd64_is_taken() -> None:
    registry = Registry()
    registry.add_index(("linux", "arm64"), ("linux", "amd64"))
    assert registry.resolve("registry.example/me/job:multi").reference.endswith(f"@{registry.digest}")


def test_a_digest_of_several_platforms_is_refused_and_the_right_one_named() -> None:
    registry = Registry()
    digest = registry.add_index(("linux", "amd64"))
    with pytest.raises(ImageError, match="index") as error:
        registry.resolve(f"registry.example/me/job@{digest}")
    assert registry.digest in error.value.hint


def test_without_linux_amd64_there_is_no_image() -> None:
    registry = Registry()
    registry.add_index(("linux", "arm64"), ("windows", "amd64"))
    with pytest.raises(ImageError, match="no linux/amd64"):
        registry.resolve("registry.example/me/job:multi")
    with pytest.raises(ImageError, match="linux/arm64"):
        Registry(architecture="arm64").resolve("registry.example/me/job:v1")


def test_an_anonymous_token_is_fetched_and_kept_for_the_registry_alone() -> None:
    registry = Registry()
    registry.needs_token = True
    registry.redirect_blobs = "https://cdn.example/blob"
    assert registry.resolve("registry.example/me/job:v1").reference.endswith(f"@{registry.digest}")
    to_cdn = [request for request in registry.requests if request.url.host == "cdn.example"]
    assert to_cdn
    assert all("authorization" not in request.headers for request in to_cdn)


def test_what_needs_credentials_is_refused_with_advice() -> None:
    registry = Registry()
    registry.needs_token = registry.private = True
    with pytest.raises(ImageError, match="without credentials") as error:
        registry.resolve("registry.example/me/job:v1")
    assert "public" in error.value.hint


@pytest.mark.parametrize("realm", ["http://auth.example/token", "file:///etc/passwd"])
def test_tokens_and_redirects_never_leave_https(realm: str) -> None:
    registry = Registry()
    registry.needs_token = True
    registry.realm = realm
    with pytest.raises(ImageError, match="not safe"):
        registry.resolve("registry.example/me/job:v1")
    registry = Registry()
    registry.redirect_blobs = realm
    with pytest.raises(ImageError, match="not safe"):
        registry.resolve("registry.example/me/job:v1")


PUBLIC = "93.184.216.34/me/job:v1"


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learningchain.registry.getproxies", dict)


@pytest.mark.usefixtures("no_proxy")
def test_the_registry_of_a_stranger_is_asked_at_public_addresses_only() -> None:
    for host in ("10.0.0.1", "127.0.0.1:5000"):
        registry = Registry()
        with pytest.raises(ImageError, match="is not at a public address"):
            registry.resolve(f"{host}/me/job:v1", is_trusted=False)
        assert registry.requests == []
        assert registry.resolve(f"{host}/me/job:v1").reference == f"{host}/me/job@{registry.digest}"
    assert registry.resolve("127.0.0.1:5000/me/job:v1", is_trusted=False, allow_loopback=True).size
    assert registry.resolve(PUBLIC, is_trusted=False).size


@pytest.mark.usefixtures("no_proxy")
@pytest.mark.parametrize("url", ["https://10.0.0.1/x", "http://127.0.0.1:5000/x"])
def test_the_registry_of_a_stranger_leads_to_no_private_address(url: str) -> None:
    to_blobs, to_token = Registry(), Registry()
    to_blobs.redirect_blobs = to_token.realm = url
    to_token.needs_token = True
    for registry in (to_blobs, to_token):
        with pytest.raises(ImageError, match="is not at a public address"):
            registry.resolve(PUBLIC, is_trusted=False, allow_loopback=True)
        assert {request.url.host for request in registry.requests} == {"93.184.216.34"}


def test_behind_a_proxy_it_is_for_the_proxy_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learningchain.registry.getproxies", lambda: {"https": "http://proxy.example"})
    monkeypatch.setattr("learningchain.registry.proxy_bypass", lambda host: host == "10.0.0.2")
    assert Registry().resolve("10.0.0.1/me/job:v1", is_trusted=False).size
    with pytest.raises(ImageError, match="is not at a public address"):
        Registry().resolve("10.0.0.2/me/job:v1", is_trusted=False)


def test_endless_redirects_end() -> None:
    registry = Registry()
    registry.redirect_blobs = "https://registry.example/v2/me/job/blobs/x"
    with pytest.raises(ImageError, match="without end"):
        registry.resolve("registry.example/me/job:v1")


def test_plain_http_is_for_this_machine_only() -> None:
    registry = Registry()
    registry.resolve("127.0.0.1:5000/me/job:v1")
    registry.resolve("registry.example/me/job:v1")
    assert {request.url.scheme for request in registry.requests if request.url.host == "127.0.0.1"} == {"http"}
    assert {request.url.scheme for request in registry.requests if request.url.host == "registry.example"} == {"https"}
    assert is_loopback("localhost:5000")
    assert is_loopback("[::1]:5000")
    assert not is_loopback("localhost.example")
    assert not is_loopback("10.0.0.1:5000")


def test_other_bytes_than_the_digest_says_are_refused() -> None:
    registry = Registry()
    registry.files[f"/manifests/{registry.digest}"] += b" "
    with pytest.raises(ImageError, match="other bytes"):
        registry.resolve(f"registry.example/me/job@{registry.digest}")
    registry = Registry()
    registry.files[f"/blobs/{registry.config_digest}"] += b" "
    with pytest.raises(ImageError, match="other bytes"):
        registry.resolve("registry.example/me/job:v1")


@pytest.mark.parametrize(("status", "reason"), [(429, "limits"), (500, "answered 500"), (404, "no such tag")])
def test_each_answer_of_a_registry_has_its_words(status: int, reason: str) -> None:
    registry = Registry()
    registry.status = status
    with pytest.raises(ImageError, match=reason):
        registry.resolve("registry.example/me/job:v1")


def test_an_answer_without_end_is_cut() -> None:
    registry = Registry()
    registry.files["/manifests/v1"] = b" " * (5 << 20)
    with pytest.raises(ImageError, match="more than"):
        registry.resolve("registry.example/me/job:v1")


@pytest.mark.parametrize(
    ("kind", "words", "said"), [(httpx2.ConnectError, "refused", "refused"), (httpx2.ReadError, "", "ReadError")]
)
def test_nobody_answering_is_said(kind: type[httpx2.TransportError], words: str, said: str) -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise kind(words, request=request)

    with pytest.raises(ImageError, match=f"does not answer: {said}"):
        resolve_image("registry.example/me/job:v1", httpx2.AsyncClient(transport=httpx2.MockTransport(fail)))


def test_a_registry_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learningchain.registry.MOST_S", 0.2)
    with (
        serve_pieces(drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000, 0.01)) as node,
        pytest.raises(ImageError, match="does not answer: not within"),
    ):
        resolve_image(f"{node.removeprefix('http://')}/me/job:v1")


def test_a_port_that_cannot_be_is_no_defect_of_the_program() -> None:
    with pytest.raises(ImageError, match=r"does not answer: .*port must be"):
        resolve_image("127.0.0.1:99999/me/job")


@pytest.mark.parametrize(
    "manifest",
    [
        {"manifests": ["x"]},
        {"manifests": [{"platform": "linux"}]},
        {"layers": ["x"], "config": {"digest": "CONFIG"}},
        {"layers": [{"size": "many"}], "config": {"digest": "CONFIG"}},
        {"layers": [], "config": {"digest": "LABELS"}},
    ],
)
def test_an_answer_in_another_form_is_no_defect_of_the_program(manifest: dict[str, Any]) -> None:
    registry = Registry()
    labels, digest = encode({"os": "linux", "architecture": "amd64", "config": {"Labels": ["x"]}})
    registry.files[f"/blobs/{digest}"] = labels
    text = json.dumps(manifest).replace("CONFIG", registry.config_digest).replace("LABELS", digest)
    registry.files["/manifests/v1"] = text.encode()
    with pytest.raises(ImageError, match="not in the form"):
        registry.resolve("registry.example/me/job:v1")


@pytest.mark.parametrize(
    "location", ["https://[x/", "https://host:99999/x", "https://host/" + "x" * 70_000], ids=["host", "port", "long"]
)
def test_a_redirect_that_nobody_can_follow_is_told(location: str) -> None:
    registry = Registry()
    registry.redirect_blobs = location
    with pytest.raises(ImageError, match="not in the form"):
        registry.resolve("registry.example/me/job:v1")


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("python", "docker.io", "library/python", "latest"),
        ("python:3.11-slim", "docker.io", "library/python", "3.11-slim"),
        ("me/job", "docker.io", "me/job", "latest"),
        ("docker.io/me/job:v2", "docker.io", "me/job", "v2"),
        ("ghcr.io/me/deep/er/job:v2", "ghcr.io", "me/deep/er/job", "v2"),
        ("localhost/job:1", "localhost", "job", "1"),
        ("127.0.0.1:5000/job:1", "127.0.0.1:5000", "job", "1"),
        ("[::1]:5000/job:1", "[::1]:5000", "job", "1"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, host: str, path: str, tag: str) -> None:
    reference = parse_reference(text)
    assert (reference.host, reference.path, reference.tag) == (host, path, tag)


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "x@sha256:123", "http://x/y", "x:tag:tag", "-x", "x\n"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="not an image reference"):
        parse_reference(text)
