"""Amounts, losses and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abci_app.protocol.limits import MAX_INT64, RESERVED_LOSS
from learningchain.amounts import (
    format_credits,
    format_duration,
    format_loss,
    parse_credits,
    parse_duration,
    parse_loss,
)


@pytest.mark.parametrize(
    ("text", "ucredit"),
    [("1", 1_000_000), ("0.000001", 1), ("12.5", 12_500_000), ("0", 0), ("9223372036854.775807", MAX_INT64)],
)
def test_credits_are_read_exactly(text: str, ucredit: int) -> None:
    assert parse_credits(text) == ucredit


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.", ".5", "1.0000001", "1e3", "1,5", "٣", " 1", "1_000", "NaN"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        parse_credits(text)


def test_more_credits_than_can_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="more than can exist"):
        parse_credits("9223372036854.775808")


@given(st.integers(0, MAX_INT64))
def test_every_amount_survives_writing_and_reading(ucredit: int) -> None:
    assert parse_credits(format_credits(ucredit)) == ucredit


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0.0931", 93_100_000),
        ("-1.5", -1_500_000_000),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.00000000151", 2),
        ("-0.0000000025", -2),
        ("1e-9", 1),
        ("2.5E-9", 2),
        ("3", 3_000_000_000),
    ],
)
def test_losses_are_rounded_half_to_even(text: str, nano: int) -> None:
    assert parse_loss(text) == nano


@pytest.mark.parametrize("text", ["", "x", "1e3000000", "inf", "nan", "1.", "1" * 41, "0x10", "1e+99"])
def test_what_is_no_loss_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="loss"):
        parse_loss(text)


@given(st.integers(-(2**62), 2**62))
def test_every_loss_survives_writing_and_reading(nano: int) -> None:
    assert parse_loss(format_loss(nano)) == nano


def test_the_reserved_loss_says_that_there_is_no_score() -> None:
    assert format_loss(RESERVED_LOSS) == "no score"


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("40s", 40_000), ("90m", 5_400_000), ("3h", 10_800_000), ("2d", 172_800_000)]
)
def test_durations_have_units(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "1.5h", "-1s", "3 h", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_durations_are_shown_in_their_two_largest_units() -> None:
    assert [format_duration(ms) for ms in (0, 999, 7_000, 250_000, 183_900_000, -5)] == [
        "0s",
        "0s",
        "7s",
        "4m 10s",
        "2d 3h",
        "0s",
    ]
