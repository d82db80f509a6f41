"""The contract of methods on frozen features, and their registry."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from retarget.core.errors import UsageError
from retarget.core.types import CLASSES, FloatArray, IntArray, Kind


@dataclass(frozen=True)
class Labels:
    """What a method sees of the targets of n labelled examples.

    Attributes:
        kind: what they are.
        values: (n,) int64 class indices; (n, K) float 0/1 for multilabel; (n,) float64.
        outputs: K: classes, labels, or 1 for regression. Classes may be absent from `values`.
        weights: (n,) above zero.
        sequences: (n,) which sequence each row is of, rows of one in order; `None` for rows that
            stand alone.
    """

    kind: Kind
    values: IntArray | FloatArray
    outputs: int
    weights: FloatArray
    sequences: IntArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: IntArray) -> "Labels":
        """Return the labels at `rows`."""
        sequences = None if self.sequences is None else self.sequences[rows]
        return Labels(self.kind, self.values[rows], self.outputs, self.weights[rows], sequences)

    def columns(self) -> FloatArray:
        """Return the values as (n, K) float64: one-hot classes, 0/1 labels, or numbers."""
        if self.kind in CLASSES:
            return np.eye(self.outputs)[self.values.astype(np.int64)]
        return np.asarray(self.values, dtype=np.float64).reshape(len(self), self.outputs)


class Head(ABC):
    """What a method fitted: maps normalised features to outputs.

    Outputs are logits for classification (softmax) and multilabel (sigmoid), values for
    regression. A head is only arrays, so that it is stored without code.
    """

    kind: ClassVar[str]

    @abstractmethod
    def outputs(self, x: FloatArray) -> FloatArray:
        """Map features (n, D) to outputs (n, K) float64."""

    def outputs_in(self, x: FloatArray, sequences: IntArray | None) -> FloatArray:
        """Map features of rows, of which those of one sequence are neighbours, to outputs."""
        return self.outputs(x)

    @abstractmethod
    def arrays(self) -> dict[str, FloatArray]:
        """Return all that the head is, by name."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> "Head":
        """Return the head that `arrays()` described. Raises `KeyError` or `ValueError` for
        arrays that are missing or don't fit together."""


@dataclass(frozen=True)
class CrossFit:
    """What fits on all folds but one gave, for each of S settings.

    Attributes:
        outputs: (S, n, K) float64, out of fold.
        heads: (S,) for each setting a head near the solution on all rows, for `Method.fit` to
            start from; `None` where there is none.
    """

    outputs: FloatArray
    heads: tuple[Head | None, ...]


class Method(ABC):
    """A way to fit heads on frozen features. Subclasses are frozen dataclasses.

    A method has a path of settings (strengths, neighbours, shrinkages), ordered from the simplest
    to the most flexible; the choice among them is made by the caller, on out-of-fold outputs.

    Attributes:
        follows: name of a cheaper method; where both are tried, this one is tried on those layers
            only on which that one did best.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    follows: ClassVar[str] = ""

    @abstractmethod
    def settings(self, labels: Labels) -> tuple[float, ...]:
        """Return the path for these labels."""

    @abstractmethod
    def cross_fit(self, x: FloatArray, labels: Labels, folds: IntArray) -> CrossFit:
        """Return out-of-fold outputs for every setting, and where a fit on all rows may start.

        `x` is (n, D) float32, normalised; `folds` (n,) counts from 0. The outputs of row i come
        from a fit on exactly the rows whose fold differs from row i's.
        """

    @abstractmethod
    def fit(self, x: FloatArray, labels: Labels, setting: float, start: Head | None = None) -> Head:
        """Return the head fitted on all rows with one setting.

        It follows from the arguments alone, to the bit. `start`, of the same features and
        outputs, saves time where a method searches, and the head is the same within the
        tolerance of the search; other methods ignore it.
        """


METHODS: dict[str, type[Method]] = {}
HEADS: dict[str, type[Head]] = {}


def register_method(cls: type[Method]) -> type[Method]:
    """Make a method known by its name, to the command line and to the shared tests."""
    METHODS[cls.name] = cls
    return cls


def register_head(cls: type[Head]) -> type[Head]:
    """Make a head known by its kind, so that saved models find it."""
    HEADS[cls.kind] = cls
    return cls


def method(name: str, **parameters: Any) -> Method:
    """Return the registered method `name`. Raises `UsageError` naming the ones that exist."""
    if name not in METHODS:
        known = ", ".join(sorted(METHODS))
        raise UsageError(f"There is no method {name!r}. Choose from: {known}.")
    return METHODS[name](**parameters)


def log_softmax(z: FloatArray) -> FloatArray:
    """Return log-probabilities over the last axis, without overflow."""
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))
