"""`Sample`: judged examples with their targets and predictions, as metrics take them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, Kind
from retarget.evaluation.decoding import decode, standard
from retarget.evaluation.entities import Matches, count_sequences


@dataclass(frozen=True)
class Sample:
    """n judged examples.

    Attributes:
        kind: what the targets are.
        targets: (n,) class or tag numbers; (n, K) 0/1 for multilabel; (n,) values.
        predictions: (n, K) probabilities, or (n,) values.
        weights: (n,) above zero.
        folds: (n,) whose model predicted each example; None where one model predicted all.
        sequences: (n,) ascending, which sequence each example is of; tagging needs it. None where
            examples stand alone.
    """

    kind: Kind
    targets: FloatArray | IntArray
    predictions: FloatArray
    weights: FloatArray
    folds: IntArray | None = None
    sequences: IntArray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def independent(self) -> int:
        """How many examples there are that don't hang together: sequences, where there are any."""
        return len(self) if self.sequences is None else count_sequences(self.sequences)

    @cached_property
    def called(self) -> IntArray:
        """(n,) the class decided for: the most probable one; of tags the most probable sequence
        that is one. Raises `ValueError` for tags without sequences."""
        if self.kind != "tagging":
            return np.asarray(self.predictions.argmax(axis=1), np.int64)
        if self.sequences is None:
            raise ValueError("tags are decided for a sequence at a time, and none are given")
        with np.errstate(divide="ignore"):
            logs = np.log(self.predictions)
        return decode(logs, self.sequences, standard(self.predictions.shape[1]))

    @cached_property
    def matches(self) -> Matches:
        """True and predicted entities. Raises `ValueError` for tags without sequences."""
        called = self.called
        assert self.sequences is not None, "tags have sequences"
        return Matches.of(self.targets.astype(np.int64), called, self.sequences)

    def indicators(self) -> FloatArray:
        """Return the targets as (n, K) of 0 and 1."""
        if self.kind == "multilabel":
            return self.targets.astype(np.float64)
        return np.asarray(self.targets[:, None] == np.arange(self.predictions.shape[1]), np.float64)

    def decisions(self) -> FloatArray:
        """Return what the predictions decide for as (n, K) of 0 and 1: the class or tag of
        `called`, or each label of probability at least one half."""
        if self.kind == "multilabel":
            return np.asarray(self.predictions >= 0.5, np.float64)
        return np.asarray(self.called[:, None] == np.arange(self.predictions.shape[1]), np.float64)

    def blocks(self) -> IntArray:
        """Return (n,) the number of each example's fold; zeros where there are none."""
        if self.folds is None:
            return np.zeros(len(self), np.int64)
        return np.unique(self.folds, return_inverse=True)[1].astype(np.int64)


def sample_of(
    kind: Kind,
    targets: FloatArray | IntArray,
    predictions: FloatArray,
    weights: FloatArray | None = None,
    folds: IntArray | None = None,
    sequences: IntArray | None = None,
) -> Sample:
    """Return the sample in float64, with weights of one where none are given.

    Raises `ValueError` for arrays that don't fit together.
    """
    y: FloatArray | IntArray = (
        np.asarray(targets, np.int64) if kind in CLASSES else np.asarray(targets, float)
    )
    p = np.asarray(predictions, np.float64)
    if kind == "regression" and p.ndim == 2 and p.shape[1] == 1:
        p = p[:, 0]
    n = len(y)
    fits = {
        "classification": y.ndim == 1 and p.ndim == 2,
        "tagging": y.ndim == 1 and p.ndim == 2,
        "multilabel": y.ndim == 2 and p.shape == y.shape,
        "regression": y.ndim == 1 and p.ndim == 1,
    }[kind]
    w = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    others = [len(one) for one in (p, w, folds, sequences) if one is not None]
    if not fits or any(size != n for size in others):
        raise ValueError(f"{kind} targets {y.shape} and predictions {p.shape} don't fit together")
    given = [None if one is None else np.asarray(one, np.int64) for one in (folds, sequences)]
    return Sample(kind, y, p, w, *given)
