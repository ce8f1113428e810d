"""Which images are pulled, which are UNRUNNABLE, and what is only this machine's trouble."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox.fake_registry import NAME, Answer, FakeRegistry, Server, digest_of, make_layer, wait
from worker.sandbox import BrokenImageError, DockerSandbox, NoSpaceError, OwnFailureError, RegistryError
from worker.sandbox import SandboxSettings as Settings
from worker.sandbox import images as images_module
from worker.sandbox import registry as registry_module
from worker.sandbox.engine import Engine
from worker.sandbox.images import Images
from worker.sandbox.pulls import raise_for
from worker.sandbox.reference import is_loopback, parse_reference
from worker.sandbox.registry import Registry

DIGEST = "sha256:" + "ab" * 32
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def registry_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def fake(registry_server: Server) -> FakeRegistry:
    return registry_server.registry


@pytest.fixture
def images(docker_host: str, tmp_path: Path) -> Iterator[Images]:
    engine = Engine(docker_host)
    yield Images(engine, Settings(home=tmp_path, free_reserve_mib=1), tmp_path, lambda: None)
    engine.close()


@pytest.mark.parametrize(
    ("image", "repository", "api"),
    [
        (f"ubuntu@{DIGEST}", "docker.io/library/ubuntu", "registry-1.docker.io"),
        (f"someone/job@{DIGEST}", "docker.io/someone/job", "registry-1.docker.io"),
        (f"ghcr.io/someone/job:v1@{DIGEST}", "ghcr.io/someone/job", "ghcr.io"),
        (f"localhost:5000/a__b-c/d.e@{DIGEST}", "localhost:5000/a__b-c/d.e", "localhost:5000"),
        (f"[::1]:5000/job@{DIGEST}", "[::1]:5000/job", "[::1]:5000"),
    ],
)
def test_a_name_by_digest_is_taken_apart(image: str, repository: str, api: str) -> None:
    reference = parse_reference(image)
    assert (reference.repository, reference.api_host, reference.digest) == (repository, api, DIGEST)


@pytest.mark.parametrize(
    "name",
    ["", "Ubuntu", "a//b", "../a", "a b", "http://a/b", "u:p@host/b", "a?b", "-a", "a/", "/a", "a:b:c", "a\n", "é"],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(BrokenImageError):
        parse_reference(f"{name}@{DIGEST}")


@pytest.mark.parametrize("digest", ["", ":latest", f"@{DIGEST[:-1]}", f"@{DIGEST}\n", f"@{DIGEST.upper()}", "@md5:00"])
def test_a_name_without_a_digest_is_refused(digest: str) -> None:
    with pytest.raises(BrokenImageError):
        parse_reference(f"ubuntu{digest}")


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "localhost:80", "[::1]:5000", "127.9.9.9"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1:5000", "localhost.example.org", "127.0.0.1.example.org:80", "[::2]:80"])
def test_another_machine_is_known(host: str) -> None:
    assert not is_loopback(host)


def test_a_plain_registry_elsewhere_is_asked_over_https_unless_configured(
    monkeypatch: pytest.MonkeyPatch, images: Images, docker_host: str, tmp_path: Path
) -> None:
    schemes: list[bool] = []

    class Seen(Exception):
        pass

    def see(_: object, *, is_plain: bool) -> None:
        schemes.append(is_plain)
        raise Seen

    monkeypatch.setattr(images_module, "Registry", see)
    configured = Settings(home=tmp_path, plain_http_registries=("10.0.0.1:5000",))
    for judge in (images, Images(Engine(docker_host), configured, tmp_path, lambda: None)):
        with pytest.raises(Seen):
            judge.prepare(f"10.0.0.1:5000/job@{DIGEST}", 10)
    assert schemes == [False, True]


def test_an_image_within_the_contract_is_pulled_once(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest())
    try:
        found = images.prepare(image, 10)
        assert found.startswith("sha256:")
        count = len(fake.requests)
        assert images.prepare(image, 10) == found
        assert len(fake.requests) == count
    finally:
        images.remove(image)
    assert images.engine.image(image) is None


def _change(**changes: Any) -> Callable[[FakeRegistry], dict[str, Any]]:
    return lambda fake: fake.make_manifest() | changes


def _configure(**config: Any) -> Callable[[FakeRegistry], dict[str, Any]]:
    return lambda fake: fake.make_manifest(**config)


def _resize(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] = (10 << 20) + 1
    return manifest


def _foreign(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["layers"][0]["urls"] = ["http://127.0.0.1/layer"]
    return manifest


def _misname(fake: FakeRegistry) -> dict[str, Any]:
    manifest = fake.make_manifest()
    manifest["config"]["digest"] = "sha256:" + "../" * 21 + "x"
    return manifest


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_change(mediaType=INDEX, manifests=[]), "index"),
        (_change(manifests=[]), "index"),
        (_change(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "not the manifest"),
        (_change(layers=[]), "1 to 120 layers"),
        (_change(layers=[{}] * 121), "1 to 120 layers"),
        (_change(layers=[{"digest": "md5:0", "size": 1}]), "digest"),
        (_change(config=None), "layer that lies elsewhere"),
        (_misname, "digest"),
        (_resize, "11 MiB, 10 are allowed"),
        (_foreign, "lies elsewhere"),
        (_configure(architecture="arm64"), "linux/amd64"),
        (_configure(os="windows"), "linux/amd64"),
        (_configure(config={"Volumes": {"/data": {}}}), "VOLUME"),
        (_configure(config={"Labels": None}), "label"),
        (_configure(config={"Labels": {"org.learningchain.contract": "2"}}), "label"),
        (lambda fake: b"[]", "not a JSON object"),
        (lambda fake: b"[" * 100_000, "not a JSON object"),
        (lambda fake: b" " * (5 << 20), "larger than"),
    ],
)
def test_an_image_outside_the_contract_is_not_pulled(
    fake: FakeRegistry, images: Images, make: Callable[[FakeRegistry], Any], words: str
) -> None:
    image = fake.add_manifest(make(fake))
    with pytest.raises(BrokenImageError, match=words):
        images.prepare(image, 10)
    layer = digest_of(make_layer(x=10)[0])
    assert not [path for path in fake.requests if layer in path]
    assert images.engine.image(image) is None


def test_an_image_that_is_here_already_is_judged_like_anywhere_else(fake: FakeRegistry, images: Images) -> None:
    manifest = fake.make_manifest()
    manifest["layers"][0]["size"] = 5 << 20
    manifest["layers"][0] |= {"size": len(fake.content[manifest["layers"][0]["digest"]])}
    image = fake.add_manifest(manifest)
    images.prepare(image, 10)
    with pytest.raises(BrokenImageError, match="0 are allowed"):
        images.prepare(image, 0)
    images.remove(image)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_image_that_is_not_there_for_everybody_is_broken(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (status, {}, b"")
    with pytest.raises(BrokenImageError, match="not for everybody"):
        images.prepare(image, 10)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 302, 418])
def test_a_registry_in_trouble_is_no_finding(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (status, {}, b"")
    with pytest.raises(RegistryError):
        images.prepare(image, 10)


def test_a_registry_that_is_down_or_slow_is_no_finding(
    registry_server: Server, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "READ_SECONDS", 0.2)
    fake = registry_server.registry
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = wait(0.6, (404, {}, b""))
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(image, 10)
    registry_server.stop()
    with pytest.raises(RegistryError, match="does not answer"):
        images.prepare(image, 10)


def test_other_bytes_than_the_digests_are_no_finding(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest())
    fake.rules["/manifests/"] = lambda _: (200, {}, json.dumps(fake.make_manifest(os="windows")).encode())
    with pytest.raises(RegistryError, match="other bytes"):
        images.prepare(image, 10)


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
    with Registry(reference, is_plain=True) as registry:
        assert registry.get_blob(digest_of(b"blob"), 10) == b"blob"
    assert seen == ["none"]
    scope = f"repository:{NAME}:pull"
    assert any(parse_qs(urlsplit(path).query) == {"service": ["s"], "scope": [scope]} for path in fake.requests)
    other.stop()


def test_a_mirror_is_as_good(fake: FakeRegistry, docker_host: str, tmp_path: Path) -> None:
    """The named registry is not even asked."""
    content = fake.add_manifest(fake.make_manifest())
    digest = content.rpartition("@")[2]
    image = f"registry.example.org/{NAME}@{digest}"
    settings = Settings(home=tmp_path, free_reserve_mib=1, mirrors={"registry.example.org": (fake.host,)})
    images = Images(Engine(docker_host), settings, tmp_path, lambda: None)
    found = images.prepare(image, 10)
    assert images.prepare(image, 10) == found
    images.remove(image)
    assert Engine(docker_host).image(content) is None


def test_a_mirror_that_lacks_it_or_lies_is_passed_over(fake: FakeRegistry, docker_host: str, tmp_path: Path) -> None:
    image = fake.add_manifest(fake.make_manifest())
    mirror = Server()
    mirror.registry.rules["/manifests/"] = lambda _: (200, {}, b"{}")
    settings = Settings(home=tmp_path, free_reserve_mib=1, mirrors={fake.host: (mirror.registry.host, "127.0.0.1:9")})
    images = Images(Engine(docker_host), settings, tmp_path, lambda: None)
    try:
        assert images.prepare(image, 10).startswith("sha256:")
    finally:
        images.remove(image)
        mirror.stop()


def test_a_layer_that_cannot_be_unpacked_breaks_the_image(fake: FakeRegistry, images: Images) -> None:
    image = fake.add_manifest(fake.make_manifest(b"no layer" * 100, digest_of(b"")))
    with pytest.raises(BrokenImageError, match="cannot be unpacked"):
        images.prepare(image, 10)


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_layer_that_does_not_come_is_the_registry_s_failure(fake: FakeRegistry, images: Images, status: int) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = lambda _: (status, {}, b"")
    with pytest.raises(RegistryError):
        images.prepare(image, 10)


@pytest.mark.parametrize(
    "words",
    [
        "failed to register layer: write /lib/x: no space left on device",
        "write /var/lib/docker/tmp/GetImageBlob1: disk quota exceeded",
    ],
)
def test_a_full_disk_is_not_the_registry_s_failure(words: str) -> None:
    with pytest.raises(OwnFailureError) as caught:
        raise_for(parse_reference(f"ubuntu@{DIGEST}"), words)
    assert not isinstance(caught.value, RegistryError)


def test_a_pull_stops_before_the_disk_is_full(
    fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of zeros, a thousand times smaller on its way: the first look finds room, a later one does not."""
    looks = 0

    def check(*_: object) -> None:
        nonlocal looks
        looks += 1
        if looks > 2:
            raise NoSpaceError("the reserve is reached")

    monkeypatch.setattr(images_module, "check_space", check)
    # A layer that the engine has never seen, which comes late: it is not here at the second look on any disk.
    image = fake.add_manifest(manifest := fake.make_manifest(*make_layer(**{secrets.token_hex(8): 1 << 27})))
    layer = manifest["layers"][0]["digest"]
    fake.rules[layer] = wait(1, (200, {}, fake.content[layer]))
    try:
        with pytest.raises(NoSpaceError):
            images.prepare(image, 10)
        assert images.engine.image(image) is None
    finally:
        images.remove(image)


def test_images_used_longest_ago_make_room(fake: FakeRegistry, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was pulled here goes; the newest stays. With none left to go the disk is full."""
    old, new, third = (fake.add_manifest(fake.make_manifest(*make_layer(x=size))) for size in (10, 20, 30))
    for image in (new, old, new):  # the second use counts
        images.prepare(image, 10)
        time.sleep(0.02)
    room = [False, True, True]
    monkeypatch.setattr(images_module, "check_space", lambda *_: _require(room.pop(0) if room else True))
    try:
        images.prepare(third, 10)
        assert [images.engine.image(image) is not None for image in (old, new, third)] == [False, True, True]
        monkeypatch.setattr(images_module, "check_space", lambda *_: _require(False))
        with pytest.raises(NoSpaceError):
            images.prepare(old, 10)
        assert [images.engine.image(image) for image in (new, third)] == [None, None]
    finally:
        for image in (old, new, third):
            images.remove(image)


def _require(is_room: bool) -> None:
    if not is_room:
        raise NoSpaceError("the reserve is reached")


def test_no_pull_starts_without_room(fake: FakeRegistry, docker_host: str, tmp_path: Path) -> None:
    images = Images(Engine(docker_host), Settings(home=tmp_path, free_reserve_mib=1 << 40), tmp_path, lambda: None)
    with pytest.raises(NoSpaceError, match="in reserve"):
        images.prepare(fake.add_manifest(fake.make_manifest()), 10)


def test_a_pull_has_a_time_limit(fake: FakeRegistry, docker_host: str, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = wait(3, (404, {}, b""))
    settings = Settings(home=tmp_path, free_reserve_mib=1, pull_seconds=1)
    images = Images(Engine(docker_host), settings, tmp_path, lambda: None)
    with pytest.raises(OwnFailureError, match="pull_seconds"):
        images.prepare(image, 10)


def test_a_pull_ends_when_the_sandbox_closes(fake: FakeRegistry, docker_host: str, tmp_path: Path) -> None:
    image = fake.add_manifest(manifest := fake.make_manifest())
    fake.rules[manifest["layers"][0]["digest"]] = wait(3, (404, {}, b""))

    def check_open() -> None:
        raise OwnFailureError("the sandbox is closing")

    images = Images(Engine(docker_host), Settings(home=tmp_path, free_reserve_mib=1), tmp_path, check_open)
    with pytest.raises(OwnFailureError, match="closing"):
        images.prepare(image, 10)


def test_a_slow_registry_does_not_hold_up_another_image(fake: FakeRegistry, images: Images) -> None:
    slow = fake.add_manifest(manifest := fake.make_manifest(*make_layer(slow=20)))
    fake.rules[manifest["layers"][0]["digest"]] = wait(4, (404, {}, b""))

    def pull() -> None:
        with pytest.raises(OwnFailureError):
            images.prepare(slow, 10)

    waiting = threading.Thread(target=pull)
    waiting.start()
    quick = fake.add_manifest(fake.make_manifest())
    try:
        images.prepare(quick, 10)
        assert waiting.is_alive()
    finally:
        waiting.join()
        images.remove(quick)


def test_an_image_is_pulled_from_a_real_registry(sandbox: DockerSandbox, hostile: str) -> None:
    sandbox.remove_image(hostile)
    for tag in (hostile.partition("@")[0] + ":1", hostile):
        sandbox.host.engine.remove_image(tag)
    assert sandbox.host.engine.image(hostile) is None
    sandbox.prepare(hostile, 1024)
    assert sandbox.host.engine.image(hostile) is not None
