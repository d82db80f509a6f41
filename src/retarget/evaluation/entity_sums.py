"""What entity metrics are sums of: entities, each counted at the word where it begins.

So leaving out a sequence is leaving out its words, and nothing is decoded again.
"""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray
from retarget.evaluation.sample import Sample
from retarget.evaluation.sums import Sums, mean_where


def _f1(mass: FloatArray, sums: FloatArray) -> FloatArray:
    """F1 of (…, 3): right, predicted and true."""
    right, predicted, true = np.moveaxis(sums, -1, 0)
    return _over(2 * right, predicted + true)


def _precision(mass: FloatArray, sums: FloatArray) -> FloatArray:
    return _over(sums[..., 0], sums[..., 1])


def _recall(mass: FloatArray, sums: FloatArray) -> FloatArray:
    return _over(sums[..., 0], sums[..., 2])


def _macro(mass: FloatArray, sums: FloatArray) -> FloatArray:
    """Mean F1 of the types that are true or predicted, of (…, 3T)."""
    right, predicted, true = np.split(sums, 3, axis=-1)
    return mean_where(2 * right, predicted + true)


def _overlap_f1(mass: FloatArray, sums: FloatArray) -> FloatArray:
    """F1 of (…, 4), where a true entity may be touched by two that were predicted: the harmonic
    mean of the share of predicted ones that touch and of true ones that are touched."""
    touching, predicted, found, true = np.moveaxis(sums, -1, 0)
    below = touching * true + found * predicted
    some = below > 0
    value = np.where(some, 2 * touching * found / np.where(some, below, 1.0), 0.0)
    return np.where(predicted + true > 0, value, np.nan)


def _over(above: FloatArray, below: FloatArray) -> FloatArray:
    some = below > 0
    return np.where(some, above / np.where(some, below, 1.0), np.nan)


def _counts(sample: Sample) -> FloatArray:
    """Return (n, 3, T) right, predicted and true entities that begin at each word."""
    return sample.matches.strict(sample.predictions.shape[1] // 2)


def _together(sample: Sample) -> FloatArray:
    return np.asarray(_counts(sample).sum(axis=2))


def _by_type(sample: Sample) -> FloatArray:
    return _counts(sample).reshape(len(sample), -1)


def _spans(sample: Sample) -> FloatArray:
    return sample.matches.boundaries()[..., 0]


def _overlaps(sample: Sample) -> FloatArray:
    return sample.matches.overlaps()


def _shares(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (n,) counts as shares of all that is counted, by weight; zeros where nothing is."""
    weighed = counts * weights
    return np.asarray(weighed / max(float(weighed.sum()), 1e-300))


def _moves_f1(sample: Sample) -> FloatArray:
    counts = _together(sample)
    return _shares(counts[:, 1] + counts[:, 2], sample.weights)


def _moves_precision(sample: Sample) -> FloatArray:
    return _shares(_together(sample)[:, 1], sample.weights)


def _moves_recall(sample: Sample) -> FloatArray:
    return _shares(_together(sample)[:, 2], sample.weights)


def _moves_macro(sample: Sample) -> FloatArray:
    """Return (n,) shares of each type's entities, every type counted the same."""
    counts = _counts(sample)
    each = (counts[:, 1] + counts[:, 2]) * sample.weights[:, None]
    sizes = each.sum(axis=0)
    types = max(int(np.count_nonzero(sizes)), 1)
    shares = each / np.where(sizes > 0, sizes, 1.0) / types
    return np.asarray(np.sqrt((shares**2).sum(axis=1)))


ENTITY_F1 = Sums(_together, _f1, moves=_moves_f1)
ENTITY_PRECISION = Sums(_together, _precision, moves=_moves_precision)
ENTITY_RECALL = Sums(_together, _recall, moves=_moves_recall)
ENTITY_MACRO_F1 = Sums(_by_type, _macro, moves=_moves_macro)
BOUNDARIES = Sums(_spans, _f1, moves=_moves_f1)
OVERLAPS = Sums(_overlaps, _overlap_f1, moves=_moves_f1)


@dataclass(frozen=True)
class _OfType:
    """Counts (n, 3) of the entities of one type."""

    type: int

    def parts(self, sample: Sample) -> FloatArray:
        return np.asarray(_counts(sample)[..., self.type])

    def moves(self, column: slice, sample: Sample) -> FloatArray:
        return _shares(self.parts(sample)[:, column].sum(axis=1), sample.weights)


def of_type(number: int) -> dict[str, Sums]:
    """Return precision, recall and F1 of the entities of one type, by name."""
    one = _OfType(number)
    return {
        "precision": Sums(one.parts, _precision, moves=lambda s: one.moves(slice(1, 2), s)),
        "recall": Sums(one.parts, _recall, moves=lambda s: one.moves(slice(2, 3), s)),
        "f1": Sums(one.parts, _f1, moves=lambda s: one.moves(slice(1, 3), s)),
    }


def recall_of(chosen: BoolArray) -> Sums:
    """Return the recall of some of the true entities: (m,) which, in their order."""

    def parts(sample: Sample) -> FloatArray:
        matches = sample.matches
        counts = np.zeros((len(sample), 3))
        starts = matches.true.starts[chosen]
        counts[starts, 0] = matches.hit[chosen]
        counts[starts, 2] = 1.0
        return counts

    return Sums(parts, _recall, moves=lambda s: _shares(parts(s)[:, 2], s.weights))
