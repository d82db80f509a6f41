"""`Knn`: the vote of the nearest labelled examples."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retarget.core.types import FloatArray, IntArray, Kind
from retarget.methods.base import CrossFit, Head, Labels, Method, register_method
from retarget.methods.heads import ROWS_AT_ONCE, KnnHead
from retarget.methods.neighbours import unit_rows, vote


@register_method
@dataclass(frozen=True)
class Knn(Method):
    """Nearest neighbours by cosine similarity, nearer ones with more weight.

    Attributes:
        neighbours: numbers of neighbours to choose from; the path goes from most to fewest.
    """

    neighbours: tuple[int, ...] = (1, 3, 5, 10, 20, 50)
    name: ClassVar[str] = "knn"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classification", "multilabel", "regression"})

    def settings(self, labels: Labels) -> tuple[float, ...]:
        """Return the numbers of neighbours that these labels can give, most first."""
        possible = {k for k in self.neighbours if k < len(labels)} or {min(self.neighbours)}
        return tuple(float(k) for k in sorted(possible, reverse=True))

    def cross_fit(self, x: FloatArray, labels: Labels, folds: IntArray) -> CrossFit:
        """Return out-of-fold outputs, from one matrix of similarities."""
        rows, votes, settings = unit_rows(x), labels.columns(), self.settings(labels)
        found = np.empty((len(settings), len(x), votes.shape[1]))
        for start in range(0, len(x), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            similarity = rows[block] @ rows.T
            similarity[folds[block, None] == folds[None, :]] = -np.inf
            found[:, block] = vote(similarity, votes, labels.weights, settings, labels.kind)
        return CrossFit(found, (None,) * len(settings))

    def fit(
        self, x: FloatArray, labels: Labels, setting: float, start: Head | None = None
    ) -> KnnHead:
        """Return the labelled examples as a head; nothing is searched, so `start` is ignored."""
        weights = np.asarray(labels.weights, dtype=np.float64)
        bank = unit_rows(x).astype(np.float32)
        return KnnHead(bank, labels.columns(), weights, float(setting), labels.kind)
