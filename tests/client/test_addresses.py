"""Where URLs of strangers may lead."""

import ipaddress
import socket

import pytest

from learningchain.addresses import AddressRefused, is_allowed, resolve


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/model", "http://localhost/model", "http://[::1]/model", "http://10.0.0.1/model",
        "http://192.168.1.1/model", "http://169.254.169.254/latest/meta-data", "http://100.64.0.1/model",
        "http://[::ffff:127.0.0.1]/model", "http://2130706433/model", "http://0x7f.1/model", "http://0.0.0.0/model",
        "http://[fe80::1]/model", "http://[fd00::1]/model", "http://224.0.0.1/model",
    ],
)  # fmt: skip
def test_only_public_addresses_are_contacted(url: str) -> None:
    with pytest.raises(AddressRefused, match="public"):
        resolve(url, allow_loopback=False)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only plain"), ("gopher://127.0.0.1/", "only plain"), ("ftp://example.com/m", "plain"),
        ("http://user:secret@93.184.216.34/", "only plain"), ("http://", "only plain"), ("http://[::1", "be read"),
        ("http://@93.184.216.34/", "only plain"), ("http://8。8。8。8/m", "ASCII"), ("http://8.8.8.8/é", "ASCII"),
        ("http://8.8.8.8 /", "ASCII"), ("http://8.8.8.8\r\nX: y/", "ASCII"), ("http://bücher.example/", "Punycode"),
        ("http://93.184.216.34:99999/", "be read"), (f"http://{'a' * 70}.example/", "cannot be resolved"),
    ],
)  # fmt: skip
def test_other_urls_are_refused_with_their_reason(url: str, reason: str) -> None:
    with pytest.raises(AddressRefused, match=reason):
        resolve(url, allow_loopback=False)


def test_a_public_address_is_contacted_as_it_was_checked() -> None:
    target = resolve("https://93.184.216.34:8443/a?b=c", allow_loopback=False)
    assert target.url == "https://93.184.216.34:8443/a?b=c"
    assert target.headers == {"Host": "93.184.216.34:8443"}
    assert target.extensions == {"sni_hostname": "93.184.216.34"}


def test_a_name_is_resolved_once_and_every_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers with a public address now and an inner one later leads nowhere else."""
    answers = [["93.184.216.34"], ["93.184.216.34", "10.0.0.1"]]

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    target = resolve("http://models.example/m", allow_loopback=False)
    assert (target.url, target.headers) == ("http://93.184.216.34:80/m", {"Host": "models.example"})
    with pytest.raises(AddressRefused, match="public"):
        resolve("http://models.example/m", allow_loopback=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1"])
def test_loopback_is_allowed_only_where_the_settings_say_so(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), allow_loopback=True)
    assert not is_allowed(ipaddress.ip_address(address), allow_loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::", "fe80::1"])
def test_loopback_does_not_open_other_inner_addresses(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), allow_loopback=True)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("64:ff9b::a00:1", False), ("64:ff9b::5db8:d822", True), ("2002:a00:1::", False), ("::ffff:10.0.0.1", False),
        ("fec0::1", False), ("::7f00:1", False), ("::5db8:d822", False), ("3fff::1", False), ("5f00::1", False),
        ("64:ff9b:1::1", False), ("100::1", False), ("192.0.0.8", False), ("192.88.99.1", False),
        ("::ffff:192.0.0.8", False), ("::ffff:93.184.216.34", True), ("8.8.8.8", True),
        ("2001:0:5db8:d822:0:0:f5ff:fffe", False), ("2606:2800:220:1::1", True),
    ],
)  # fmt: skip
def test_an_inner_address_in_an_ipv6_one_is_seen_and_what_nobody_routes_refused(address: str, allowed: bool) -> None:
    """Through a translator 64:ff9b::a00:1 is 10.0.0.1."""
    assert is_allowed(ipaddress.ip_address(address), allow_loopback=True) is allowed
