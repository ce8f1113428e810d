"""Mallory: takes a model that others trained and revealed, and claims a loss it never reached.

A ban takes what an account holds, so Mallory has some credits to lose: the contractor sends them beforehand.
"""

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.limits import SALT_BYTES
from learningchain.client import SyncClient
from learningchain.wallet import SecretKey

CLAIMED_LOSS: Final = 100_000
"""0.0001 in units of 1e-9."""


class Cheater:
    """A fresh account with somebody else's model."""

    def __init__(self, client: SyncClient, model: bytes) -> None:
        """Make an account; `model` is one that was revealed before."""
        self._client = client
        self._model = model
        self._digest = hashlib.sha256(model).digest()
        self._salt = secrets.token_bytes(SALT_BYTES)
        self._key = SecretKey.generate()
        self.address = client.register(self._key)
        self._sender = client.sender(self._key)

    def announce(self, job_id: int) -> None:
        """Claim the loss."""
        tag = self._client.get_chain().chain_tag
        commitment = compute_model_commitment(tag, job_id, self.address, self._digest, self._salt)
        self._sender.send(tx_pb2.Announce(job_id=job_id, loss=CLAIMED_LOSS, commitment=commitment))

    def reveal(self, job_id: int, location: str) -> None:
        """Name the model, so that the committee looks at it."""
        self._sender.send(
            tx_pb2.Reveal(
                job_id=job_id, model_digest=self._digest, size=len(self._model), salt=self._salt, locations=[location]
            )
        )

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve the model on loopback while the block runs; gives its URL."""
        model = self._model

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(model)))
                self.end_headers()
                self.wfile.write(model)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the screen is for the story."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/model"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
