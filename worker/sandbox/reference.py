"""Names of images: registry, repository and the digest of one manifest."""

import re
from dataclasses import dataclass

from learningchain.registry import HUB, HUB_API
from worker.sandbox.types import BrokenImageError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<host>\[[0-9a-fA-F:]+\](?::[0-9]+)?|localhost(?::[0-9]+)?|[a-zA-Z0-9-]+(?::[0-9]+)"
    r"|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+(?::[0-9]+)?)/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::[\w][\w.-]{{0,127}})?@sha256:(?P<digest>[0-9a-f]{{64}})"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """One manifest in one repository."""

    host: str  # with the port, if it has one
    path: str
    digest: str  # sha256:<64 hex>

    @property
    def repository(self) -> str:
        """Return the name under which the engine pulls."""
        return f"{self.host}/{self.path}"

    @property
    def api_host(self) -> str:
        """Return where the registry's HTTP interface is."""
        return HUB_API if self.host == HUB else self.host

    def at(self, host: str) -> "Reference":
        """Return the same manifest at another registry."""
        return Reference(host, self.path, self.digest)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


def parse_reference(image: str) -> Reference:
    """Return the parts of `[registry/]repository[:tag]@sha256:<64 hex>`. Raises BrokenImageError."""
    match = _REFERENCE.fullmatch(image)
    if match is None:
        raise BrokenImageError(f"{image[:200]!r} is no image name of the form registry/repository@sha256:<64 hex>")
    host, path = match["host"] or HUB, match["path"]
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, f"sha256:{match['digest']}")
