import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.tasks.targets import as_number, kind_of, read_targets, similar_classes


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["cat", "dog"], "classification"),
        ([["a"], ["b", "c"]], "multilabel"),
        (["a", "b|c"], "multilabel"),
        ([np.array([0, 1]), np.array([1, 0])], "multilabel"),
        (["1.5", "2", "3"], "regression"),
        ([0.5, 1, 2], "regression"),
        (["1", "2", "3"], "classification"),
        ([1.0, 2.0, 1.0], "classification"),
        ([True, False], "classification"),
        (list(range(21)), "regression"),
        (list(range(20)), "classification"),
        (list(range(100)) * 5, "classification"),
        (list(range(1, 101)) * 5, "regression"),
        ([f"{i:03}" for i in range(50)], "classification"),
        (["1.5"] * 39 + ["unknown"], "regression"),
        (["1.5"] * 18 + ["unknown", "lost"], "classification"),
        (["inf", "cat"], "classification"),
        ([], "classification"),
    ],
)
def test_kind_is_told_by_the_stated_rule(values: list[object], kind: str) -> None:
    found, why = kind_of(values)
    assert found == kind
    assert why


def test_classes_are_as_written_stripped_and_composed() -> None:
    read = read_targets([" Äpfel ", unicodedata.normalize("NFD", "Äpfel"), "Zug", "", None, "nan"])
    assert read.classes == ("Zug", "Äpfel")
    assert read.values.tolist() == [1, 1, 0, -1, -1, -1]
    assert read.values.dtype == np.int64


def test_whole_numbers_sort_as_numbers_and_lose_their_point() -> None:
    read = read_targets([10.0, 2, "1", float("nan")])
    assert read.classes == ("1", "2", "10")
    assert read.values.tolist() == [2, 1, 0, -1]


def test_labels_come_from_lists_and_bars() -> None:
    read = read_targets(["a| b", "|", "", ["c", "a"], None, []])
    assert read.kind == "multilabel"
    assert read.classes == ("a", "b", "c")
    expected = [[1, 1, 0], [0, 0, 0], [np.nan] * 3, [1, 0, 1], [np.nan] * 3, [0, 0, 0]]
    assert np.array_equal(read.values, np.array(expected), equal_nan=True)


def test_regression_keeps_what_is_no_number_as_unlabelled() -> None:
    read = read_targets(["1.5", "n/a", "", "inf", "1_000", True], "regression", "age")
    assert read.classes == ("age",)
    assert read.bad == (1, 3, 4, 5)
    assert np.array_equal(read.values, [1.5] + [np.nan] * 5, equal_nan=True)


@pytest.mark.parametrize("value", ["1e308", "-1e308", 1e25, float("-inf")])
def test_a_number_that_would_overflow_is_a_bad_target(value: str | float) -> None:
    read = read_targets(["1.5", value, "2.5"], "regression")
    assert read.bad == (1,)
    assert np.isnan(read.values[1])


def test_asking_for_a_kind_overrides_the_rule() -> None:
    assert read_targets(["1.5", "2.5"], "classification").classes == ("1.5", "2.5")
    assert read_targets(["1", "2"], "regression").values.tolist() == [1, 2]
    assert read_targets(["a", "b"], "multilabel").values.tolist() == [[1, 0], [0, 1]]
    assert read_targets(["a|b"], "classification").classes == ("a|b",)
    assert read_targets([["a"], "b"], "classification").bad == (0,)
    with pytest.raises(DataError, match="ranking"):
        read_targets(["a"], "ranking")  # type: ignore[arg-type]  # what a user may mistype


def test_classes_that_differ_only_by_case_or_space_are_told() -> None:
    found = similar_classes(("Cat", "cat", "red  fox", "red fox", "dog"))
    assert [problem.where for problem in found] == [("Cat", "cat"), ("red  fox", "red fox")]
    assert not similar_classes(("cat", "dog"))


@pytest.mark.parametrize(
    ("value", "number"),
    [("1e3", 1000.0), (" 2 ", 2.0), ("0x10", None), ("", None), (None, None), (10**400, None)],
)
def test_numbers_are_what_people_call_numbers(value: object, number: float | None) -> None:
    assert as_number(value) == number


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(max_size=6),
            st.integers(),
            st.floats(),
            st.booleans(),
            st.binary(max_size=4),
            st.lists(st.text(max_size=3), max_size=3),
        ),
        max_size=12,
    ),
    st.sampled_from([None, "classification", "multilabel", "regression"]),
)
def test_no_target_stops_the_reading(values: list[object], kind: None) -> None:
    read = read_targets(values, kind)
    assert len(read.values) == len(values)
    assert read.kind in ("classification", "multilabel", "regression")
    for name in read.classes:
        assert name == name.strip() or read.kind == "regression"
        name.encode()
    if read.kind == "classification":
        assert set(read.values.tolist()) <= {-1, *range(len(read.classes))}
        assert set(range(len(read.classes))) <= set(read.values.tolist())
