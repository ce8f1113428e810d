"""The JSON of a key file, strictly read."""

import json
from dataclasses import dataclass
from typing import Any, Final

from nacl import pwhash, secret

from abci_app.protocol.bech32 import decode_address, encode_address
from abci_app.protocol.hashing import compute_address
from abci_app.protocol.limits import KEY_BYTES

VERSION: Final = 1
KDF: Final = "argon2id"
CIPHER: Final = "xsalsa20-poly1305"
SEED_BYTES: Final = 32
MAX_OPERATIONS: Final = 16
MAX_MEMORY_BYTES: Final = 1 << 30
"""Bounds on the cost that a file may ask for: about 10 s on a small machine."""
MIN_MEMORY_BYTES: Final = pwhash.argon2id.MEMLIMIT_MIN


class BadKeyFile(ValueError):
    """The bytes are not a key file of this version; the text says which field and what to do."""


@dataclass(frozen=True, slots=True)
class KdfCost:
    """Cost of one guess of a password: passes over `memory_bytes` of memory."""

    operations: int = 3
    memory_bytes: int = 1 << 28


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted seed and how its key is made from the password."""

    cost: KdfCost
    salt: bytes
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, repr=False)
class StoredKey:
    """The content of a key file; `secret` is the seed itself where the key is not encrypted."""

    name: str
    public_key: bytes
    account: bytes
    secret: Sealed | bytes


def encode(stored: StoredKey) -> bytes:
    """Return the bytes of a key file."""
    fields: dict[str, Any] = {
        "version": VERSION,
        "name": stored.name,
        "address": encode_address(compute_address(stored.public_key)),
        "account": encode_address(stored.account),
        "public_key": stored.public_key.hex(),
    }
    if isinstance(stored.secret, bytes):
        fields["unencrypted_seed"] = stored.secret.hex()
    else:
        fields["encrypted_seed"] = _encode_sealed(stored.secret)
    return (json.dumps(fields, indent=2) + "\n").encode("ascii")


def decode(data: bytes) -> StoredKey:
    """Return the content of a key file. Raises BadKeyFile."""
    fields = _as_object(data)
    if fields.get("version") != VERSION:
        raise BadKeyFile(f"version is not {VERSION}: the key was written by another release")
    stored = StoredKey(_text(fields, "name"), _hex(fields, "public_key", KEY_BYTES), _account(fields), _secret(fields))
    if _text(fields, "address") != encode_address(compute_address(stored.public_key)):
        raise BadKeyFile("address does not belong to public_key: restore the file from your backup")
    return stored


def _encode_sealed(sealed: Sealed) -> dict[str, Any]:
    return {
        "kdf": KDF,
        "operations": sealed.cost.operations,
        "memory_bytes": sealed.cost.memory_bytes,
        "salt": sealed.salt.hex(),
        "cipher": CIPHER,
        "nonce": sealed.nonce.hex(),
        "ciphertext": sealed.ciphertext.hex(),
    }


def _secret(fields: dict[str, Any]) -> Sealed | bytes:
    sealed = fields.get("encrypted_seed")
    if sealed is None:
        return _hex(fields, "unencrypted_seed", SEED_BYTES)
    if not isinstance(sealed, dict) or "unencrypted_seed" in fields:
        raise BadKeyFile("encrypted_seed is not what this release writes")
    if sealed.get("kdf") != KDF or sealed.get("cipher") != CIPHER:
        raise BadKeyFile(f"kdf and cipher are not {KDF} and {CIPHER}: the key was written by another release")
    cost = KdfCost(
        _bounded(sealed, "operations", 1, MAX_OPERATIONS),
        _bounded(sealed, "memory_bytes", MIN_MEMORY_BYTES, MAX_MEMORY_BYTES),
    )
    salt = _hex(sealed, "salt", pwhash.argon2id.SALTBYTES)
    nonce = _hex(sealed, "nonce", secret.SecretBox.NONCE_SIZE)
    return Sealed(cost, salt, nonce, _hex(sealed, "ciphertext", SEED_BYTES + secret.SecretBox.MACBYTES))


def _as_object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise BadKeyFile("it is not a JSON object: restore the file from your backup")
    return fields


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadKeyFile(f"{name} is missing or no text")
    return value


def _hex(fields: dict[str, Any], name: str, length: int) -> bytes:
    text = _text(fields, name)
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != length:
        raise BadKeyFile(f"{name} is not {length} bytes in hex")
    return value


def _bounded(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadKeyFile(f"{name} is not a whole number from {low} to {high}")
    return value


def _account(fields: dict[str, Any]) -> bytes:
    try:
        return decode_address(_text(fields, "account"))
    except ValueError as error:
        raise BadKeyFile(f"account is no address: {error}") from None
