import pytest
from bech32 import bech32_encode, convertbits
from hypothesis import given
from hypothesis import strategies as st

from abci_app.protocol.bech32 import decode_address, encode_address


@given(st.binary(min_size=20, max_size=20))
def test_an_address_survives_its_text(address: bytes) -> None:
    text = encode_address(address)
    assert text.startswith("lc1")
    assert decode_address(text) == address


@given(st.binary(min_size=20, max_size=20))
def test_the_text_is_that_of_the_reference_implementation(address: bytes) -> None:
    assert encode_address(address) == bech32_encode("lc", convertbits(list(address), 8, 5) or [])


def test_the_program_of_a_known_segwit_address_has_the_same_words() -> None:
    """BIP-173's example of a 20-byte program: the same five-bit words under another prefix and checksum."""
    program = bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")
    assert encode_address(program)[3:-6] == "w508d6qejxtdg4y5r3zarvary0c5xw7k"


@pytest.mark.parametrize("length", [0, 19, 21, 32])
def test_only_20_bytes_are_an_address(length: int) -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        encode_address(bytes(length))


def change_last(text: str) -> str:
    return text[:-1] + ("q" if text[-1] != "q" else "p")


GOOD = encode_address(bytes(range(20)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lc1",
        GOOD[:-1],
        change_last(GOOD),
        GOOD[:8] + GOOD[8].upper() + GOOD[9:],
        "bc1" + GOOD[3:],
        GOOD + " ",
        "ü" + GOOD,
    ],
)
def test_anything_else_is_refused_with_words(text: str) -> None:
    with pytest.raises(ValueError, match="an address"):
        decode_address(text)


def test_another_length_with_a_right_checksum_is_refused() -> None:
    words = convertbits(bytes(21), 8, 5)
    assert words is not None
    with pytest.raises(ValueError, match="20 bytes"):
        decode_address(bech32_encode("lc", words))
