"""A small client of the Docker Engine's HTTP interface, for the time before the Python environment exists."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from tools.setup.settings import SetupError

QUICK_SECONDS = 3.0
PATIENT_SECONDS = 300.0
NO_LOGIN = "e30="  # base64 of {}; the engine wants the header even where no registry asks for a login


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """A Docker Engine at `host`: `unix:///path` or `tcp://address:port` without TLS."""

    def __init__(self, host: str) -> None:
        self.host = host

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """Return a new connection; nothing is sent yet."""
        parts = urlsplit(self.host)
        if parts.scheme == "unix":
            return UnixConnection(parts.path, timeout)
        if parts.scheme == "tcp" and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout)
        raise SetupError(f"DOCKER_HOST={self.host} is neither unix:///… nor tcp://…", "unset DOCKER_HOST")

    def why_not(self) -> str:
        """Return why the engine does not answer; empty when it does."""
        connection = self.connect(QUICK_SECONDS)
        try:
            connection.request("GET", "/_ping")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        return "" if status == http.client.OK else f"it answers with status {status}"

    def get(self, path: str) -> Any:
        """Return the answer to a GET, or None when there is no such thing."""
        with self._talk() as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        if answer.status == http.client.NOT_FOUND:
            return None
        if answer.status != http.client.OK:
            raise SetupError(f"the Docker Engine refused {path}: {body[:300]!r}")
        return json.loads(body)

    def post(
        self,
        path: str,
        query: dict[str, str],
        body: IO[bytes] | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Send a POST and yield the JSON lines of its answer; raise SetupError at the first that reports an error."""
        with self._talk() as connection:
            all_headers = {"Content-Type": "application/x-tar", **(headers or {})}
            connection.request("POST", f"{path}?{urlencode(query)}", body, all_headers)
            answer = connection.getresponse()
            if answer.status not in {http.client.OK, http.client.CREATED, http.client.NO_CONTENT}:
                raise SetupError(f"the Docker Engine refused {path}: {answer.read(300)!r}")
            for line in answer:
                message = json.loads(line) if line.strip() else {}
                if "error" in message:
                    raise SetupError(f"the Docker Engine failed at {path}: {message['error']}")
                yield message

    @contextmanager
    def _talk(self) -> Iterator[http.client.HTTPConnection]:
        connection = self.connect(PATIENT_SECONDS)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise SetupError(
                f"the Docker Engine at {self.host} went away: {reason}", "run the same command again"
            ) from error
        finally:
            connection.close()

    def has_image(self, reference: str) -> bool:
        """Tell whether the engine holds an image."""
        return self.get(f"/images/{quote(reference)}/json") is not None

    def tag(self, source: str, repository: str, tag: str) -> None:
        """Give an image one more name."""
        list(self.post(f"/images/{quote(source)}/tag", {"repo": repository, "tag": tag}))

    def pull(self, repository: str, tag: str) -> None:
        """Pull an image."""
        list(self.post("/images/create", {"fromImage": repository, "tag": tag}))

    def push(self, repository: str, tag: str) -> None:
        """Push an image to the registry in its name."""
        list(self.post(f"/images/{quote(repository)}/push", {"tag": tag}, headers={"X-Registry-Auth": NO_LOGIN}))

    def remove(self, reference: str) -> None:
        """Take a name from an image; the image goes with its last one. One that is not there is fine."""
        with self._talk() as connection:
            connection.request("DELETE", f"/images/{quote(reference)}")
            answer = connection.getresponse()
            body = answer.read()
        if answer.status not in {http.client.OK, http.client.NOT_FOUND}:
            raise SetupError(f"the Docker Engine refused to remove {reference}: {body[:300]!r}")

    def import_tar(self, tar: Path, repository: str, tag: str) -> None:
        """Make an image of one layer from the root file system in `tar`."""
        with tar.open("rb") as body:
            query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": 'CMD ["/bin/sh"]'}
            list(self.post("/images/create", query, body, {"Content-Length": str(tar.stat().st_size)}))

    def prune(self) -> None:
        """Delete images without a name that our Dockerfiles made: first stages, and what newer builds replaced."""
        filters = {"dangling": ["true"], "label": ["org.learningchain.stage"]}
        list(self.post("/images/prune", {"filters": json.dumps(filters)}))

    def build(self, context: bytes, tag: str, arguments: dict[str, str]) -> Iterator[str]:
        """Build an image without network from a tar of its folder; yield the lines the build prints."""
        query = {"t": tag, "rm": "1", "forcerm": "1", "networkmode": "none", "buildargs": json.dumps(arguments)}
        for message in self.post("/build", query, context):
            yield str(message.get("stream", "")).strip()
