import contextlib
import json
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abci_app.protocol.limits import MAX_LOSS
from worker.sandbox.score import NESTING, SCORE_BYTES, InvalidScoreError, parse_loss, parse_score


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.0e-99", 0),
        ("1", 1_000_000_000),
        ("0.0123", 12_300_000),
        ("-2.5", -2_500_000_000),
        ("1e-9", 1),
        ("1E-09", 1),
        ("5e-10", 0),
        ("15e-10", 2),
        ("25e-10", 2),
        ("-15e-10", -2),
        ("0.00000000050000000000000000000000000001", 1),
        ("4.2e+01", 42_000_000_000),
        ("4611686018.427387904", 2**62),
        ("-4611686018.427387904", -(2**62)),
        ("4611686018.4273879045", 2**62),
    ],
)
def test_a_decimal_becomes_the_nearest_nano_half_to_even(text: str, nano: int) -> None:
    assert parse_loss(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "+1", ".5", "5.", "1e", "1e3000000", "1e100", "0x10", "NaN", "inf", "1_0", " 1", "1 ", "1\n", "١"),
        *("1,5", "4611686018.427387905", "1e10", "9" * 41, "0." + "0" * 39, "--1", "1e+-1", "1.2.3"),
    ],
)
def test_anything_else_is_no_loss(text: str) -> None:
    with pytest.raises(InvalidScoreError):
        parse_loss(text)


@given(st.floats(-4e9, 4e9), st.integers(0, 20))
def test_it_agrees_with_exact_decimal_arithmetic(value: float, places: int) -> None:
    for text in (repr(value), f"{value:.{places}f}", f"{value:.{places}e}"):
        if len(text) <= 40 and len(text.partition("e")[2].lstrip("+-")) <= 2:
            exact = (Decimal(text) * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN)
            assert parse_loss(text) == int(exact)


def test_a_score_may_hold_metrics_beside_the_loss() -> None:
    content = json.dumps({"metrics": {"loss": 3, "accuracy": [0.9, None, {"text": "[[[[{{{{" * 20}]}, "loss": 0.25})
    assert parse_score(content.encode()) == 250_000_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"0.5",
        b"[]",
        b"{}",
        b'{"loss": "0.5"}',
        b'{"loss": true}',
        b'{"loss": null}',
        b'{"loss": [0.5]}',
        b'{"loss": NaN}',
        b'{"loss": -Infinity}',
        b'{"loss": 0.5, "x": NaN}',
        b'{"loss": 0.5, "loss": 0.5}',
        b'{"loss": 0.5, "l\\u006fss": 0.4}',
        b'{"loss": 05}',
        b'{"loss": 0.5} {"loss": 0.4}',
        b'{"loss": 0.5',
        b"{'loss': 0.5}",
        b'\xef\xbb\xbf{"loss": 0.5}',
        b'{"loss": 0.5, "x": "\xff"}',
        '{"loss": 0.5}'.encode("utf-16"),
        b'{"Loss": 0.5}',
        b'{"metrics": {"loss": 0.5}}',
        b'{"loss": 0.5, "x": ' + b"[" * 33 + b"]" * 33 + b"}",
        b'{"loss": 0.5, "x": ' + b"[" * 60_000,
        b'{"loss": 0.5}' + b" " * SCORE_BYTES,
    ],
)
def test_anything_else_is_no_score(content: bytes) -> None:
    with pytest.raises(InvalidScoreError):
        parse_score(content)


def pad(more: int) -> bytes:
    return b'{"loss": 0.5}'.ljust(SCORE_BYTES + more)


def nest(more: int) -> bytes:
    inner = NESTING - 1 + more  # the object is one level itself
    return b'{"x": ' + b"[" * inner + b"]" * inner + b', "loss": 0.5}'


@pytest.mark.parametrize("make", [pad, nest])
def test_a_score_at_a_limit_is_valid_and_one_beyond_it_is_none(make: Callable[[int], bytes]) -> None:
    """Else checkers of two versions would differ about it."""
    assert parse_score(make(0)) == 500_000_000
    with pytest.raises(InvalidScoreError):
        parse_score(make(1))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_bounded_loss_or_the_one_error(content: bytes) -> None:
    with contextlib.suppress(InvalidScoreError):
        assert abs(parse_score(content)) <= MAX_LOSS


@pytest.mark.parametrize("number", [b"1e3000000", b"1" + b"0" * 60_000, b"0." + b"1" * 60_000, b"1e-3000000"])
def test_a_huge_number_costs_no_time(number: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by how it is written, before anybody computes with it."""
    monkeypatch.delattr("learningchain.amounts.Decimal")
    with pytest.raises(InvalidScoreError, match="is not a loss"):
        parse_score(b'{"loss": %s}' % number)
