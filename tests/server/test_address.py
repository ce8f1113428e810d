"""Where a server may listen."""

from pathlib import Path

import pytest

from abci_app.server.address import TcpAddress, UnixAddress, parse_address


def test_unix_and_loopback_addresses_are_accepted() -> None:
    assert parse_address("unix:///run/lc.sock") == UnixAddress(Path("/run/lc.sock"))
    assert parse_address("tcp://127.0.0.1:26658") == TcpAddress("127.0.0.1", 26658)
    assert parse_address("tcp://localhost:1") == TcpAddress("127.0.0.1", 1)
    assert parse_address("tcp://[::1]:26658") == TcpAddress("::1", 26658)


@pytest.mark.parametrize("text", ["unix:///run/lc.sock", "tcp://127.0.0.1:26658", "tcp://[::1]:26658"])
def test_an_address_prints_as_it_is_written(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:26658", "tcp://192.168.0.1:26658", "tcp://example.org:26658"])
def test_addresses_that_others_can_reach_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no loopback address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no address"),
        ("/run/lc.sock", "no address"),
        ("http://127.0.0.1:1", "no address"),
        ("unix://relative.sock", "not absolute"),
        ("unix:///" + "x" * 107, "more than 107 bytes"),
        ("tcp://127.0.0.1", "no port"),
        ("tcp://127.0.0.1:x", "no port"),
        ("tcp://127.0.0.1:65536", "no port"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text)
