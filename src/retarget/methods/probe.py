"""`Probe`: L2-regularised linear heads on frozen features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray, Kind
from retarget.methods.base import CrossFit, Head, Labels, Method, register_method
from retarget.methods.heads import LinearHead
from retarget.methods.logistic import Problems, solve_path
from retarget.methods.ridge import Ridge
from retarget.methods.rotation import Rotation, rotate

STRENGTHS = tuple(float(f"{s:.2g}") for s in np.geomspace(5e-2, 2e-6, 8))
RIDGE_STRENGTHS = tuple(float(f"{s:.2g}") for s in np.geomspace(1e0, 1e-5, 8))
NUMBERS_AT_ONCE = 1 << 24
# Measured: beyond this size a rotation costs more than the iterations it saves.
ROTATE_UP_TO = 1500
STRIDE = 5.0
REMEMBERED_UP_TO = 1 << 23
# The rows that were last cross-fitted and their rotation, which the same bits would give again.
_last: list[tuple[FloatArray, Rotation]] = []


@register_method
@dataclass(frozen=True)
class Probe(Method):
    """Softmax, one-against-rest logistic or ridge heads, by the kind of the labels.

    A head minimises sum_i w_i loss_i / sum_i w_i + strength / 2 |weight|², its bias free. The
    loss is the cross-entropy of the softmax over all K columns; the sum over labels of the
    logistic loss; or half the squared error. scikit-learn's `LogisticRegression` does the same
    with C = 1 / (strength sum w), and C = 2 / (strength sum w) for two classes, where it has
    one column; its `Ridge` with alpha = strength sum w.

    A class that has no example to fit on gets no weights, and the probability of half an
    example where features are average. So does a label that all or none have.

    Attributes:
        class_weight: `"balanced"` gives every class the same sum of weights, and with several
            labels an example those with and without the label; regression ignores it.
        strengths: strengths to choose from, above zero. The default path fits features whose
            rows have a mean squared length of about one.
    """

    class_weight: Literal["balanced"] | None = None
    strengths: tuple[float, ...] | None = None
    name: ClassVar[str] = "probe"
    kinds: ClassVar[frozenset[Kind]] = frozenset(
        {"classification", "multilabel", "regression", "tagging"}
    )

    def settings(self, labels: Labels) -> tuple[float, ...]:
        """Return the strengths, strongest first."""
        default = RIDGE_STRENGTHS if labels.kind == "regression" else STRENGTHS
        return tuple(sorted({float(s) for s in self.strengths or default}, reverse=True))

    def cross_fit(self, x: FloatArray, labels: Labels, folds: IntArray) -> CrossFit:
        """Return out-of-fold outputs of all strengths and folds, solved together.

        The heads are means over folds; ridge needs none.
        """
        kept = np.unique(folds)[:, None] != folds
        if labels.kind == "regression":
            return self._ridges(x, labels, kept)
        found = np.empty((len(self.settings(labels)), len(x), labels.outputs))
        centre = _mean(x)
        rows = _centred(x, centre)
        rotation = _rotated(rows)
        _remember(rows, rotation)
        used = rows if rotation is None else rotation.coordinates
        means = np.zeros((len(found), labels.outputs, used.shape[1] + 1))
        at_once = max(1, NUMBERS_AT_ONCE // (len(x) * labels.outputs))
        for start in range(0, len(kept), at_once):
            part = kept[start : start + at_once]
            path = _path(used, labels, part, self.settings(labels), self.class_weight)
            for s, (weight, bias) in enumerate(path):
                means[s] += _joined(weight, bias).sum(axis=0) / len(kept)
                for fold, w, b in zip(part, weight, bias, strict=True):
                    found[s, ~fold] = used[~fold] @ w.T.astype(np.float32) + b
        return CrossFit(found, _heads(means, rotation, centre))

    def _ridges(self, x: FloatArray, labels: Labels, kept: BoolArray) -> CrossFit:
        strengths = self.settings(labels)
        found = np.empty((len(strengths), len(x), 1))
        for fold in kept:
            ridge = _ridge(x, labels, fold)
            for s, strength in enumerate(strengths):
                slopes, constant = ridge.solve(strength)
                found[s, ~fold, 0] = x[~fold] @ slopes + constant
        return CrossFit(found, (None,) * len(strengths))

    def fit(
        self, x: FloatArray, labels: Labels, setting: float, start: Head | None = None
    ) -> LinearHead:
        """Return the head fitted on all rows with one strength.

        From a linear `start` it goes straight to that strength, otherwise down from a strong
        one; ridge is solved at once.
        """
        everything = np.ones((1, len(x)), dtype=bool)
        if labels.kind == "regression":
            slopes, constant = _ridge(x, labels, everything[0]).solve(setting)
            return LinearHead(slopes[None].astype(np.float32), np.array([constant]))
        centre = _mean(x)
        rows = _centred(x, centre)
        rotation = _rotated(rows)
        used = rows if rotation is None else rotation.coordinates
        begun = _begun(start, rotation, centre) if isinstance(start, LinearHead) else None
        strengths = _down_to(setting) if begun is None else (setting,)
        *_, (weights, biases) = _path(used, labels, everything, strengths, self.class_weight, begun)
        weight = weights[0] if rotation is None else rotation.back(weights[0])
        weight = weight.astype(np.float32)
        return LinearHead(weight, biases[0] - weight @ centre)


def _mean(x: FloatArray) -> FloatArray:
    return np.asarray(x.mean(axis=0, dtype=np.float64))


def _centred(x: FloatArray, centre: FloatArray) -> FloatArray:
    # In rows, so that the same numbers are rotated to the same bits however x lies in memory.
    return np.ascontiguousarray(x - centre.astype(np.float32), dtype=np.float32)


def _rotated(rows: FloatArray) -> Rotation | None:
    """Return the rotation of rows, at once if they are the last ones; None if it costs more."""
    if min(rows.shape) > ROTATE_UP_TO:
        return None
    for last, rotation in _last.copy():
        if np.array_equal(last.view(np.int32), rows.view(np.int32)):
            return rotation
    return rotate(rows)


def _remember(rows: FloatArray, rotation: Rotation | None) -> None:
    _last.clear()
    if rotation is not None and rows.size <= REMEMBERED_UP_TO:
        _last.append((rows, rotation))


def _heads(
    means: FloatArray, rotation: Rotation | None, centre: FloatArray
) -> tuple[LinearHead | None, ...]:
    """Return heads over features from weights and biases (S, K, r + 1) over coordinates.

    Where a solver has failed there is none.
    """
    settings, outputs, width = means.shape
    flat = means[..., :-1].reshape(settings * outputs, width - 1)
    back = flat if rotation is None else rotation.back(flat)
    weights = back.astype(np.float32).reshape(settings, outputs, len(centre))
    biases = means[..., -1] - weights @ centre
    # Copies, so that one that is kept doesn't hold the others in memory.
    return tuple(
        LinearHead(w.copy(), b.copy()) if np.isfinite(w).all() and np.isfinite(b).all() else None
        for w, b in zip(weights, biases, strict=True)
    )


def _begun(start: LinearHead, rotation: Rotation | None, centre: FloatArray) -> FloatArray:
    """Return weights and biases (1, K, r + 1) over coordinates from a head over features."""
    weight = start.weight if rotation is None else rotation.into(start.weight)
    return _joined(weight, start.bias + start.weight @ centre)[None]


def _down_to(setting: float) -> tuple[float, ...]:
    """Return strengths from a strong one to `setting`: each is a start for the next."""
    steps = np.log(max(STRENGTHS[0] / setting, 1)) / np.log(STRIDE)
    return tuple(setting * STRIDE**k for k in range(int(np.ceil(steps)), -1, -1))


def _ridge(x: FloatArray, labels: Labels, kept: BoolArray) -> Ridge:
    values = np.asarray(labels.values, dtype=np.float64)
    return Ridge.of(x[kept], values[kept], labels.weights[kept])


def _path(
    rows: FloatArray,
    labels: Labels,
    kept: BoolArray,
    strengths: tuple[float, ...],
    class_weight: Literal["balanced"] | None,
    start: FloatArray | None = None,
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield weight (F, K, r) and bias (F, K) for each strength, of fits on `kept` (F, n) rows.

    The first strength starts from `start` (F, K, r + 1), both joined, or from zero.
    """
    one_hot = labels.columns()
    weights: FloatArray = np.where(kept, np.asarray(labels.weights, dtype=np.float64), 0)
    held, total = weights @ one_hot, weights.sum(axis=1, keepdims=True)
    if labels.kind == "multilabel":
        return _labels_path(rows, one_hot, weights, strengths, class_weight, start)
    if class_weight == "balanced":
        weights = weights * ((1 / np.where(held > 0, held, np.inf)) @ one_hot.T)
    present: BoolArray = held > 0
    if labels.outputs == 2:
        solved = _two_class_path(rows, one_hot, weights, present, strengths, start)
    else:
        several = np.asarray(present.sum(axis=1) > 1)[:, None]
        targets = one_hot.T[None].astype(np.float32)
        problems = Problems(rows, targets, _shares(weights * several), present)
        solved = solve_path(problems, strengths, start)
    return (_with_absent(w, present, total) for w in solved)


def _two_class_path(
    rows: FloatArray,
    one_hot: FloatArray,
    weights: FloatArray,
    present: BoolArray,
    strengths: tuple[float, ...],
    start: FloatArray | None,
) -> Iterator[FloatArray]:
    """Yield (F, 2, r + 1) from one column u: the two are -u / 2 and u / 2, so |W|² = |u|² / 2."""
    both = np.asarray(present.all(axis=1))[:, None]
    target = one_hot[:, 1].astype(np.float32)[None, None]
    problems = Problems(rows, target, _shares(weights * both), both)
    apart = None if start is None else start[:, 1:] - start[:, :1]
    for u in solve_path(problems, tuple(s / 2 for s in strengths), apart):
        yield np.concatenate([-u / 2, u / 2], axis=1)


def _labels_path(
    rows: FloatArray,
    held: FloatArray,
    weights: FloatArray,
    strengths: tuple[float, ...],
    class_weight: Literal["balanced"] | None,
    start: FloatArray | None,
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield weight (F, K, r) and bias (F, K): a problem for every fold and label."""
    folds, labels = len(weights), held.shape[1]
    with_label, total = weights @ held, weights.sum(axis=1, keepdims=True)
    without = total - with_label
    mixed = (with_label > 0) & (without > 1e-9 * total)
    each = np.repeat(weights[:, None, :], labels, axis=1)
    if class_weight == "balanced":
        share = np.where(mixed, with_label / total, 0.5)[..., None]
        each = np.where(held.T > 0, each / share, each / (1 - share))
    each = (each * mixed[..., None]).reshape(folds * labels, -1)
    targets = np.tile(held.T, (folds, 1))[:, None, :].astype(np.float32)
    problems = Problems(rows, targets, _shares(each), mixed.reshape(-1, 1))
    one_sided = np.log((with_label + 0.5) / (np.maximum(without, 0) + 0.5))
    apart = None if start is None else start.reshape(folds * labels, 1, -1)
    for solved in solve_path(problems, strengths, apart):
        w = solved.reshape(folds, labels, -1).astype(np.float64)
        yield w[..., :-1], np.where(mixed, w[..., -1], one_sided)


def _joined(weight: FloatArray, bias: FloatArray) -> FloatArray:
    return np.concatenate([weight, bias[..., None]], axis=-1)


def _shares(weights: FloatArray) -> FloatArray:
    """Return weights with rows that sum to one, or to zero."""
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1), dtype=np.float32)


def _with_absent(
    solved: FloatArray, present: BoolArray, total: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return weight and bias, columns centred and absent classes given half an example."""
    w = np.where(present[..., None], solved.astype(np.float64), 0)
    w = np.where(present[..., None], w - w.sum(axis=1, keepdims=True) / _count(present), 0)
    bias = w[..., -1]
    together = np.log((np.exp(bias - bias.max(axis=1, keepdims=True)) * present).sum(axis=1))
    absent = bias.max(axis=1) + together - np.log(2 * np.maximum(total[:, 0], 1))
    return w[..., :-1], np.where(present, bias, absent[:, None])


def _count(present: BoolArray) -> FloatArray:
    return np.asarray(present.sum(axis=1)[:, None, None], dtype=np.float64)
