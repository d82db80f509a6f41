"""Intervals of metrics that hold: the jackknife over groups, on a scale that suits the metric."""

from collections.abc import Sequence

import numpy as np

from retarget.core.types import FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.metrics import Metric, metric
from retarget.evaluation.results import Estimate
from retarget.evaluation.sample import Sample, sample_of


def interval(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    predictions: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    level: float = 0.95,
) -> Estimate:
    """Return a metric's value with its interval.

    Args:
        name: a name in `METRICS`.
        kind: what the targets are.
        targets: (n,) class indices; (n, K) 0/1 for multilabel; (n,) values.
        predictions: (n, K) probabilities, or (n,) values.
        groups: (n,) of which group each example is; "" is a group of its own.
        folds: (n,) whose model predicted each example, under cross-fitting.
        weights: (n,) above zero; one each where not given.
        level: the share of intervals that should hold the truth.
    """
    sample = sample_of(kind, targets, predictions, weights, folds)
    return _interval(metric(name, kind), sample, number_groups(groups, len(sample)), level)


def intervals(
    names: Sequence[str],
    kind: Kind,
    targets: FloatArray | IntArray,
    predictions: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Return the intervals of several metrics of the same predictions; see `interval`."""
    sample = sample_of(kind, targets, predictions, weights, folds)
    numbers = number_groups(groups, len(sample))
    return {name: _interval(metric(name, kind), sample, numbers, level) for name in names}


def paired(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    a: FloatArray,
    b: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    level: float = 0.95,
) -> Estimate:
    """Return the difference of a metric between predictions `a` and `b` of the same examples.

    The difference is a − b as it is: for metrics where less is better, below zero means that a
    is better. Arguments as those of `interval`.
    """
    one = metric(name, kind)
    first = sample_of(kind, targets, a, weights, folds)
    second = sample_of(kind, targets, b, weights, folds)
    numbers = number_groups(groups, len(first))
    value = one.function(first) - one.function(second)
    if np.isnan(value):
        return Estimate(value, value, value, "not defined")
    left = one.statistic.without(first, numbers) - one.statistic.without(second, numbers)
    half = 1.96 * float(np.sqrt(np.nansum((left - value) ** 2)))
    return Estimate(value, value - half, value + half, "jackknife")


def number_groups(groups: StrArray | None, n: int) -> IntArray:
    """Return (n,) group numbers from 0 without gaps; "" is a group of its own."""
    if groups is None:
        return np.arange(n)
    names = np.asarray(groups, np.str_)
    keys = np.unique(names, return_inverse=True)[1].astype(np.int64)
    alone = np.flatnonzero(names == "")
    keys[alone] = n + np.arange(len(alone))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _interval(one: Metric, sample: Sample, groups: IntArray, level: float) -> Estimate:
    value = one.function(sample)
    if np.isnan(value):
        return Estimate(value, value, value, "not defined")
    left = one.statistic.without(sample, groups)
    half = 1.96 * float(np.sqrt(np.nansum((left - value) ** 2)))
    low, high = one.bounds
    return Estimate(value, max(low, value - half), min(high, value + half), "jackknife")
