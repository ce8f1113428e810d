"""A registry on loopback that serves what it is told to, and misbehaves when it is told to."""

import contextlib
import gzip
import hashlib
import io
import json
import secrets
import socket
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
NAME = "owner/job"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_layer(**files: int) -> tuple[bytes, str]:
    """Return a gzipped layer of files of so many zeros, and the digest of what it unpacks to."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, size in files.items():
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return gzip.compress(content.getvalue(), mtime=0), digest_of(content.getvalue())


@dataclass
class FakeRegistry:
    """Holds manifests and blobs by digest; `rules` answer first, by a part of the path."""

    host: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    rules: dict[str, Callable[[dict[str, str]], Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def add(self, content: bytes) -> str:
        self.content[digest_of(content)] = content
        return digest_of(content)

    def add_manifest(self, manifest: dict[str, Any] | bytes) -> str:
        """Return the image's name."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        return f"{self.host}/{NAME}@{self.add(content)}"

    def make_manifest(self, layer: bytes = b"", diff: str = "", **config: Any) -> dict[str, Any]:
        """Return the manifest of an image that keeps the contract, but for `config`."""
        settings = {"Labels": {"org.learningchain.contract": "1"}, **config.pop("config", {})}
        if not layer:  # one that the engine has from no other test
            layer, diff = make_layer(**{secrets.token_hex(8): 10})
        rootfs = {"type": "layers", "diff_ids": [diff]}
        body = {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": settings, **config}
        content = json.dumps(body).encode()
        return {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": self.add(content),
                "size": len(content),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "digest": self.add(layer),
                    "size": len(layer),
                }
            ],
        }

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append(path)
        for part, rule in self.rules.items():
            if part in path:
                return rule(headers)
        if path == "/v2/":
            return 200, {}, b"{}"
        content = self.content.get(path.rpartition("/")[2])
        if content is None:
            return 404, {}, b'{"errors":[]}'
        kind = DOCKER_MANIFEST if "/manifests/" in path else "application/octet-stream"
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest_of(content)}, content


class Server(ThreadingHTTPServer):
    """Serves a FakeRegistry on a loopback port of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = FakeRegistry(host=f"127.0.0.1:{self.server_port}")
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up, as some tests make them; show everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # so that a TLS handshake gets a status line, by which engines know plain HTTP
    server: Server

    def do_GET(self) -> None:
        status, headers, content = self.server.registry.answer(self.path, dict(self.headers))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class DrippingServer:
    """Answers each request on a loopback port of its own with a header that comes byte by byte and never ends."""

    def __init__(self, pause_seconds: float = 0.1) -> None:
        self._pause = pause_seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.image = f"127.0.0.1:{self._listener.getsockname()[1]}/{NAME}@sha256:{'a' * 64}"
        self.asked = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is stopped
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # until the client hangs up
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            self.asked.set()
            while True:
                connection.sendall(b"a")
                time.sleep(self._pause)


class Held:
    """A rule that answers, with 404, only once it is let go."""

    def __init__(self) -> None:
        self.asked, self._let_go = threading.Event(), threading.Event()

    def __call__(self, _: dict[str, str]) -> Answer:
        self.asked.set()
        self._let_go.wait()
        return 404, {}, b""

    def let_go(self) -> None:
        self._let_go.set()


def wait(seconds: float, then: Answer) -> Callable[[dict[str, str]], Answer]:
    """Return a rule that answers late."""

    def rule(_: dict[str, str]) -> Answer:
        time.sleep(seconds)
        return then

    return rule
