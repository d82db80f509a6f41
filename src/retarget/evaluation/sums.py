"""`Sums`: metrics that are functions of weighted sums over examples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.sample import Sample

NOTHING = 1e-12


@dataclass(frozen=True)
class Sums:
    """A function of weighted sums over examples.

    Attributes:
        parts: sample → (n, p), what each example contributes.
        finish: (weight (…), sums (…, p)) → values (…), NaN where not defined.
        by_class: every class counts the same, however many examples it has.
        moves: sample → (n,) how far each example moves the value, where that is not its share of
            all weight.
    """

    parts: Callable[[Sample], FloatArray]
    finish: Callable[[FloatArray, FloatArray], FloatArray]
    by_class: bool = False
    within_folds: bool = False
    moves: Callable[[Sample], FloatArray] | None = None

    def value(self, sample: Sample) -> float:
        """Return the value, NaN where it is not defined."""
        sums = sample.weights @ self.parts(sample)
        return float(self._finished(sample.weights.sum(keepdims=True), sums[None])[0])

    def without(self, sample: Sample, groups: IntArray) -> FloatArray:
        """Return (G,) the value with each group left out."""
        mass = np.bincount(groups, sample.weights)
        parts = self.parts(sample) * sample.weights[:, None]
        order = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[order], np.arange(len(mass)))
        sums = np.add.reduceat(parts[order], starts, axis=0)
        left = sums.sum(axis=0) - sums
        left[np.abs(left) < NOTHING * np.abs(sums).sum(axis=0)] = 0.0
        return self._finished(mass.sum() - mass, left)

    def leverage(self, sample: Sample) -> FloatArray:
        """Return (n,) how far each example moves the value, squared: 1/n² for a mean."""
        weights = sample.weights
        if self.moves is not None:
            return np.asarray(self.moves(sample) ** 2)
        if not self.by_class or sample.kind != "classification":
            return np.asarray((weights / weights.sum()) ** 2)
        sizes = np.bincount(sample.targets, weights)
        return np.asarray((weights / sizes[sample.targets] / np.count_nonzero(sizes)) ** 2)

    def _finished(self, mass: FloatArray, sums: FloatArray) -> FloatArray:
        some = mass > NOTHING * max(float(mass.max()), NOTHING)
        values = self.finish(np.where(some, mass, 1.0), sums)
        return np.where(some, values, np.nan)


def mean_where(above: FloatArray, below: FloatArray) -> FloatArray:
    """Return the mean of the fractions that are defined over the last axis."""
    defined = below > 0
    parts = np.where(defined, above / np.where(defined, below, 1.0), 0.0)
    count = defined.sum(axis=-1)
    return np.where(count > 0, parts.sum(axis=-1) / np.maximum(count, 1), np.nan)
