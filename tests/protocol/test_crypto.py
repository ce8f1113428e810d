import pytest

from abci_app.protocol import crypto
from abci_app.protocol.crypto import CryptoMismatch, is_valid_signature, self_test
from abci_app.protocol.ed25519_vectors import VECTORS
from tests.support.ed25519 import derive_vectors, is_valid


def test_the_frozen_vectors_are_those_derived_from_plain_arithmetic() -> None:
    derived = [(name, key.hex(), message.hex(), signature.hex()) for name, key, message, signature in derive_vectors()]
    assert [tuple(vector[:4]) for vector in VECTORS] == derived


def test_the_frozen_verdicts_are_those_of_the_rule_in_plain_arithmetic() -> None:
    for vector in VECTORS:
        key, message, signature = (bytes.fromhex(text) for text in vector[1:4])
        assert is_valid(key, message, signature) == vector.valid, vector.name


def test_the_installed_library_passes_the_self_test() -> None:
    self_test()


def test_the_vectors_tell_cofactored_libraries_apart() -> None:
    names = {vector.name for vector in VECTORS if not vector.valid}
    assert {"A of mixed order, holds with cofactor only", "R of mixed order, holds with cofactor only"} <= names


def test_a_library_that_disagrees_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "is_valid_signature", lambda *_: True)
    with pytest.raises(CryptoMismatch, match="Install the pinned PyNaCl"):
        self_test()


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_keys_and_signatures_of_another_length_are_invalid(key: int, signature: int) -> None:
    assert not is_valid_signature(bytes(key), b"", bytes(signature))
