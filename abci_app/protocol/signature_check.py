"""Frozen edge cases of Ed25519: a node whose library decides one of them differently would leave the others.

The cases were built for this file, most with points of small order, where cofactored and cofactorless checks differ.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from abci_app.protocol.crypto import is_valid_signature


class SignatureRuleError(RuntimeError):
    """The signature library follows another rule than the chain."""


class Vector(NamedTuple):
    """One case: public key and signature in hex, and whether the rule accepts it."""

    name: str
    public_key: str
    message: bytes
    signature: str
    valid: bool


VECTORS: Final = (
    Vector(
        "an ordinary signature",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"an ordinary message",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc358b22bfbdfbb26280020e8f57170115d9695339c86c2ae21d90f128f351e402a0e",
        True,
    ),
    Vector(
        "another message",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"another message",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc358b22bfbdfbb26280020e8f57170115d9695339c86c2ae21d90f128f351e402a0e",
        False,
    ),
    Vector(
        "S not reduced: S + L",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"an ordinary message",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc3589ffff03cd6893a58f684ed144f0b3cab95339c86c2ae21d90f128f351e402a1e",
        False,
    ),
    Vector(
        "a key of order 1",
        "0100000000000000000000000000000000000000000000000000000000000000",
        b"an ordinary message",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc3589af05bc0f4be1f289652eb1f50f42964a76639675b1b77d1a3ba52ff02a0d505",
        False,
    ),
    Vector(
        "a key of order 8",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        b"message 19",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc3589af05bc0f4be1f289652eb1f50f42964a76639675b1b77d1a3ba52ff02a0d505",
        False,
    ),
    Vector(
        "a key of order 1, not canonical",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        b"an ordinary message",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc3589af05bc0f4be1f289652eb1f50f42964a76639675b1b77d1a3ba52ff02a0d505",
        False,
    ),
    Vector(
        "R of order 1",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"an ordinary message",
        "0100000000000000000000000000000000000000000000000000000000000000a8d62378fcc782f901a4c8ed8df6142853558366ec1deed45c621a29542f060a",
        False,
    ),
    Vector(
        "R of order 1, not canonical",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"an ordinary message",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f5eaf08739ded9781c6d95aa6351c516aa855ea83c9eef0d7449821217e1f820d",
        False,
    ),
    Vector(
        "R of mixed order: only a cofactored check accepts",
        "edc07543894df6c6620be5e4cacc1f292eee5c7b381a3d7390f04dc7249f88ed",
        b"an ordinary message",
        "debef31c58f7ec99ac3627f0e996a98d2335e0e757177291efda618a1ee7e4d474174fe8360d14676a46a8ebad3f0bb7bbd62cec45c45996546eb50d8642bc01",
        False,
    ),
    Vector(
        "a key of mixed order whose small part cancels",
        "b56750f6787986ae59856306ad23b89e67c7c9f9eed09532cd1fc3ea6561a72e",
        b"message 3",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc358916c05378e96284e1e656cee66a90a330b40d0b98a7be0cf30d54d7416180501",
        True,
    ),
    Vector(
        "a key of mixed order: only a cofactored check accepts",
        "b56750f6787986ae59856306ad23b89e67c7c9f9eed09532cd1fc3ea6561a72e",
        b"message 0",
        "bd9b040732c24225452b85571489cb6a5b9fc619a4e40e084d9b97876d1bc35839f2002476744a2c99e678455b7de1116e00e1664f51ee0eb19f88e47fa2140b",
        False,
    ),
)


def check_signature_rule(is_valid: Callable[[bytes, bytes, bytes], bool] = is_valid_signature) -> None:
    """Raise SignatureRuleError unless the library decides every case as the chain's rule does."""
    for vector in VECTORS:
        key, signature = bytes.fromhex(vector.public_key), bytes.fromhex(vector.signature)
        if is_valid(key, vector.message, signature) != vector.valid:
            expected = "accepted" if vector.valid else "refused"
            raise SignatureRuleError(
                f"the Ed25519 library decides wrongly about {vector.name!r}, which must be {expected}: install the "
                "exact version of pynacl that the lock file names"
            )
