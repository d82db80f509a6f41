"""`Prototype`: the nearest class mean, from one label a class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, Kind
from retarget.methods.base import CrossFit, Head, Labels, Method, register_method
from retarget.methods.heads import LinearHead


@register_method
@dataclass(frozen=True)
class Prototype(Method):
    """Nearest class mean after centring, with class means drawn towards the overall mean.

    A class of n_k labels and mean m_k becomes the prototype u_k = n_k / (n_k + s) (m_k - m), where
    m is the overall mean and s, the shrinkage, counts as that many examples at m (James and Stein,
    1961, Estimation with Quadratic Loss, in its Bayesian form). With one variance v for all
    directions, Gaussian classes give the linear logits
    u_k·(x - m) / v - |u_k|² / 2v + log prior_k. v is measured along the prototypes, where it
    matters: the within-class variance of the scores u_k·x over the mean of |u_k|². A class
    without labels gets u_k = 0, the prior of half an example and, so that it does not win where
    all others are unlikely, the average |u|². With several
    labels an example each is its own two classes, with and without.

    Attributes:
        shrinkages: strengths of the pull to the overall mean, in examples, at least 0.
    """

    shrinkages: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.0)
    name: ClassVar[str] = "prototype"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classification", "multilabel", "tagging"})

    def settings(self, labels: Labels) -> tuple[float, ...]:
        """Return the shrinkages, strongest first."""
        return tuple(sorted({float(s) for s in self.shrinkages}, reverse=True))

    def cross_fit(self, x: FloatArray, labels: Labels, folds: IntArray) -> CrossFit:
        """Return out-of-fold outputs; the sums of each fold are taken once."""
        settings = self.settings(labels)
        members = _members(labels)
        x = x - _mean(x)
        parts = {
            fold: _Sums.of(x[folds == fold], members[folds == fold]) for fold in np.unique(folds)
        }
        found = np.empty((len(settings), len(x), labels.outputs))
        for fold in parts:
            out, kept = folds == fold, folds != fold
            sums = _Sums.join([part for other, part in parts.items() if other != fold])
            variance = _variance(x[kept], members[kept], sums)
            for s, setting in enumerate(settings):
                weight, bias = _linear(sums, variance, setting, labels.kind)
                found[s, out] = x[out] @ weight.T.astype(x.dtype) + bias
        return CrossFit(found, (None,) * len(settings))

    def fit(
        self, x: FloatArray, labels: Labels, setting: float, start: Head | None = None
    ) -> LinearHead:
        """Return the head fitted on all rows with one shrinkage; `start` is ignored."""
        members, centre = _members(labels), _mean(x)
        x = x - centre
        sums = _Sums.of(x, members)
        weight, bias = _linear(sums, _variance(x, members, sums), setting, labels.kind)
        return LinearHead(weight.astype(np.float32), bias - weight @ centre)


@dataclass(frozen=True)
class _Sums:
    """Weights (G, P) and weighted sums of rows (G, P, D) of the P classes of G problems."""

    counts: FloatArray
    sums: FloatArray

    @classmethod
    def of(cls, x: FloatArray, members: FloatArray) -> "_Sums":
        flat = members.reshape(len(x), -1)
        sums = (flat.T.astype(x.dtype) @ x).astype(np.float64)
        return cls(members.sum(axis=0), sums.reshape(*members.shape[1:], x.shape[1]))

    @classmethod
    def join(cls, parts: list["_Sums"]) -> "_Sums":
        counts = np.sum([part.counts for part in parts], axis=0)
        return cls(counts, np.sum([part.sums for part in parts], axis=0))

    def centre(self) -> FloatArray:
        """Return the overall mean (D,)."""
        return np.asarray(self.sums[0].sum(axis=0) / self.counts[0].sum())

    def directions(self) -> FloatArray:
        """Return class means less the overall mean (G, P, D), zero for classes without rows."""
        there = self.counts[..., None] > 0
        means = self.sums / np.where(there, self.counts[..., None], 1)
        return np.where(there, means - self.centre(), 0)


def _members(labels: Labels) -> FloatArray:
    """Return the weight of each row in each class of each problem, (n, G, P) float64.

    Classification is one problem of K classes; several labels are K problems of two classes,
    without and with the label.
    """
    weights = np.asarray(labels.weights, dtype=np.float64)[:, None, None]
    held = labels.columns()
    single = labels.kind in CLASSES
    return np.asarray(
        weights * (held[:, None, :] if single else np.stack([1 - held, held], axis=2))
    )


def _mean(x: FloatArray) -> FloatArray:
    return np.asarray(x.mean(axis=0, dtype=np.float64), dtype=x.dtype)


def _variance(x: FloatArray, members: FloatArray, sums: _Sums) -> FloatArray:
    """Return the variance within classes along the prototypes, (G,).

    The total variance along them counts as one more observation, so that there is a variance
    when every class has a single example.
    """
    u = sums.directions()
    groups, classes, width = u.shape
    scores = (x - sums.centre().astype(x.dtype)) @ u.reshape(-1, width).T.astype(x.dtype)
    squares = scores.astype(np.float64).reshape(len(x), groups, classes) ** 2
    total = np.einsum("ngp,ngq->g", members, squares, optimize=True)
    between = np.einsum("gp,gpq->g", sums.counts, np.einsum("gpd,gqd->gpq", u, u) ** 2)
    weight = sums.counts.sum(axis=1)
    freedom = np.maximum(weight - (sums.counts > 0).sum(axis=1), 0)
    length = np.einsum("gpd,gpd->g", u, u)
    pooled = (np.maximum(total - between, 0) + total / weight) / (freedom + 1)
    return np.asarray(pooled / np.where(length > 0, length, 1))


def _linear(
    sums: _Sums, variance: FloatArray, shrinkage: float, kind: Kind
) -> tuple[FloatArray, FloatArray]:
    """Return weight (K, D) and bias (K,) of one shrinkage."""
    counts = sums.counts
    share = counts / np.where(counts > 0, counts + shrinkage, 1)
    u = share[..., None] * sums.directions()
    scale = 1 / np.where(variance > 0, variance, np.inf)[:, None]
    prior = np.log((counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 0.5 * counts.shape[1]))
    there = counts > 0
    lengths = np.einsum("gpd,gpd->gp", u, u)
    typical = lengths.sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
    bias = prior - scale * (np.where(there, lengths, typical) / 2 + u @ sums.centre())
    weight = scale[..., None] * u
    if kind in CLASSES:
        return weight[0], bias[0]
    return weight[:, 1] - weight[:, 0], bias[:, 1] - bias[:, 0]
