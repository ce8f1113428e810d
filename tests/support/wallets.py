"""Wallets of tests: Ed25519 keys from names, so that every run sees the same addresses."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from abci_app.protocol.hashing import compute_address, get_key_proof_bytes


@dataclass(frozen=True)
class Wallet:
    """A named key pair. It stands for its account unless `owner` names another account that the key was added to."""

    name: str
    owner: bytes | None = None

    @property
    def seed(self) -> bytes:
        """The 32 bytes that the key is made from."""
        return hashlib.sha256(self.name.encode()).digest()

    @cached_property
    def _pair(self) -> tuple[bytes, bytes]:
        public_key, secret_key = crypto_sign_seed_keypair(self.seed)
        return bytes(public_key), bytes(secret_key)

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._pair[0]

    @cached_property
    def address(self) -> bytes:
        """The account this wallet signs for."""
        return self.owner if self.owner is not None else compute_address(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return bytes(crypto_sign(message, self._pair[1]))[:64]

    def prove_for(self, chain_tag: bytes, account: bytes) -> bytes:
        """Return the proof with which SetKey adds this key to an account."""
        return self.sign(get_key_proof_bytes(chain_tag, account))
