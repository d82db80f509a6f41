"""The metrics, by name: what each one is, and its value.

Most metrics are a function of weighted sums over examples (`Sums`), the others are of order
(`ranking`). Both can say what they would be with each group of examples left out, at about the
cost of saying what they are; `intervals` rests on that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.types import FloatArray, IntArray, Kind
from retarget.evaluation.entity_sums import (
    BOUNDARIES,
    ENTITY_F1,
    ENTITY_MACRO_F1,
    ENTITY_PRECISION,
    ENTITY_RECALL,
    OVERLAPS,
)
from retarget.evaluation.ranking import Auroc, AveragePrecision, Spearman
from retarget.evaluation.sample import Sample, sample_of
from retarget.evaluation.scales import Correlation, Loss, Scale, Share, binomial, ordinal
from retarget.evaluation.sums import NOTHING, Sums, mean_where

CALIBRATION_BINS = 15


class Statistic(Protocol):
    """A function of judged examples, and what it would be without each group of them."""

    @property
    def within_folds(self) -> bool:
        """Whether, under cross-fitting, it compares only examples of one fold."""

    def value(self, sample: Sample) -> float:
        """Return the value, NaN where it is not defined."""

    def without(self, sample: Sample, groups: IntArray) -> FloatArray:
        """Return (G,) the value with each group left out; `groups` (n,) counts from 0 to G − 1."""

    def leverage(self, sample: Sample) -> FloatArray:
        """Return (n,) how far each example moves the value, squared: 1/n² for a mean."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: what runs call it.
        title: what people call it.
        kinds: the targets that it judges.
        higher_is_better: whether more is better.
        bounds: the least and the greatest value it can have.
        statistic: its value, and its values with groups left out.
        scale: where its intervals are made.
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    higher_is_better: bool
    bounds: tuple[float, float]
    statistic: Statistic
    scale: Scale

    def function(self, sample: Sample) -> float:
        """Return the value on a sample, NaN where it is not defined."""
        if len(sample) == 0 or sample.predictions.size == 0:
            return float("nan")
        low, high = self.bounds  # which rounding may overstep
        return float(np.clip(self.statistic.value(sample), low, high))


def metric(name: str, kind: Kind) -> Metric:
    """Return the metric called `name`. Raises `UsageError` where it doesn't judge this kind."""
    if name not in METRICS or kind not in METRICS[name].kinds:
        raise UsageError(
            f"There is no metric {name!r} for {kind}. Choose from: {', '.join(metrics_for(kind))}."
        )
    return METRICS[name]


def metrics_for(kind: Kind) -> tuple[str, ...]:
    """Return the names of the metrics that judge a kind of target."""
    return tuple(name for name, one in METRICS.items() if kind in one.kinds)


def score(
    name: str,
    kind: Kind,
    targets: FloatArray | IntArray,
    predictions: FloatArray,
    weights: FloatArray | None = None,
    folds: IntArray | None = None,
    sequences: IntArray | None = None,
) -> float:
    """Return a metric's value, NaN where it is not defined (AUROC of one class).

    Args:
        name: a name in `METRICS`.
        kind: what the targets are.
        targets: (n,) class or tag numbers; (n, K) 0/1 for multilabel; (n,) values.
        predictions: (n, K) probabilities, or (n,) values.
        weights: (n,) above zero; one each where not given.
        folds: (n,) whose model predicted each example, under cross-fitting. AUROC and Spearman
            then compare only examples of one fold.
        sequences: (n,) ascending, which sequence each example is of; tagging needs it.
    """
    sample = sample_of(kind, targets, predictions, weights, folds, sequences)
    return metric(name, kind).function(sample)


def headline(kind: Kind, targets: FloatArray | IntArray) -> str:
    """Return the metric that a run is judged by when nobody says.

    Regression: RMSE. Tagging: F1 of whole entities. Multilabel: average precision, which no
    threshold decides. Classification:
    accuracy, as long as always guessing the largest class has at most twice the odds that it has
    with equal classes (a share of 2/3 for two classes). Beyond that accuracy rewards the guess:
    AUROC for two classes, where a threshold of one half says little; balanced accuracy for more.
    """
    if kind == "regression":
        return "rmse"
    if kind == "tagging":
        return "entity_f1"
    if kind == "multilabel":
        return "average_precision"
    counts = np.unique(targets, return_counts=True)[1]
    if len(counts) < 2 or counts.max() * (len(counts) - 1) <= 2 * (counts.sum() - counts.max()):
        return "accuracy"
    return "auroc" if len(counts) == 2 else "balanced_accuracy"


def _each(of: Callable[[Sample], FloatArray]) -> Callable[[Sample], FloatArray]:
    """Make (n,) contributions a column."""
    return lambda sample: of(sample)[:, None]


def _average(mass: FloatArray, sums: FloatArray) -> FloatArray:
    return np.asarray(sums[..., 0] / mass)


def _correct(sample: Sample) -> FloatArray:
    return np.asarray(sample.called == sample.targets, np.float64)


def _all_correct(sample: Sample) -> FloatArray:
    return np.asarray((sample.decisions() == sample.indicators()).all(axis=1), np.float64)


def _share_wrong(sample: Sample) -> FloatArray:
    return np.asarray((sample.decisions() != sample.indicators()).mean(axis=1))


def _log_loss(sample: Sample) -> FloatArray:
    tiny = float(np.finfo(np.float64).eps)
    p = np.clip(sample.predictions, tiny, 1 - tiny)
    if sample.kind == "multilabel":
        return np.asarray(-np.log(np.where(sample.targets > 0, p, 1 - p)).mean(axis=1))
    return np.asarray(-np.log(p[np.arange(len(p)), sample.targets]))


def _brier(sample: Sample) -> FloatArray:
    squares = (sample.predictions - sample.indicators()) ** 2
    if sample.kind == "multilabel":
        return np.asarray(squares.mean(axis=1))
    return np.asarray(squares.sum(axis=1) / 2)


def _confusion(sample: Sample) -> FloatArray:
    """Return (n, 3K): decided rightly, decided for, and true, by class or label."""
    truth, decided = sample.indicators(), sample.decisions()
    return np.concatenate([truth * decided, decided, truth], axis=1)


def _mean_recall(mass: FloatArray, sums: FloatArray) -> FloatArray:
    right, _, true = np.split(sums, 3, axis=-1)
    return mean_where(right, true)


def _macro_f1(mass: FloatArray, sums: FloatArray) -> FloatArray:
    right, decided, true = np.split(sums, 3, axis=-1)
    return mean_where(2 * right, decided + true)


def _micro_f1(mass: FloatArray, sums: FloatArray) -> FloatArray:
    right, decided, true = (part.sum(axis=-1) for part in np.split(sums, 3, axis=-1))
    return mean_where((2 * right)[..., None], (decided + true)[..., None])


def calibration_bins(confidence: FloatArray) -> IntArray:
    """Return (n,) which of the `CALIBRATION_BINS` of equal width each confidence is in."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def _miscalibration(sample: Sample) -> FloatArray:
    """Return (n, bins) confidence less correctness in the bin of the confidence."""
    confidence = sample.predictions.max(axis=1)
    excess = confidence - _correct(sample)
    return np.asarray(
        (calibration_bins(confidence)[:, None] == np.arange(CALIBRATION_BINS)) * excess[:, None]
    )


def _total_miscalibration(mass: FloatArray, sums: FloatArray) -> FloatArray:
    return np.asarray(np.abs(sums).sum(axis=-1) / mass)


def _square_error(sample: Sample) -> FloatArray:
    return np.asarray((sample.predictions - sample.targets) ** 2)


def _absolute_error(sample: Sample) -> FloatArray:
    return np.abs(sample.predictions - sample.targets)


def _root(mass: FloatArray, sums: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(sums[..., 0], 0.0) / mass)


def _explained(sample: Sample) -> FloatArray:
    """Return (n, 3): squared error, target and squared target, the target less its mean."""
    y = sample.targets - np.average(sample.targets, weights=sample.weights)
    return np.stack([_square_error(sample), y, y * y], axis=1)


def _r2(mass: FloatArray, sums: FloatArray) -> FloatArray:
    error, first, second = np.moveaxis(sums, -1, 0)
    spread = second - first**2 / mass
    some = spread > NOTHING * np.maximum(second, NOTHING)
    return np.where(some, 1 - error / np.where(some, spread, 1.0), np.nan)


_CLASS: frozenset[Kind] = frozenset({"classification"})
_LABELS: frozenset[Kind] = frozenset({"multilabel"})
_BOTH = _CLASS | _LABELS
_VALUES: frozenset[Kind] = frozenset({"regression"})
_TAGS: frozenset[Kind] = frozenset({"tagging"})


def _share(name: str, title: str, kinds: frozenset[Kind], up: bool, statistic: Statistic) -> Metric:
    return Metric(name, title, kinds, up, (0.0, 1.0), statistic, Share(binomial))


def _order(name: str, title: str, statistic: Statistic) -> Metric:
    scale = Share(ordinal, crossing=1.5, disagreements=0.5)
    return Metric(name, title, _BOTH, True, (0.0, 1.0), statistic, scale)


def _loss(
    name: str, title: str, kinds: frozenset[Kind], statistic: Statistic, loss: Loss
) -> Metric:
    return Metric(name, title, kinds, False, (0.0, inf), statistic, loss)


_RIGHT, _ALL_RIGHT = Sums(_each(_correct), _average), Sums(_each(_all_correct), _average)
_RECALL = Sums(_confusion, _mean_recall, by_class=True)
_MACRO, _MICRO = Sums(_confusion, _macro_f1, by_class=True), Sums(_confusion, _micro_f1)
_WRONG, _SQUARES = Sums(_each(_share_wrong), _average), Sums(_each(_brier), _average)
_BINS = Sums(_miscalibration, _total_miscalibration)
_SURPRISE = Sums(_each(_log_loss), _average)
_ROOT, _ABSOLUTE = Sums(_each(_square_error), _root), Sums(_each(_absolute_error), _average)
_R2, _LEFT = Sums(_explained, _r2), Loss(relative=2.0, rest=True)

METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        _share("entity_f1", "entity F1", _TAGS, True, ENTITY_F1),
        _share("entity_precision", "entity precision", _TAGS, True, ENTITY_PRECISION),
        _share("entity_recall", "entity recall", _TAGS, True, ENTITY_RECALL),
        _share("entity_macro_f1", "entity F1, mean over types", _TAGS, True, ENTITY_MACRO_F1),
        _share("span_f1", "entity F1, of any type", _TAGS, True, BOUNDARIES),
        _share("overlap_f1", "entity F1, of any overlap", _TAGS, True, OVERLAPS),
        _share("word_accuracy", "word accuracy", _TAGS, True, _RIGHT),
        _share("accuracy", "accuracy", _CLASS, True, _RIGHT),
        _share("balanced_accuracy", "balanced accuracy", _CLASS, True, _RECALL),
        _share("subset_accuracy", "all labels right", _LABELS, True, _ALL_RIGHT),
        _share("hamming_loss", "share of labels wrong", _LABELS, False, _WRONG),
        _share("macro_f1", "macro F1", _BOTH, True, _MACRO),
        _share("micro_f1", "micro F1", _LABELS, True, _MICRO),
        _order("auroc", "AUROC", Auroc()),
        _order("average_precision", "average precision", AveragePrecision()),
        _loss("log_loss", "log-loss", _BOTH | _TAGS, _SURPRISE, Loss(relative=1.0)),
        _share("brier", "Brier score", _BOTH, False, _SQUARES),
        _share("calibration_error", "calibration error", _CLASS, False, _BINS),
        _loss("rmse", "RMSE", _VALUES, _ROOT, Loss(relative=2.0, power=2.0)),
        _loss("mae", "MAE", _VALUES, _ABSOLUTE, Loss(relative=0.57)),
        Metric("r2", "R²", _VALUES, True, (-inf, 1.0), _R2, _LEFT),
        Metric(
            "spearman", "rank correlation", _VALUES, True, (-1.0, 1.0), Spearman(), Correlation()
        ),
    )
}
