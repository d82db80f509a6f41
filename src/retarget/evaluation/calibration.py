"""Calibration: does a model that is 90% sure turn out right nine times in ten?"""

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.intervals import interval
from retarget.evaluation.metrics import CALIBRATION_BINS, calibration_bins
from retarget.evaluation.results import Calibration, CalibrationBin

COLDEST, HOTTEST = 0.05, 20.0
# Differences of logits beyond this are as good as certain (e^-50 = 2e-22).
_FARTHEST = 50.0


def fit_temperature(
    log_probs: FloatArray,
    targets: IntArray | FloatArray,
    weights: FloatArray | None = None,
    kind: Kind = "classification",
) -> float:
    """Return the temperature T that makes softmax(log p / T) fit the targets best.

    The weighted log-loss is convex in 1/T. A prior worth about one example, (1/T) + log T, keeps
    T finite and near 1 where the data says nothing or every example is right. Guo, Pleiss, Sun &
    Weinberger 2017, "On calibration of modern neural networks".

    Args:
        log_probs: (n, K) logarithms of probabilities, or logits, that were not fitted on these
            targets. Multilabel: logits, made probabilities by a sigmoid each.
        targets: (n,) class or tag numbers; multilabel (n, K) of 0 and 1.
        weights: (n,) above zero; 1 where not given.
        kind: classification, tagging or multilabel. Regression has no temperature: 1.

    Returns:
        T, from 0.05 to 20. Above 1 the model was too sure.

    Raises:
        ValueError: a NaN among `log_probs`, or shapes that don't fit together.
    """
    if kind == "regression" or len(log_probs) == 0:
        return 1.0
    logits = np.asarray(log_probs, float)
    if logits.ndim != 2 or len(targets) != len(logits) or not (logits < np.inf).all():
        raise ValueError(f"log-probabilities must be (n, K), below infinity, not {logits.shape}")
    weight = np.ones(len(logits)) if weights is None else np.asarray(weights, float)
    weight = weight / weight.mean()
    if kind in CLASSES:
        return 1 / _sharpness(_beyond_truth(logits, np.asarray(targets, np.int64)), weight)
    # A sigmoid is a softmax over two logits; the true one of the two is shifted to 0.
    wrong = np.where(np.asarray(targets) > 0.5, -logits, logits).clip(-_FARTHEST, _FARTHEST)
    pairs = np.stack([np.zeros(wrong.size), wrong.ravel()], axis=1)
    return 1 / _sharpness(pairs, np.repeat(weight, logits.shape[1]) / logits.shape[1])


def _beyond_truth(logits: FloatArray, targets: IntArray) -> FloatArray:
    """Return (n, K): how far each class's logit lies above that of the true class."""
    bounded = np.maximum(logits, logits.max(axis=1, keepdims=True) - _FARTHEST)
    return np.asarray(bounded - bounded[np.arange(len(bounded)), targets][:, None])


def _sharpness(beyond: FloatArray, weight: FloatArray) -> float:
    """Return 1/T that minimises Σ w log Σ exp(beyond / T) and the prior, by guarded Newton."""
    low, high = 1 / HOTTEST, 1 / COLDEST
    sharpness = 1.0
    for _ in range(60):
        scaled = sharpness * beyond
        p = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * beyond).sum(axis=1)
        slope = float(weight @ mean) + 1 - 1 / sharpness
        spread = np.maximum((p * beyond**2).sum(axis=1) - mean**2, 0)
        bend = float(weight @ spread) + 1 / sharpness**2
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / bend
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - sharpness) < 1e-7 * sharpness:
            break
        sharpness = following
    return sharpness


def apply_temperature(probs: FloatArray, temperature: float, kind: Kind) -> FloatArray:
    """Return probabilities (n, K) at temperature T: p^(1/T), normalised over the classes.

    Multilabel: each label and its absence are the two classes. Regression values are returned
    as they are. Raises `ValueError` for a temperature that is not above zero.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above zero, not {temperature}")
    if kind == "regression" or temperature == 1.0:
        return probs
    with np.errstate(divide="ignore"):
        log_present = np.log(np.asarray(probs, float)) / temperature
        if kind in CLASSES:
            scaled = np.exp(log_present - log_present.max(axis=1, keepdims=True))
            return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
        log_absent = np.log1p(-np.asarray(probs, float)) / temperature
    most = np.maximum(log_present, log_absent)
    present, absent = np.exp(log_present - most), np.exp(log_absent - most)
    return np.asarray(present / (present + absent))


def calibration(
    kind: Kind,
    targets: IntArray | FloatArray,
    before: FloatArray,
    after: FloatArray,
    temperature: float,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
) -> Calibration:
    """Return the calibration error before and after temperature scaling, and the curve after.

    An example's confidence is the probability of the most probable class. The bins are those of
    the calibration error, of equal width; empty ones are left out. Multilabel: every label of
    every example is a decision of its own, between present and absent. Tagging: every word is one,
    between tags, and intervals are over sentences where there are no groups.

    Args:
        kind: classification, tagging or multilabel.
        targets: of n judged examples, as in `Examples`.
        before: (n, K) probabilities before scaling.
        after: (n, K) probabilities after.
        temperature: what was applied.
        groups: (n,) groups, "" for none.
        folds: (n,) outer folds under cross-fitting.
        weights: (n,) above zero.
        sequences: (n,) which sequence each word is of.
    """
    if kind == "multilabel":
        n, labels = np.shape(after)
        names = np.arange(n).astype(np.str_) if groups is None else _each_own(groups)
        return calibration(
            "classification",
            np.asarray(targets > 0.5, np.int64).ravel(),
            _absent_present(before),
            _absent_present(after),
            temperature,
            groups=np.repeat(names, labels),
            folds=None if folds is None else np.repeat(folds, labels),
            weights=None if weights is None else np.repeat(weights, labels),
        )
    was, now = (
        interval(
            "calibration_error",
            "classification" if kind == "tagging" else kind,
            targets,
            probs,
            groups=groups,
            folds=folds,
            weights=weights,
            sequences=sequences,
        )
        for probs in (before, after)
    )
    weight = np.ones(len(after)) if weights is None else np.asarray(weights, float)
    return Calibration(was, now, temperature, _bins(targets, np.asarray(after, float), weight))


def _each_own(groups: StrArray) -> StrArray:
    """Return the groups with a name for every example that has none."""
    numbered = np.char.add("\0", np.arange(len(groups)).astype(np.str_))
    return np.where(groups == "", numbered, groups)


def _absent_present(probs: FloatArray) -> FloatArray:
    """Return (n·K, 2) of (n, K) probabilities of labels."""
    present = np.asarray(probs, float).ravel()
    return np.stack([1 - present, present], axis=1)


def _bins(
    targets: IntArray | FloatArray, probs: FloatArray, weight: FloatArray
) -> tuple[CalibrationBin, ...]:
    """Return the bins that hold examples, their means weighted."""
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == targets
    number = calibration_bins(confidence)
    return tuple(
        CalibrationBin(
            low=float(b / CALIBRATION_BINS),
            high=float((b + 1) / CALIBRATION_BINS),
            examples=int((number == b).sum()),
            confidence=float(np.average(confidence[number == b], weights=weight[number == b])),
            accuracy=float(np.average(right[number == b], weights=weight[number == b])),
        )
        for b in np.unique(number)
    )
