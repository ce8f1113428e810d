"""Stands in for dockerd: answers /_ping on the socket of -H, has a helper process as dockerd has containerd.

With FAKE_FAILS in the environment it says why and ends at once, as dockerd does where it cannot work.
"""

import argparse
import http.server
import os
import signal
import socketserver
import subprocess
import sys
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Says OK to everything."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"OK")

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return "local"


def main() -> None:
    """Serve until SIGTERM."""
    if "FAKE_FAILS" in os.environ:
        sys.exit("failed to start daemon: Devices cgroup isn't mounted")
    parser = argparse.ArgumentParser()
    for name in ("-H", "--exec-root", "--pidfile", "--data-root"):
        parser.add_argument(name, required=True)
    options, _ = parser.parse_known_args()
    Path(options.data_root).mkdir(parents=True, exist_ok=True)
    arguments = ["containerd", "-c", "sleep 60 & echo; wait", f"{options.exec_root}/containerd/containerd.toml"]
    child = subprocess.Popen(arguments, executable="/bin/sh", stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()  # it has a child of its own now
    Path(options.pidfile).write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socketserver.UnixStreamServer(options.H.removeprefix("unix://"), Handler) as server:
        try:
            server.serve_forever()
        finally:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
