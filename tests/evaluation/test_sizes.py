from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.evaluate import evaluate
from retarget.evaluation.sizes import BINS, Sizes, size_bins


def _bins(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    sizes = Sizes("length, characters", np.asarray(values, float))
    return list(size_bins(sizes, np.ones(len(values), bool)))


def test_four_bins_hold_as_many_each_and_say_what_they_hold() -> None:
    bins = _bins(np.random.default_rng(0).permutation(200) + 1)
    assert [name for name, _ in bins] == [
        "length 1 to 50 characters", "length 51 to 100 characters",
        "length 101 to 150 characters", "length 151 to 200 characters",
    ]  # fmt: skip
    assert [int(members.sum()) for _, members in bins] == [50] * 4


@pytest.mark.parametrize(("n", "wanted"), [(39, 0), (40, 2), (60, 3), (79, 3), (80, 4)])
def test_few_examples_are_divided_less(n: int, wanted: int) -> None:
    assert len(_bins(np.arange(n))) == wanted


def test_equal_sizes_are_not_divided() -> None:
    assert _bins(np.full(100, 32)) == []


def test_a_size_that_most_have_is_a_bin_of_its_own() -> None:
    bins = _bins(np.repeat([7, 9], [150, 50]))
    assert [name for name, _ in bins] == ["length 7 characters", "length 9 characters"]


def test_what_was_not_measured_is_in_no_bin() -> None:
    values = np.arange(100.0)
    values[::2] = np.nan
    assert sum(members for _, members in _bins(values)).tolist() == [0, 1] * 50


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_every_example_is_in_one_bin_and_bins_rise(values: list[int]) -> None:
    bins = _bins(np.array(values))
    assert len(bins) <= BINS
    if not bins:
        return
    assert (sum(members.astype(int) for _, members in bins) == 1).all()
    held = [np.array(values)[members] for _, members in bins]
    assert all(a.max() < b.min() for a, b in pairwise(held))


def test_headline_metric_is_that_of_the_bins_examples() -> None:
    rng = np.random.default_rng(1)
    targets, size = rng.integers(0, 2, 200), rng.integers(1, 100, 200).astype(float)
    right = rng.random(200) < 0.5 + size / 250
    told = np.eye(2)[np.where(right, targets, 1 - targets)] * 0.8 + 0.1
    found = evaluate(
        kind="classification", classes=("a", "b"), targets=targets, predictions=told,
        sizes=Sizes("length, characters", size),
    )  # fmt: skip
    assert sum(part.examples for part in found.per_size) == 200
    edges = np.quantile(size, [0.25, 0.5, 0.75], method="lower")
    for k, part in enumerate(found.per_size):
        members = np.searchsorted(edges, size) == k
        assert set(part.metrics) == {"accuracy"}
        assert part.metrics["accuracy"].value == pytest.approx(right[members].mean())
        assert part.metrics["accuracy"].low < right[members].mean() < part.metrics["accuracy"].high


def test_sentences_are_counted_not_words() -> None:
    words = np.repeat(np.arange(1, 61), np.arange(1, 61))  # sentence k has k words
    sizes = Sizes("length, words", words.astype(float))
    told = np.tile([0.8, 0.1, 0.1], (len(words), 1))
    found = evaluate(
        kind="tagging", classes=("O", "B-x", "I-x"), targets=np.zeros(len(words), np.int64) + 1,
        predictions=told, sequences=words, sizes=sizes,
    )  # fmt: skip
    assert [(part.name, part.examples) for part in found.per_size] == [
        ("length 1 to 20 words", 20), ("length 21 to 40 words", 20), ("length 41 to 60 words", 20),
    ]  # fmt: skip
