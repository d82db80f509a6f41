"""Numbers as sentences say them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.wording import decimals, plain, roughly, signed


@pytest.mark.parametrize(
    ("half_width", "places"),
    [(0.05, 2), (0.034, 2), (0.014, 3), (0.5, 1), (0.15, 2), (3.0, 0), (340.0, -2), (1e-12, 6)],
)
def test_last_digit_is_about_the_size_of_the_uncertainty(half_width: float, places: int) -> None:
    assert decimals(half_width) == places


def test_decimals_without_uncertainty_are_two() -> None:
    assert [decimals(half) for half in (0.0, math.nan, math.inf)] == [2, 2, 2]
    assert decimals(340.0, least=2) == 2


@given(st.floats(1e-5, 1e7))
@settings(deadline=None, max_examples=100)
def test_last_digit_lies_between_a_twentieth_and_a_half_of_the_half_width(half: float) -> None:
    unit = 10.0 ** -decimals(half)
    assert half / 20 <= unit <= half * 1.001


def test_numbers_have_true_minus_signs_and_zero_has_none() -> None:
    assert plain(-0.044, 2) == "−0.04"
    assert plain(-0.004, 2) == "0.00"
    assert plain(51_749.0, -3) == "52,000"
    assert signed(0.284, 2) == "+0.28"
    assert signed(-0.284, 2) == "−0.28"
    assert signed(0.004, 2) == "0.00"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0.2, 1),
        (1, 1),
        (9.6, 10),
        (13, 15),
        (148, 150),
        (870, 900),
        (9_700, 10_000),
        (1.04e6, 10**6),
    ],
)
def test_counts_are_said_roughly(number: float, said: int) -> None:
    assert roughly(number) == said


@given(st.floats(1, 1e8))
@settings(deadline=None, max_examples=100)
def test_roughly_is_within_a_fifth_or_one(number: float) -> None:
    assert abs(roughly(number) - number) <= max(0.26 * number, 1)
