"""Keys: how they are made, kept encrypted at rest, and backed up as words."""

from learningchain.wallet.format import KdfCost
from learningchain.wallet.keystore import BadKeyName, Entry, Keystore, KeystoreError, NoSuchKey
from learningchain.wallet.secret_key import SecretKey

__all__ = ["BadKeyName", "Entry", "KdfCost", "Keystore", "KeystoreError", "NoSuchKey", "SecretKey"]
