import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.results import Estimate, Gain
from retarget.reports import numbers

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.612, 0.58, 0.64, "0.612 (0.58 to 0.64)"),
        (0.98712, 0.969, 0.998, "0.987 (0.97 to 1.00)"),
        (0.5, 0.1, 0.9, "0.500 (0.10 to 0.90)"),
        (0.98765, 0.9863, 0.9891, "0.9877 (0.986 to 0.989)"),
        (12.34, 11.0, 14.2, "12.3 (11 to 14)"),
        (1412.7, 1253.0, 1572.0, "1,413 (1,253 to 1,572)"),
        (-1.25, -1.5, -1.0, "−1.25 (−1.5 to −1.0)"),
    ],
)
def test_estimate_has_the_digits_that_its_interval_allows(
    value: float, low: float, high: float, shown: str
) -> None:
    assert numbers.estimate(Estimate(value, low, high)) == shown


def test_gain_carries_its_sign_and_zero_none() -> None:
    assert numbers.gain(Gain(0.081, 0.05, 0.11, 0.7)) == "+0.081 (+0.05 to +0.11)"
    assert numbers.gain(Gain(-0.081, -0.11, 0.0, 0.7)) == "−0.081 (−0.11 to 0.00)"


def test_parts_of_an_estimate_make_up_the_whole() -> None:
    score, gain = Estimate(0.612, 0.58, 0.64), Gain(0.081, 0.05, 0.11, 0.7)
    assert numbers.estimate(score) == f"{numbers.middle(score)} ({numbers.ends(score)})"
    assert numbers.gain(gain) == f"{numbers.middle(gain)} ({numbers.ends(gain)})"


def test_what_was_not_measured_is_a_dash() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan)
    assert numbers.estimate(nothing) == numbers.middle(nothing) == numbers.MISSING
    assert numbers.ends(nothing) == ""
    assert numbers.score(math.inf) == numbers.MISSING
    assert numbers.rate(None, "images") == numbers.share(None) == numbers.MISSING
    assert numbers.seconds(math.nan) == numbers.MISSING


def test_value_without_an_interval_stands_alone() -> None:
    assert numbers.estimate(Estimate(0.5, math.nan, math.nan)) == "0.500"
    assert numbers.estimate(Estimate(1234.0, math.nan, math.nan)) == "1,234"


@given(FINITE, st.floats(0, 1e6), st.floats(0, 1e6))
@settings(deadline=None, max_examples=200)
def test_rounding_never_moves_a_number_by_more_than_a_tenth_of_its_interval(
    value: float, below: float, above: float
) -> None:
    low, high = value - below, value + above
    shown = numbers.middle(Estimate(value, low, high)).replace(",", "").replace("−", "-")
    width = high - low
    allowed = 0.5 if width == 0 or width > 10 else max(0.1 * width, 1e-6)
    if width == 0 and abs(value) < 100:
        allowed = 0.05 * abs(value) + 1e-3
    assert abs(float(shown) - value) <= allowed + 1e-9 * abs(value)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (0.0, "0 s"),
        (0.0031, "3.1 ms"),
        (0.41, "0.41 s"),
        (3.26, "3.3 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3900.0, "1 h 05 min"),
    ],
)
def test_duration_has_a_unit_and_few_digits(duration: float, shown: str) -> None:
    assert numbers.seconds(duration) == shown


def test_rates_shares_and_errors_have_units() -> None:
    assert numbers.rate(312.4, "images") == "312 images/s"
    assert numbers.rate(3.14, "images") == "3.1 images/s"
    assert numbers.share(0.614) == "61%"
    assert numbers.with_error(0.41234, 0.0213) == "0.412 ± 0.021"
    assert numbers.with_error(0.41234, math.nan) == "0.412"
    assert [numbers.score(v) for v in (0.61249, 23.456, 1234.5)] == ["0.612", "23.46", "1,234"]


def test_metrics_have_names_for_people() -> None:
    assert numbers.metric_name("macro_f1") == "macro F1"
    assert numbers.metric_name("auroc") == "AUROC"
    assert numbers.metric_name("balanced_accuracy") == "balanced accuracy"
    assert numbers.metric_name("of_a_later_version") == "of a later version"
    assert numbers.capital("macro F1") == "Macro F1"
    assert numbers.capital("") == ""


@given(FINITE, st.floats(1e-6, 1e9), st.integers(1, 10))
@settings(deadline=None, max_examples=200)
def test_ticks_are_inside_evenly_spaced_and_about_as_many_as_asked(
    low: float, width: float, about: int
) -> None:
    high = low + width
    found = numbers.ticks(low, high, about)
    slack = 1e-5 * width + 1e-9 * abs(low)
    assert all(low - slack <= place <= high + slack for place in found)
    assert len(found) <= about + 1
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-3, abs_tol=slack) for step in steps)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.91, 0.93), (-0.2, 0.8), (0.0, 42000.0)])
def test_tick_labels_tell_ticks_apart(low: float, high: float) -> None:
    places = numbers.ticks(low, high, 5)
    words = numbers.tick_labels(places)
    assert len(places) >= 3
    assert len(set(words)) == len(places)
    assert [float(w.replace(",", "").replace("−", "-")) for w in words] == pytest.approx(places)


def test_there_are_no_ticks_without_a_range() -> None:
    assert numbers.ticks(1.0, 1.0) == numbers.ticks(math.nan, 1.0) == ()
    assert numbers.tick_labels(()) == ()


@pytest.mark.parametrize(
    ("counted", "shown"),
    [
        (390e6, "0.39 G"),
        (4.1e9, "4.10 G"),
        (17.6e9, "18 G"),
        (52e6, "52 M"),
        (0.0, "–"),
        (9e4, "90,000"),
    ],
)
def test_operations_are_counted_in_thousands_of_thousands(counted: float, shown: str) -> None:
    assert numbers.operations(counted) == shown


@pytest.mark.parametrize(
    ("some", "said"),
    [(0, "0"), (980, "980"), (999.6, "1.0k"), (12_345, "12k"), (3_400_000, "3.4M"),
     (86_000_000, "86M"), (1.2e9, "1.2G"), (math.nan, "–")],
)  # fmt: skip
def test_quantities_are_short(some: float, said: str) -> None:
    assert numbers.quantity(some) == said


@pytest.mark.parametrize(
    ("some", "whole", "said"),
    [(3_400_000, 3_400_000, "3.4M (100%)"), (3_399_000, 3_400_000, "3.4M (99.9%)"),
     (148_000, 3_548_000, "148k (4%)"), (12_000, 3_400_000, "12k (0.4%)"),
     (100, 3_400_000, "100 (< 0.1%)"), (0, 3_400_000, "0 (0%)"), (5, 0, "5")],
)  # fmt: skip
def test_parts_look_neither_like_all_nor_like_nothing(some: int, whole: int, said: str) -> None:
    assert numbers.part_of(some, whole) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(0.02, "0.1 MB"), (3.42, "3.4 MB"), (412.3, "412 MB"), (999.7, "1.0 GB"), (1234.0, "1.2 GB"),
     (0.0, "–"), (math.nan, "–")],
)  # fmt: skip
def test_sizes_have_units(size: float, said: str) -> None:
    assert numbers.megabytes(size) == said


def test_shares_kept_are_percentages_with_their_interval() -> None:
    assert numbers.kept(Estimate(0.714, 0.65, 0.77)) == "71% (65 to 77)"
    assert numbers.kept(Estimate(-0.04, -0.2, 1.02)) == "−4% (−20 to 102)"
    assert numbers.kept(Estimate(0.714, math.nan, math.nan)) == "71%"
    assert numbers.kept(None) == "–"
