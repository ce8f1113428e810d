"""Where the server listens: a Unix socket or a loopback port. ABCI has no password, so nothing else is accepted."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_UNIX_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux, in bytes."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket at an absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port on a loopback address; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Return the address of `unix:///path` or `tcp://127.0.0.1:port`. Raises ValueError with a reason."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        return _parse_unix(rest)
    if separator and scheme == "tcp":
        return _parse_tcp(rest)
    raise ValueError(f"{text!r} is no address: write unix:///absolute/path or tcp://127.0.0.1:26658")


def _parse_unix(path: str) -> UnixAddress:
    if not path.startswith("/"):
        raise ValueError(f"the socket path {path!r} is not absolute: write unix:///absolute/path")
    if len(path.encode()) > MAX_UNIX_PATH_BYTES:
        raise ValueError(f"the socket path has more than {MAX_UNIX_PATH_BYTES} bytes: choose a shorter folder")
    return UnixAddress(Path(path))


def _parse_tcp(rest: str) -> TcpAddress:
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{rest!r} has no port: write tcp://127.0.0.1:26658")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"{host!r} is no loopback address: whoever reaches this port commands the node, use 127.0.0.1")
    return TcpAddress("127.0.0.1" if host == "localhost" else host, int(port))
