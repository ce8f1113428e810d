"""Key files: one JSON file per key in a folder of mode 0700, files of mode 0600, seeds encrypted with a password.

The password is stretched with argon2id; its cost is stored in the file and bounded when read, so that a file made by
somebody else cannot make this program use unlimited memory. The seed is sealed in libsodium's SecretBox
(XSalsa20-Poly1305). A key without password has to be asked for: it is meant for devnets and unattended servers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl import pwhash, secret, utils
from nacl.exceptions import CryptoError

from abci_app.protocol.bech32 import decode_address
from abci_app.protocol.hashing import compute_address
from learningchain.wallet.files import FileError, make_private_folder, read_private, write_private
from learningchain.wallet.format import BadKeyFile, KdfCost, Sealed, StoredKey, decode, encode
from learningchain.wallet.secret_key import SEED_BYTES, SecretKey

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
PREFIX: Final = "lc1"
"""How an address begins."""
MIN_PASSWORD: Final = 8
"""Shortest password accepted for a new key, in characters."""


class KeystoreError(Exception):
    """A key cannot be read or written; the text says what to do next."""


class NoSuchKey(KeystoreError):
    """The key asked for is not here."""


class BadKeyName(KeystoreError):
    """No key can have this name or address."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What can be told about a key without its password. `account` differs from `address` for added keys."""

    name: str
    address: bytes
    public_key: bytes
    account: bytes
    encrypted: bool


class Keystore:
    """A folder of keys."""

    def __init__(self, folder: Path, cost: KdfCost | None = None) -> None:
        """Use `folder`, made at the first write. `cost` is for new passwords; tests choose a small one."""
        self.folder = folder
        self._cost = cost or KdfCost()

    def check_new(self, name: str) -> None:
        """Raise KeystoreError for a name that no new key can have: before a person is asked for anything."""
        _check_name(name)
        if name.startswith(PREFIX):
            raise BadKeyName(f"{name!r} is not a key name: what begins with {PREFIX} is read as an address")
        if self._path(name).exists():
            raise _name_taken(name)

    def add(self, name: str, key: SecretKey, password: str | None, account: bytes | None = None) -> Entry:
        """Write a new key; with `password` None it is not encrypted. Never overwrites. Raises KeystoreError."""
        self.check_new(name)
        if password is not None:
            _check_password(password)
        stored = StoredKey(name, key.public_key, account or key.address, self._seal(key.get_seed(), password))
        try:
            make_private_folder(self.folder)
            write_private(self._path(name), encode(stored), overwrite=False)
        except FileExistsError:
            raise _name_taken(name) from None
        except OSError as error:
            place = error.filename or self.folder
            raise KeystoreError(
                f"the key {name} cannot be written ({place}, {error.strerror}): "
                "make room, or choose another folder with --home"
            ) from error
        except FileError as error:
            raise KeystoreError(f"the key {name} cannot be written: {error}") from error
        return _describe(stored)

    def list_entries(self) -> list[Entry]:
        """Return all keys in name order. Raises KeystoreError for a file that is not a sound key file."""
        names = self.list_names()
        for name in names:
            if not NAME.fullmatch(name):  # a copy of one, say
                raise KeystoreError(f"{self._path(name)} has not the name of a key: move it to another folder")
        return [self.get(name) for name in names]

    def list_names(self) -> list[str]:
        """Return the names of all key files in order, sound or not. Raises KeystoreError if they cannot be listed."""
        try:
            return sorted(path.stem for path in self.folder.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeystoreError(
                f"the keys in {self.folder} cannot be listed ({error.strerror}): look at its owner and its mode"
            ) from error

    def get(self, name: str) -> Entry:
        """Return what is known of a key without its password. Raises KeystoreError."""
        return _describe(self._read(name))

    def find(self, name_or_address: str) -> Entry:
        """Return the key with this name or `lc1…` address. Raises KeystoreError."""
        if not name_or_address.startswith(PREFIX):
            return self.get(name_or_address)
        try:
            address = decode_address(name_or_address)
        except ValueError as error:
            raise BadKeyName(f"{name_or_address} is not an address: {error}") from None
        for entry in self.list_entries():
            if address in (entry.address, entry.account):
                return entry
        raise NoSuchKey(f"no key of {name_or_address} is here: see lc keys list")

    def open(self, name: str, ask_password: Callable[[], str]) -> SecretKey:
        """Return the secret key; asks for the password only if there is one. Raises KeystoreError."""
        stored = self._read(name)
        seed = stored.secret if isinstance(stored.secret, bytes) else _unseal(name, stored.secret, ask_password())
        key = SecretKey(seed)
        if key.public_key != stored.public_key:
            raise KeystoreError(f"the file of {name} holds another key than it says: restore it from your backup")
        return key

    def replace_password(self, name: str, key: SecretKey, password: str) -> None:
        """Encrypt the file of an opened key with another password, replacing it atomically. Raises KeystoreError."""
        stored = self._read(name)
        if stored.public_key != key.public_key:
            raise KeystoreError(f"the file of {name} holds another key: open it again")
        _check_password(password)
        sealed = StoredKey(name, stored.public_key, stored.account, self._seal(key.get_seed(), password))
        write_private(self._path(name), encode(sealed), overwrite=True)

    def _seal(self, seed: bytes, password: str | None) -> Sealed | bytes:
        if password is None:
            return seed
        salt = utils.random(pwhash.argon2id.SALTBYTES)
        box = secret.SecretBox(_stretch(password, salt, self._cost))
        nonce = utils.random(secret.SecretBox.NONCE_SIZE)
        return Sealed(self._cost, salt, nonce, box.encrypt(seed, nonce).ciphertext)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> StoredKey:
        _check_name(name)
        path = self._path(name)
        try:
            stored = decode(read_private(path))
        except FileNotFoundError:
            raise NoSuchKey(f"there is no key named {name}: see lc keys list, or make it: lc keys add {name}") from None
        except OSError as error:
            raise KeystoreError(
                f"the key file {path} cannot be read ({error.strerror}): look at its owner, its mode and the disk"
            ) from error
        except (FileError, BadKeyFile) as error:
            raise KeystoreError(f"the key file {path} cannot be used: {error}") from error
        if stored.name != name:
            raise KeystoreError(f"the key file {path} belongs to {stored.name}: name it {stored.name}.json again")
        return stored


def _name_taken(name: str) -> KeystoreError:
    return KeystoreError(f"there is a key named {name} already: choose another name")


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadKeyName(
            f"{name!r} is not a key name: use up to 32 of a-z, 0-9, - and _, beginning with a letter or digit"
        )


def _check_password(password: str) -> None:
    if len(password) < MIN_PASSWORD:
        raise KeystoreError(f"a password has at least {MIN_PASSWORD} characters: choose a longer one")


def _describe(stored: StoredKey) -> Entry:
    address = compute_address(stored.public_key)
    return Entry(stored.name, address, stored.public_key, stored.account, not isinstance(stored.secret, bytes))


def _stretch(password: str, salt: bytes, cost: KdfCost) -> bytes:
    data = password.encode("utf-8")
    return bytes(pwhash.argon2id.kdf(secret.SecretBox.KEY_SIZE, data, salt, cost.operations, cost.memory_bytes))


def _unseal(name: str, sealed: Sealed, password: str) -> bytes:
    box = secret.SecretBox(_stretch(password, sealed.salt, sealed.cost))
    try:
        seed = box.decrypt(sealed.ciphertext, sealed.nonce)
    except CryptoError:
        raise KeystoreError(f"wrong password for the key {name}: try again; the file is unchanged") from None
    if len(seed) != SEED_BYTES:
        raise KeystoreError(f"the file of {name} holds no seed: restore it from your backup words")
    return bytes(seed)
