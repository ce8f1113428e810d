"""An Ed25519 signing key that does not show itself."""

import secrets
from typing import Final, NoReturn, final

from mnemonic import Mnemonic
from nacl.signing import SigningKey

from abci_app.protocol.bech32 import encode_address
from abci_app.protocol.hashing import compute_address

SEED_BYTES: Final = 32
WORDS: Final = 24
_LANGUAGE: Final = "english"


@final
class SecretKey:
    """A private key. Its text form, pickles and copies never hold the seed."""

    __slots__ = ("_key", "address", "public_key")

    def __init__(self, seed: bytes) -> None:
        """Take a seed of 32 bytes. Raises ValueError for another length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.address = compute_address(self.public_key)

    @classmethod
    def generate(cls) -> "SecretKey":
        """Return a new key from the system's randomness."""
        return cls(secrets.token_bytes(SEED_BYTES))

    @classmethod
    def from_words(cls, words: str) -> "SecretKey":
        """Return the key of 24 backup words. Raises ValueError with a reason."""
        normal = " ".join(words.lower().split())
        count = len(normal.split())
        if count != WORDS:
            raise ValueError(f"a backup has {WORDS} words, these are {count}")
        wordlist = Mnemonic(_LANGUAGE)
        unknown = [number for number, word in enumerate(normal.split(), 1) if word not in wordlist.wordlist]
        if unknown:
            raise ValueError(f"word {unknown[0]} is not in the BIP-39 list: look for a typing error")
        if not wordlist.check(normal):
            raise ValueError("the checksum of the words is wrong: a word is mistaken or two are swapped")
        return cls(bytes(wordlist.to_entropy(normal)))

    def get_seed(self) -> bytes:
        """Return the 32 secret bytes, for the keystore alone."""
        return bytes(self._key)

    def get_words(self) -> str:
        """Return the backup: the seed as 24 words of BIP-39 (the words are the seed itself, nothing is derived)."""
        return str(Mnemonic(_LANGUAGE).to_mnemonic(self.get_seed()))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"SecretKey(address={encode_address(self.address)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not written to pickles or copies")
