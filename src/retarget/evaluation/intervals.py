"""Intervals of metrics that hold: the jackknife over groups, on a scale that suits the metric.

Nothing is drawn at random: every group is left out once. What holds and how well is measured by
`benchmarks/coverage.py`; a plain bootstrap does not hold with few examples, few groups or few
mistakes.
"""

from collections.abc import Sequence

import numpy as np

from retarget.core.types import FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.jackknife import Design, design_of
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
    sequences: IntArray | None = None,
    level: float = 0.95,
) -> Estimate:
    """Return a metric's value with its interval.

    Args:
        name: a name in `METRICS`.
        kind: what the targets are.
        targets: (n,) class or tag numbers; (n, K) 0/1 for multilabel; (n,) values.
        predictions: (n, K) probabilities, or (n,) values.
        groups: (n,) of which group each example is; "" is a group of its own.
        folds: (n,) whose model predicted each example, under cross-fitting.
        weights: (n,) above zero; one each where not given.
        sequences: (n,) ascending, which sequence each example is of; tagging needs it. Where there
            are no groups, sequences are what varies.
        level: the share of intervals that should hold the truth.
    """
    sample = sample_of(kind, targets, predictions, weights, folds, sequences)
    return interval_of(metric(name, kind), sample, number_units(groups, sample), level)


def intervals(
    names: Sequence[str],
    kind: Kind,
    targets: FloatArray | IntArray,
    predictions: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Return the intervals of several metrics of the same predictions; see `interval`."""
    sample = sample_of(kind, targets, predictions, weights, folds, sequences)
    numbers = number_units(groups, sample)
    return {name: interval_of(metric(name, kind), sample, numbers, level) for name in names}


def paired(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    a: FloatArray,
    b: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    other_folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
    level: float = 0.95,
) -> Estimate:
    """Return the difference of a metric between predictions `a` and `b` of the same examples.

    The difference is a − b as it is: for metrics where less is better, below zero means that a
    is better. Arguments as those of `interval`; `other_folds` are those of `b` where they are not
    `folds`, all alike where one model predicted all.
    """
    one = metric(name, kind)
    first = sample_of(kind, targets, a, weights, folds, sequences)
    theirs = folds if other_folds is None else other_folds
    second = sample_of(kind, targets, b, weights, theirs, sequences)
    return _paired(one, first, second, number_units(groups, first), level)


def number_groups(groups: StrArray | None, n: int) -> IntArray:
    """Return (n,) group numbers from 0 without gaps; "" is a group of its own."""
    if groups is None:
        return np.arange(n)
    names = np.asarray(groups, np.str_)
    keys = np.unique(names, return_inverse=True)[1].astype(np.int64)
    alone = np.flatnonzero(names == "")
    keys[alone] = n + np.arange(len(alone))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def number_units(groups: StrArray | None, sample: Sample) -> IntArray:
    """Return (n,) numbers from 0 of what varies: groups, and what is in none alone; examples of
    one sequence together."""
    if sample.sequences is None:
        return number_groups(groups, len(sample))
    _, first, own = np.unique(sample.sequences, return_index=True, return_inverse=True)
    numbers = number_groups(None if groups is None else np.asarray(groups)[first], len(first))
    return np.asarray(numbers[own])


def interval_of(one: Metric, sample: Sample, groups: IntArray, level: float = 0.95) -> Estimate:
    """Return a metric's interval on a sample, of units numbered as `number_units` does."""
    value = one.function(sample)
    if np.isnan(value):
        return Estimate(value, value, value, "not defined")
    design = _design(one, sample, groups)
    left = one.statistic.without(sample, groups)
    low, high = one.scale.interval(value, left, design, level)
    how = _how(one.scale.how, one, sample, groups)
    return Estimate(value, min(low, value), max(high, value), how)


def _paired(one: Metric, first: Sample, second: Sample, groups: IntArray, level: float) -> Estimate:
    values = one.function(first), one.function(second)
    value = values[0] - values[1]
    if np.isnan(value):
        return Estimate(value, value, value, "not defined")
    crossed = second if first.folds is None else first
    design = _design(one, crossed, groups)
    left = one.statistic.without(first, groups) - one.statistic.without(second, groups)
    half = one.scale.half_width(values, left, design, level)
    reach = one.bounds[1] - one.bounds[0]
    low, high = max(value - half, -reach), min(value + half, reach)
    return Estimate(value, low, high, _how("paired t, jackknife", one, crossed, groups))


def _design(one: Metric, sample: Sample, groups: IntArray) -> Design:
    leverage = one.statistic.leverage(sample)
    return design_of(leverage, groups, sample.folds, one.statistic.within_folds, sample.independent)


def _how(method: str, one: Metric, sample: Sample, groups: IntArray) -> str:
    """Say how an interval was made, and what was compared with what."""
    units = int(groups.max()) + 1
    over = " over groups" if units < sample.independent else ""
    if sample.sequences is not None and not over:
        over = " over sentences"
    within = one.statistic.within_folds and sample.folds is not None
    return method + over + (", within folds" if within else "")
