"""The heads: what methods on frozen features leave, as arrays and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retarget.core.types import FloatArray, Kind
from retarget.methods.base import Head, register_head
from retarget.methods.neighbours import unit_rows, vote

ROWS_AT_ONCE = 2048
# In this order: saved heads name kinds by number.
KINDS: tuple[Kind, ...] = ("classification", "multilabel", "regression", "tagging")


@register_head
@dataclass(frozen=True, eq=False)
class LinearHead(Head):
    """Outputs `x @ weight.T + bias`.

    Attributes:
        weight: (K, D) float32 or float64.
        bias: (K,) float32 or float64.
    """

    weight: FloatArray
    bias: FloatArray
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        check_array("weight", self.weight, (None, None))
        check_array("bias", self.bias, (len(self.weight),))

    def outputs(self, x: FloatArray) -> FloatArray:
        """Map features (n, D) to outputs (n, K) float64. Raises `ValueError` on another D."""
        _check_width(x, self.weight.shape[1])
        weight = self.weight.astype(x.dtype, copy=False)
        return np.asarray((x @ weight.T).astype(np.float64) + self.bias)

    def arrays(self) -> dict[str, FloatArray]:
        """Return `weight` and `bias`."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> "LinearHead":
        """Return the head that `arrays()` described."""
        check_names(arrays, {"weight", "bias"})
        return cls(arrays["weight"], arrays["bias"])


@register_head
@dataclass(frozen=True, eq=False)
class KnnHead(Head):
    """Outputs the vote of the nearest labelled examples by cosine similarity.

    Attributes:
        bank: (n, D) float32, rows of length one (or zero).
        votes: (n, K): one-hot classes, 0/1 labels, or values.
        weights: (n,) above zero: a row of weight 2 is two neighbours.
        neighbours: how many neighbours vote, above zero.
        of: what the votes are.
    """

    bank: FloatArray
    votes: FloatArray
    weights: FloatArray
    neighbours: float
    of: Kind
    kind: ClassVar[str] = "knn"

    def __post_init__(self) -> None:
        check_array("bank", self.bank, (None, None))
        check_array("votes", self.votes, (len(self.bank), None))
        check_array("weights", self.weights, (len(self.bank),))
        if self.bank.dtype != np.float32:
            raise ValueError(f"bank is {self.bank.dtype}, not float32")
        if self.weights.min() <= 0 or not self.neighbours > 0:
            raise ValueError("weights and neighbours must be above zero")
        if self.of != "regression" and (self.votes.min() < 0 or self.votes.max() > 1):
            raise ValueError("votes must lie between 0 and 1")

    def outputs(self, x: FloatArray) -> FloatArray:
        """Map features (n, D) to outputs (n, K) float64. Raises `ValueError` on another D."""
        _check_width(x, self.bank.shape[1])
        found, bank = [np.empty((0, self.votes.shape[1]))], self.bank.astype(x.dtype, copy=False)
        for start in range(0, len(x), ROWS_AT_ONCE):
            similarity = unit_rows(x[start : start + ROWS_AT_ONCE]) @ bank.T
            found.append(vote(similarity, self.votes, self.weights, (self.neighbours,), self.of)[0])
        return np.concatenate(found)

    def arrays(self) -> dict[str, FloatArray]:
        """Return `bank`, `votes`, `weights`, and `neighbours` and `of` as arrays of one number."""
        return {
            "bank": self.bank,
            "votes": self.votes,
            "weights": self.weights,
            "neighbours": np.array([self.neighbours]),
            "of": np.array([float(KINDS.index(self.of))]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> "KnnHead":
        """Return the head that `arrays()` described."""
        check_names(arrays, {"bank", "votes", "weights", "neighbours", "of"})
        check_array("neighbours", arrays["neighbours"], (1,))
        check_array("of", arrays["of"], (1,))
        of = float(arrays["of"][0])
        if of not in range(len(KINDS)):
            raise ValueError(f"of is {of:g}, not one of {', '.join(map(str, range(len(KINDS))))}")
        return cls(
            arrays["bank"],
            arrays["votes"],
            arrays["weights"],
            float(arrays["neighbours"][0]),
            KINDS[int(of)],
        )


def check_names(arrays: Mapping[str, FloatArray], names: set[str]) -> None:
    """Raise `KeyError` for arrays that are missing, `ValueError` for unknown ones."""
    if missing := names - set(arrays):
        raise KeyError(", ".join(sorted(missing)))
    if unknown := set(arrays) - names:
        raise ValueError(f"unknown arrays: {', '.join(sorted(unknown))}")


def check_array(name: str, array: FloatArray, shape: tuple[int | None, ...]) -> None:
    """Raise `ValueError` for what is no finite array of a shape; `None` stands for any size."""
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is not an array of float32 or float64")
    fits = array.ndim == len(shape) and all(
        have > 0 and want in (None, have) for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} has the shape {array.shape}, which doesn't fit")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")


def _check_width(x: FloatArray, width: int) -> None:
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"features have the shape {x.shape}; the head takes (n, {width})")
