"""Metrics of order: how scores rank the examples. Each comes with its leave-one-group-out values.

Scores of the models of different folds can't be compared, so under cross-fitting only pairs of
examples of one fold count (AUROC), or only ranks within a fold (Spearman). Average precision
pools the folds: of a handful of examples it says nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray
from retarget.evaluation.sample import Sample

TINY = 1e-12


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order.

    Ties count half. Two classes: of the second one's probability. More classes or labels: the
    mean over those that have both values, each against the rest.
    """

    within_folds: bool = True

    def value(self, sample: Sample) -> float:
        """Return the area, NaN where there is no pair."""
        block = sample.blocks()
        areas = [_pairs(*column, block) for column in _columns(sample)]
        return _mean([float(right.sum() / total.sum()) for right, total in areas if total.any()])

    def without(self, sample: Sample, groups: IntArray) -> FloatArray:
        """Return (G,) the area with each group left out."""
        block = sample.blocks()
        both = block * (int(groups.max()) + 1) + groups
        left = []
        for scores, positive, weights in _columns(sample):
            right, total = _pairs(scores, positive, weights, block)
            if not total.any():
                continue
            right_in, total_in = _pairs(scores, positive, weights, both)
            other_right, other_total = _seen_by_negatives(scores, positive, weights, block)
            lost = np.bincount(groups, right + other_right - right_in)
            gone = np.bincount(groups, total + other_total - total_in)
            left.append(_ratio(right.sum() - lost, total.sum() - gone, total.sum()))
        return _mean_rows(left, groups)

    def leverage(self, sample: Sample) -> FloatArray:
        """Return (n,) how far each example moves the area, squared."""
        block = sample.blocks()
        parts = [_leverage(positive, w, block) for _, positive, w in _columns(sample)]
        return np.asarray(np.mean([part for part in parts if part.any()], axis=0))


@dataclass(frozen=True)
class AveragePrecision:
    """Mean over the positives of the precision at their score, ties together; mean over labels.

    The second class where there are two; else the mean over classes or labels with both values.
    """

    within_folds: bool = False

    def value(self, sample: Sample) -> float:
        """Return the average precision, NaN where no label has both values."""
        return _mean([_average_precision(*column)[0] for column in _columns(sample)])

    def without(self, sample: Sample, groups: IntArray) -> FloatArray:
        """Return (G,) the value with each group left out, to first order."""
        left = []
        for column in _columns(sample):
            value, moves = _average_precision(*column)
            left.append(value - np.bincount(groups, moves))
        return _mean_rows(left, groups)

    def leverage(self, sample: Sample) -> FloatArray:
        """Return (n,) how far each example moves the value, squared."""
        return Auroc().leverage(replace(sample, folds=None))


@dataclass(frozen=True)
class Spearman:
    """Correlation of the ranks, tied values sharing their mean rank; within folds if any."""

    within_folds: bool = True

    def value(self, sample: Sample) -> float:
        """Return the correlation, NaN where targets or predictions are constant."""
        return self._with_moves(sample)[0]

    def without(self, sample: Sample, groups: IntArray) -> FloatArray:
        """Return (G,) the value with each group left out, to first order."""
        value, moves = self._with_moves(sample)
        return np.asarray(value - np.bincount(groups, moves))

    def leverage(self, sample: Sample) -> FloatArray:
        """Return (n,) how far each example moves the value, squared."""
        return np.asarray((sample.weights / sample.weights.sum()) ** 2)

    def _with_moves(self, sample: Sample) -> tuple[float, FloatArray]:
        block = sample.blocks()
        moves, counted = np.zeros(len(block)), np.zeros(len(block))
        value, mass = 0.0, 0.0
        for one in np.unique(block):
            rows = np.flatnonzero(block == one)
            part, moved = _rank_correlation(
                np.asarray(sample.targets[rows], float),
                sample.predictions[rows],
                sample.weights[rows],
            )
            if np.isnan(part):
                continue
            weight = sample.weights[rows].sum()
            value, mass = value + weight * part, mass + weight
            moves[rows] = weight * moved + sample.weights[rows] * part
            counted[rows] = sample.weights[rows]
        if mass == 0:
            return float("nan"), moves
        value /= mass
        return value, (moves - counted * value) / mass


Column = tuple[FloatArray, BoolArray, FloatArray]


def _columns(sample: Sample) -> list[Column]:
    """Return (scores, positive, weights) of each class or label that has both values."""
    scores, truth = sample.predictions, sample.indicators()
    chosen = [1] if sample.kind == "classification" and truth.shape[1] == 2 else None
    columns = range(truth.shape[1]) if chosen is None else chosen
    return [
        (scores[:, k], truth[:, k] > 0, sample.weights)
        for k in columns
        if 0 < np.count_nonzero(truth[:, k]) < len(truth)
    ]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _mean_rows(rows: list[FloatArray], groups: IntArray) -> FloatArray:
    if not rows:
        return np.full(int(groups.max()) + 1, np.nan)
    return np.asarray(np.mean(rows, axis=0))


def _ratio(right: FloatArray, total: FloatArray, whole: float) -> FloatArray:
    """Divide; where nothing but rounding is left of `whole`, give NaN."""
    left = total > 1e-9 * whole
    return np.where(left, right / np.where(left, total, 1.0), np.nan)


def _leverage(positive: BoolArray, weights: FloatArray, block: IntArray) -> FloatArray:
    """Return (n,) the share of all pairs that each example is in, squared."""
    here = np.bincount(block, np.where(positive, weights, 0.0))
    there = np.bincount(block, np.where(positive, 0.0, weights))
    pairs = weights * np.where(positive, there[block], here[block])
    total = max(float((here * there).sum()), TINY)
    return np.asarray((pairs / total) ** 2)


def _pairs(
    scores: FloatArray, positive: BoolArray, weights: FloatArray, block: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return for each positive the weight of its pairs in the right order, and of all its pairs.

    Pairs are within a block; negatives get zero.
    """
    below, total = _weight_below(scores, np.where(positive, 0.0, weights), block)
    own = np.where(positive, weights, 0.0)
    return own * below, own * total


def _seen_by_negatives(
    scores: FloatArray, positive: BoolArray, weights: FloatArray, block: IntArray
) -> tuple[FloatArray, FloatArray]:
    """The same pairs as `_pairs`, summed for each negative."""
    return _pairs(-scores, ~positive, weights, block)


def _weight_below(
    scores: FloatArray, weights: FloatArray, block: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return for each row the weight of lower scores in its block (ties half), and of all."""
    order = np.lexsort((scores, block))
    s, b = scores[order], block[order]
    new_block = _changes(b)
    new_tie = new_block | _changes(s)
    running = np.concatenate([[0.0], np.cumsum(weights[order])])
    tie, blk = np.cumsum(new_tie) - 1, np.cumsum(new_block) - 1
    tie_edges = np.append(np.flatnonzero(new_tie), len(s))
    block_edges = np.append(np.flatnonzero(new_block), len(s))
    start, end = running[tie_edges[:-1]], running[tie_edges[1:]]
    first, last = running[block_edges[:-1]], running[block_edges[1:]]
    below, total = np.empty(len(s)), np.empty(len(s))
    below[order] = (start + end)[tie] / 2 - first[blk]
    total[order] = (last - first)[blk]
    return below, total


def _changes(ordered: FloatArray | IntArray) -> BoolArray:
    """Return (n,) whether each is the first or differs from the one before."""
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return new


def _average_precision(
    scores: FloatArray, positive: BoolArray, weights: FloatArray
) -> tuple[float, FloatArray]:
    """Return the average precision and (n,) what each example adds to it, to first order."""
    order = np.argsort(-scores, kind="stable")
    s, w = scores[order], weights[order]
    hit = np.where(positive[order], w, 0.0)
    new_tie = _changes(s)
    tie = np.cumsum(new_tie) - 1
    ends = np.append(np.flatnonzero(new_tie)[1:], len(s)) - 1
    seen, right = np.cumsum(w)[ends][tie], np.cumsum(hit)[ends][tie]
    precision, mass = right / seen, hit.sum()
    value = float((hit * precision).sum() / mass)
    starts = np.flatnonzero(new_tie)
    gained = _from_here_on(hit * (1 - precision) / seen)[starts][tie]
    spoiled = _from_here_on(hit * precision / seen)[starts][tie]
    moves = np.empty(len(s))
    moves[order] = np.where(hit > 0, precision - value + gained, -spoiled) * w / mass
    return value, moves


def _from_here_on(x: FloatArray) -> FloatArray:
    return np.asarray(np.cumsum(x[::-1])[::-1])


def _rank_correlation(
    x: FloatArray, y: FloatArray, weights: FloatArray
) -> tuple[float, FloatArray]:
    """Return Spearman's correlation and (n,) what each example adds to it, to first order."""
    w = weights / weights.sum()
    block = np.zeros(len(x), np.int64)
    u, v = (_weight_below(z, w, block)[0] - 0.5 for z in (x, y))
    variances = (w * u * u).sum(), (w * v * v).sum()
    if min(variances) < 1e-12:
        return float("nan"), np.zeros(len(x))
    scale = float(np.sqrt(variances[0] * variances[1]))
    value = float((w * u * v).sum() / scale)
    cross = u * v + _shift(x, w * v) + _shift(y, w * u)
    own = [z * z + 2 * _shift(s, w * z) for s, z in ((x, u), (y, v))]
    spread = own[0] / variances[0] + own[1] / variances[1]
    moves = w * (cross / scale - value * spread / 2)
    return value, moves - w * moves.sum()


def _shift(scores: FloatArray, mass: FloatArray) -> FloatArray:
    """Return how the ranks of all rows move when each row gains weight: Σ_j mass_j · [s_i < s_j],
    ties half, less its mean."""
    block = np.zeros(len(scores), np.int64)
    below, total = _weight_below(scores, mass, block)
    return np.asarray(total - below)
