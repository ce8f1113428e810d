"""Names of images: taken apart, refused without a digest."""

import pytest

from learningchain.registry import is_loopback
from worker.sandbox import BrokenImageError
from worker.sandbox.reference import parse_reference

DIGEST = "sha256:" + "ab" * 32


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


@pytest.mark.parametrize(
    "host", ["10.0.0.1:5000", "localhost.example.org", "127.0.0.1.example.org:80", "[::2]:80", "[:::]:80"]
)
def test_another_machine_is_known(host: str) -> None:
    assert not is_loopback(host)
