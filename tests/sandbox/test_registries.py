"""Where images are asked for: which registries, at which addresses, with which tokens, by way of which mirrors."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.sandbox.fake_registry import NAME, Answer, FakeRegistry, Server, digest_of
from worker.sandbox import BrokenImageError, RegistryError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import registry as registry_module
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images
from worker.sandbox.reference import parse_reference
from worker.sandbox.registry import open_registry

DIGEST = "sha256:" + "ab" * 32
LOOPBACK = Settings(home=Path("/nowhere"), allow_loopback=True)


def test_a_plain_registry_elsewhere_is_asked_over_https_unless_configured(
    monkeypatch: pytest.MonkeyPatch, images: Images, engine: Engine, tmp_path: Path
) -> None:
    schemes: list[bool] = []

    class Seen(Exception):
        pass

    def see(_: object, *, is_plain: bool, **rest: bool) -> None:
        schemes.append(is_plain)
        raise Seen

    monkeypatch.setattr(registry_module, "Registry", see)
    configured = Settings(allow_loopback=True, home=tmp_path, plain_http_registries=("10.0.0.1:5000",))
    for judge in (images, Images(engine, configured, tmp_path, lambda: None)):
        with pytest.raises(Seen):
            judge.prepare(f"10.0.0.1:5000/job@{DIGEST}", 10)
    assert schemes == [False, True]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "http://[", "/v2/loop"])
def test_a_redirect_leads_nowhere_but_to_http(fake: FakeRegistry, images: Images, target: str) -> None:
    image = fake.add_manifest(fake.make_manifest())
    answer = (307, {"Location": target}, b"")
    fake.rules |= {"/manifests/": lambda _: answer, "/loop": lambda _: (307, {"Location": "/v2/loop"}, b"")}
    with pytest.raises(RegistryError):
        images.prepare(image, 10)


def test_an_anonymous_token_is_fetched_and_not_given_to_others(fake: FakeRegistry) -> None:
    """The registry asks for a token, then redirects to another host."""
    reference = parse_reference(fake.add_manifest(fake.make_manifest()))
    other = Server()
    seen: list[str] = []

    def serve(headers: dict[str, str]) -> Answer:
        seen.append(headers.get("Authorization", "none"))
        return 200, {}, b"blob"

    def challenge(headers: dict[str, str]) -> Answer:
        if headers.get("Authorization") == "Bearer abc":
            return 307, {"Location": f"http://{other.registry.host}/blob"}, b""
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token",service="s"'}, b""

    fake.rules |= {"/blobs/": challenge, "/token": lambda _: (200, {}, b'{"token": "abc"}')}
    other.registry.rules["/blob"] = serve
    with open_registry(reference, LOOPBACK) as registry:
        assert registry.get_blob(digest_of(b"blob"), 10, lambda: None) == b"blob"
    assert seen == ["none"]
    scope = f"repository:{NAME}:pull"
    assert any(parse_qs(urlsplit(path).query) == {"service": ["s"], "scope": [scope]} for path in fake.requests)
    other.stop()


def test_a_token_that_expired_is_fetched_anew(fake: FakeRegistry) -> None:
    """Large layers take longer than tokens live."""
    reference = parse_reference(fake.add_manifest(fake.make_manifest()))
    blobs = [fake.add(bytes([number])) for number in range(2)]
    given: list[str] = []

    def give(_: dict[str, str]) -> Answer:
        given.append(f"t{len(given)}")
        return 200, {}, json.dumps({"token": given[-1]}).encode()

    def challenge(headers: dict[str, str]) -> Answer:
        if headers.get("Authorization") == f"Bearer {valid[0]}":
            return 200, {}, fake.content[valid[1]]
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token",service="s"'}, b""

    fake.rules |= {"/blobs/": challenge, "/token": give}
    with open_registry(reference, LOOPBACK) as registry:
        for valid in zip(("t0", "t1"), blobs, strict=True):
            assert registry.get_blob(valid[1], 10, lambda: None) == fake.content[valid[1]]
        valid = ("none", blobs[0])
        with pytest.raises(BrokenImageError, match="not for everybody"):
            registry.get_blob(blobs[0], 10, lambda: None)
    assert given == ["t0", "t1", "t2"]


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b" " * 100_000])
def test_a_server_of_tokens_in_trouble_is_no_finding(fake: FakeRegistry, content: bytes) -> None:
    reference = parse_reference(fake.add_manifest(fake.make_manifest()))
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token",service="s"'}
    fake.rules |= {"/manifests/": lambda _: (401, challenge, b""), "/token": lambda _: (200, {}, content)}
    with open_registry(reference, LOOPBACK) as registry, pytest.raises(RegistryError, match="a token that is none"):
        registry.get_manifest(lambda: None)


PLACES = {
    "127.0.0.1:9": "127.0.0.1 is not at a public address",
    "localhost:9": "localhost is not at a public address",
    "10.255.255.1": "10.255.255.1 is not at a public address",
    "[::1]:9": "::1 is not at a public address",
    "169.254.169.254": "169.254.169.254 is not at a public address",
}


@pytest.mark.parametrize(("host", "words"), PLACES.items())
def test_a_job_leads_to_public_addresses_only(engine: Engine, tmp_path: Path, host: str, words: str) -> None:
    """Else anybody could have a worker ask what only its machine and its network reach."""
    images = Images(engine, Settings(home=tmp_path), tmp_path, lambda: None)
    with pytest.raises(RegistryError, match=words):
        images.prepare(f"{host}/job@{DIGEST}", 10)


@pytest.mark.parametrize("place", ["http://10.255.255.1/blob", "https://10.255.255.1/blob", "http://[fd00::1]/x"])
def test_a_redirect_leads_to_public_addresses_only(fake: FakeRegistry, images: Images, place: str) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (307, {"Location": place}, b"")
    with pytest.raises(RegistryError, match="is not at a public address; if it is yours"):
        images.prepare(image, 10)


@pytest.mark.parametrize("way", ["trusted_registries", "plain_http_registries"])
def test_a_registry_that_the_owner_named_may_be_anywhere(
    fake: FakeRegistry, engine: Engine, tmp_path: Path, way: str
) -> None:
    image = fake.add_manifest(fake.make_manifest())
    settings = Settings(home=tmp_path, free_reserve_mib=1, **{way: (fake.host,)})  # type: ignore[arg-type]
    images = Images(engine, settings, tmp_path, lambda: None)
    try:
        images.prepare(image, 10)
    finally:
        images.remove(image)


def test_a_registry_whose_line_breaks_is_named_with_what_broke(
    fake: FakeRegistry, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise httpx2.ReadError("")  # says nothing by itself

    monkeypatch.setattr(registry_module, "call_apart", fail)
    images = Images(engine, Settings(home=tmp_path, plain_http_registries=(fake.host,)), tmp_path, lambda: None)
    with pytest.raises(RegistryError, match="does not answer: ReadError"):
        images.prepare(fake.add_manifest(fake.make_manifest()), 10)


def test_a_proxy_of_the_owner_decides_by_itself(
    fake: FakeRegistry, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    images = Images(engine, Settings(home=tmp_path), tmp_path, lambda: None)
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(f"registry.example/job@{DIGEST}", 10)


def test_what_goes_round_the_proxy_leads_to_public_addresses_only(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are the very hosts of the owner's own network."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org,0.0.0.0")
    images = Images(engine, Settings(home=tmp_path), tmp_path, lambda: None)
    with pytest.raises(RegistryError, match=r"0.0.0.0 is not at a public address"):
        images.prepare(f"0.0.0.0:9/job@{DIGEST}", 10)


def test_a_mirror_is_as_good(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    """The named registry is not even asked."""
    content = fake.add_manifest(fake.make_manifest())
    digest = content.rpartition("@")[2]
    image = f"registry.example.org/{NAME}@{digest}"
    settings = Settings(
        allow_loopback=True, home=tmp_path, free_reserve_mib=1, mirrors={"registry.example.org": (fake.host,)}
    )
    images = Images(engine, settings, tmp_path, lambda: None)
    found = images.prepare(image, 10)
    assert images.prepare(image, 10) == found
    images.remove(image)
    assert images.find(image) is None


def test_a_mirror_that_lacks_it_or_lies_is_passed_over(fake: FakeRegistry, engine: Engine, tmp_path: Path) -> None:
    image = fake.add_manifest(fake.make_manifest())
    mirror = Server()
    mirror.registry.rules["/manifests/"] = lambda _: (200, {}, b"{}")
    settings = Settings(
        allow_loopback=True,
        home=tmp_path,
        free_reserve_mib=1,
        mirrors={fake.host: (mirror.registry.host, "127.0.0.1:9")},
    )
    images = Images(engine, settings, tmp_path, lambda: None)
    try:
        assert images.prepare(image, 10).startswith("sha256:")
    finally:
        images.remove(image)
        mirror.stop()
