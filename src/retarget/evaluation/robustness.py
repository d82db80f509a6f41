"""Robustness: what corruption of the judging inputs leaves of what a model can do.

`kept` = (s − c) / (s₀ − c): of the lead s₀ − c that the model has on clean inputs over one that
knows only how frequent the targets are (c), the share that it has on corrupted ones. 1: nothing is
lost; 0: guessing would do as well; below 0: worse than guessing. It is one definition for every
metric. c is the metric of predictions that are the targets' frequencies, or their mean: the share
of the commonest class for accuracy, 1/K for balanced accuracy, 1/2 for AUROC, the positives' share
for average precision, the entropy for log-loss, the standard deviation for RMSE, 0 for R² and rank
correlation. A plain ratio s / s₀ would credit a coin with half of everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

from retarget.core.types import FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.intervals import number_groups
from retarget.evaluation.jackknife import Design, design_of
from retarget.evaluation.metrics import Metric, metric
from retarget.evaluation.results import Estimate
from retarget.evaluation.sample import Sample, sample_of
from retarget.evaluation.sums import NOTHING

LEVEL = 0.95
FURTHEST = 10.0  # an interval that reaches this far from its share says nothing
BISECTIONS = 40

Cell = tuple[str, int]


@dataclass(frozen=True)
class Outputs:
    """Predictions of one model for the same n examples: (n, K) probabilities, or (n,) values.

    Attributes:
        clean: for the inputs as they are.
        corrupted: (corruption, severity) → for the inputs corrupted so.
    """

    clean: FloatArray
    corrupted: Mapping[Cell, FloatArray]


@dataclass(frozen=True)
class Withstood:
    """What one corruption of one severity leaves: the score, and the share kept of the lead.

    `kept` is `None` where the clean lead can't be told from none.
    """

    corruption: str
    severity: int
    score: Estimate
    kept: Estimate | None


@dataclass(frozen=True)
class Robustness:
    """A model on clean and corrupted inputs.

    Attributes:
        metric: what scores are.
        clean: score on the inputs as they are.
        guessing: score of the targets' frequencies alone, to which `kept` is relative.
        cells: by corruption and severity.
        kept: mean over the cells of the share kept, or `None` where the clean lead over guessing
            can't be told from none: there is nothing that could be kept.
    """

    metric: str
    clean: Estimate
    guessing: float
    cells: tuple[Withstood, ...]
    kept: Estimate | None


@dataclass(frozen=True)
class RobustnessGain:
    """How much more robust one model is than another, on the same examples.

    All are turned so that above zero is better: of the clean score, of the mean score over the
    corruptions, and of the mean share kept, which is `None` where one of the two has none.
    """

    metric: str
    clean: Estimate
    corrupted: Estimate
    kept: Estimate | None


def robustness(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    outputs: Outputs,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
) -> Robustness:
    """Return what the corruptions leave of a model's performance, with 95% intervals.

    Intervals of shares are paired, and those of Fieller (1954): they hold every share r for which
    s − c − r (s₀ − c) can't be told from zero by the jackknife over groups.

    Args:
        name: a name in `METRICS`.
        kind: what the targets are.
        targets: (n,) class indices; (n, K) 0/1 for multilabel; (n,) values.
        outputs: the predictions, of at least one corruption.
        groups: (n,) of which group each example is; "" is a group of its own.
        folds: (n,) whose model predicted each example, under cross-fitting.
        weights: (n,) above zero; one each where not given.
        sequences: (n,) which sequence each example is of, where they are words.

    Raises:
        ValueError: nothing corrupted, a metric that these examples don't define, or arrays that
            don't fit together.
        UsageError: no such metric for this kind.
    """
    judged = _Judged.of(name, kind, targets, outputs, groups, folds, weights, sequences)
    lead = judged.lead(outputs)
    return Robustness(
        metric=name,
        clean=judged.score(outputs.clean),
        guessing=float(lead.guessing[0]),
        cells=tuple(
            Withstood(*cell, judged.score(predictions), judged.kept(lead.of(cell)))
            for cell, predictions in outputs.corrupted.items()
        ),
        kept=judged.kept(lead),
    )


def robustness_gain(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    ours: Outputs,
    theirs: Outputs,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
) -> RobustnessGain:
    """Return how much more robust `ours` is than `theirs`, paired on the same examples.

    Arguments are those of `robustness`, which says what is raised; both models need the same
    corruptions, else `ValueError`.
    """
    if ours.corrupted.keys() != theirs.corrupted.keys():
        raise ValueError("the two models were not tried on the same corruptions")
    judged = _Judged.of(name, kind, targets, ours, groups, folds, weights, sequences)
    judged.check(theirs)
    first, second = judged.lead(ours), judged.lead(theirs)
    return RobustnessGain(
        metric=name,
        clean=judged.difference(first.clean, second.clean),
        corrupted=judged.difference(first.corrupted, second.corrupted),
        kept=judged.kept_difference(first, second),
    )


@dataclass(frozen=True)
class _Lead:
    """Scores that a share kept is made of, each (1 + G,): the score, then without each group.

    Attributes:
        clean: on clean inputs.
        guessing: of the targets' frequencies.
        cells: by corruption and severity.
    """

    clean: FloatArray
    guessing: FloatArray
    cells: Mapping[Cell, FloatArray]

    @property
    def corrupted(self) -> FloatArray:
        """The mean over the cells."""
        return np.asarray(np.mean(list(self.cells.values()), axis=0))

    @property
    def kept(self) -> FloatArray:
        """The mean share kept, NaN where there is no lead."""
        whole = self.clean - self.guessing
        some = np.abs(whole) > NOTHING
        return np.where(some, self.corrupted - self.guessing, np.nan) / np.where(some, whole, 1.0)

    def of(self, cell: Cell) -> "_Lead":
        """Return the scores of one cell only."""
        return replace(self, cells={cell: self.cells[cell]})

    def contrast(self, share: float) -> FloatArray:
        """Return what is zero where `share` is kept."""
        return self.corrupted - self.guessing - share * (self.clean - self.guessing)


@dataclass(frozen=True)
class _Judged:
    """Judged examples, the metric, and the jackknife over their groups."""

    metric: Metric
    nothing: Sample  # predictions that are the targets' frequencies
    groups: IntArray
    design: Design

    @classmethod
    def of(
        cls,
        name: str,
        kind: Kind,
        targets: FloatArray | IntArray,
        outputs: Outputs,
        groups: StrArray | None,
        folds: IntArray | None,
        weights: FloatArray | None,
        sequences: IntArray | None = None,
    ) -> "_Judged":
        """Check what was given. Raises as `robustness` says."""
        one = metric(name, kind)
        if not outputs.corrupted or not len(targets):
            raise ValueError("there is nothing corrupted to judge")
        clean = sample_of(kind, targets, outputs.clean, weights, folds)
        clean = replace(clean, sequences=sequences)
        if isnan(one.function(clean)):
            raise ValueError(f"{one.title} is not defined on these examples")
        numbers, within = (
            number_groups(_units(groups, sequences), len(clean)),
            one.statistic.within_folds,
        )
        design = design_of(one.statistic.leverage(clean), numbers, clean.folds, within)
        judged = cls(one, _knowing_nothing(clean), numbers, design)
        judged.check(outputs)
        return judged

    def check(self, outputs: Outputs) -> None:
        """Raise `ValueError` for predictions that are not of these examples, or not finite."""
        expected = self.nothing.predictions
        for predictions in (outputs.clean, *outputs.corrupted.values()):
            if len(predictions) != len(expected) or np.size(predictions) != expected.size:
                raise ValueError(
                    f"predictions {np.shape(predictions)} were given, {expected.shape} expected"
                )
            if not np.isfinite(predictions).all():
                raise ValueError("some predictions are NaN or infinite")

    def lead(self, outputs: Outputs) -> _Lead:
        """Return the scores of a model."""
        cells = {cell: self._values(p) for cell, p in outputs.corrupted.items()}
        return _Lead(self._values(outputs.clean), self._values(self.nothing.predictions), cells)

    def score(self, predictions: FloatArray) -> Estimate:
        """Return a score with its interval."""
        sample = self._sample(predictions)
        value = self.metric.function(sample)
        if isnan(value):
            return Estimate(0.0, 0.0, 0.0, "predictions are constant")
        left = self.metric.statistic.without(sample, self.groups)
        low, high = self.metric.scale.interval(value, left, self.design, LEVEL)
        return Estimate(value, min(low, value), max(high, value), self._how(self.metric.scale.how))

    def kept(self, lead: _Lead) -> Estimate | None:
        """Return the share kept with its interval, `None` where that has no end."""
        whole, share = float((lead.clean - lead.guessing)[0]), float(lead.kept[0])
        ahead = whole > NOTHING if self.metric.higher_is_better else whole < -NOTHING
        if not ahead or self.design.degrees == 0:
            return None

        def excluded(other: float) -> bool:
            contrast = lead.contrast(other)
            half = self._half(contrast, lead.clean[0], lead.corrupted[0])
            return abs(float(contrast[0])) > half

        if not (excluded(share - FURTHEST) and excluded(share + FURTHEST)):
            return None
        low, high = (_border(share, share + end, excluded) for end in (-FURTHEST, FURTHEST))
        return Estimate(share, low, high, self._how("Fieller, jackknife"))

    def difference(self, ours: FloatArray, theirs: FloatArray) -> Estimate:
        """Return how much better scores `ours` are than `theirs`."""
        sign = 1.0 if self.metric.higher_is_better else -1.0
        gap, reach = sign * (ours - theirs), self.metric.bounds[1] - self.metric.bounds[0]
        half = self._half(ours - theirs, ours[0], theirs[0])
        value = float(gap[0])
        low, high = max(value - half, -reach), min(value + half, reach)
        return Estimate(value, low, high, self._how("paired t, jackknife"))

    def kept_difference(self, ours: _Lead, theirs: _Lead) -> Estimate | None:
        """Return the difference of the shares kept, `None` where one of them has none."""
        if self.kept(ours) is None or self.kept(theirs) is None:
            return None
        gap = ours.kept - theirs.kept
        # In units of the metric, whose scale knows how little can be told by a few examples.
        unit = abs(float((ours.clean + theirs.clean)[0] / 2 - ours.guessing[0]))
        half = self._half(gap * unit, ours.corrupted[0], theirs.corrupted[0]) / unit
        value = float(gap[0])
        return Estimate(value, value - half, value + half, self._how("paired t, jackknife"))

    def _sample(self, predictions: FloatArray) -> Sample:
        expected = self.nothing.predictions.shape
        values = np.asarray(predictions, np.float64).reshape(expected)
        return replace(self.nothing, predictions=values)

    def _values(self, predictions: FloatArray) -> FloatArray:
        """Return (1 + G,) the score, then without each group."""
        sample = self._sample(predictions)
        value = self.metric.function(sample)
        if isnan(value):  # only of constant predictions: they correlate with nothing
            return np.zeros(1 + int(self.groups.max()) + 1)
        return np.append(value, self.metric.statistic.without(sample, self.groups))

    def _half(self, contrast: FloatArray, one: float, other: float) -> float:
        """Return half the width of a contrast's interval, where scores are about `one`, `other`."""
        middle, apart = float(one + other) / 2, float(contrast[0]) / 2
        around = middle + apart, middle - apart
        return self.metric.scale.half_width(around, contrast[1:], self.design, LEVEL)

    def _how(self, method: str) -> str:
        return method + (" over groups" if self.groups.max() + 1 < len(self.groups) else "")


def _units(groups: StrArray | None, sequences: IntArray | None) -> StrArray | None:
    """Return what hangs together: groups where there are any, else sequences."""
    if sequences is None or (groups is not None and (groups != "").any()):
        return groups
    return sequences.astype(np.str_)


def _knowing_nothing(clean: Sample) -> Sample:
    """Return the sample with the targets' frequencies, or mean, predicted for every example."""
    truth = clean.targets if clean.kind == "regression" else clean.indicators()
    mean = np.average(truth, axis=0, weights=clean.weights)
    return replace(clean, predictions=np.zeros(clean.predictions.shape) + mean)


def _border(inside: float, outside: float, excluded: Callable[[float], bool]) -> float:
    """Return where, on the way out, shares begin to be excluded."""
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside
