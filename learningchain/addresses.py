"""Where a URL that a stranger wrote may lead: to public addresses only, and to the very address that was checked."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Carries an IPv4 address in its last four bytes, which a gateway connects to."""
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that the public IPv6 internet uses; old site-local addresses, IPv4-compatible ones and the like are outside."""
NOT_PUBLIC: Final = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Networks for protocols, old relays and documentation that some versions of Python call global."""

_PLAIN: Final = re.compile("[!-~]*")


class AddressRefused(Exception):
    """The URL is not followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to give an HTTP client so that it connects to a checked address and still speaks to the URL's host."""

    url: str
    headers: dict[str, str]
    extensions: dict[str, str]


def resolve(url: str, allow_loopback: bool) -> Target:
    """Resolve the host once, check every answer, and return the target at the first. Raises AddressRefused.

    Loopback is public enough only where all nodes are on one machine, as in a devnet.
    """
    parts, port = _split(url)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    except (OSError, ValueError) as error:
        raise AddressRefused(f"{host} cannot be resolved: {error}") from error
    if not addresses or not all(is_allowed(address, allow_loopback) for address in addresses):
        raise AddressRefused(f"{host} is not at a public address")
    literal = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    target = f"{parts.scheme}://{literal}:{port}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
    return Target(target, {"Host": parts.netloc}, {"sni_hostname": host} if parts.scheme == "https" else {})


def check_url(url: str) -> None:
    """Raise AddressRefused for a URL of a form that nobody follows; nothing is resolved."""
    _split(url)


def is_allowed(address: IpAddress, allow_loopback: bool) -> bool:
    """Tell whether an address is one of the public internet, or loopback where that is allowed."""
    inner = _find_inner(address)
    if inner is not None:
        return _is_public(inner)
    is_unicast = address.version == 4 or address in GLOBAL_UNICAST
    return (is_unicast and _is_public(address)) or (allow_loopback and address.is_loopback)


def _is_public(address: IpAddress) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)


def _find_inner(address: IpAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _split(url: str) -> tuple[SplitResult, int]:
    # The resolver reads more than HTTP can say: U+3002 is a dot to it, and no character of a Host header.
    if _PLAIN.fullmatch(url) is None:
        raise AddressRefused("the URL has characters other than printable ASCII: write its host in Punycode")
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise AddressRefused("the URL cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise AddressRefused("only plain http and https URLs are followed")
    return parts, port
