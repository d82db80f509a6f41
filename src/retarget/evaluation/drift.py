"""Drift: how far training moved a model from its source, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from retarget.core.types import FloatArray

FEWEST = 4
_BLOCK = 1 << 22  # numbers of a kernel matrix in memory at a time
_ROUNDING = 1e-12

Wide = npt.NDArray[np.float64]
Weights = npt.NDArray[Any]


class Layers(Protocol):
    """Features by layer, such as a `features.table.Table`."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, shallow to deep."""

    def layer(self, name: str) -> FloatArray:
        """Return (n, d) of one layer."""


def cka(x: FloatArray, y: FloatArray) -> float:
    """Return the linear centred kernel alignment of two representations of the same examples.

    HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)) for K = x xᵀ and L = y yᵀ (Kornblith, Norouzi, Lee &
    Hinton, "Similarity of Neural Network Representations Revisited", 2019), with the unbiased
    estimator of HSIC (Song, Smola, Gretton, Bedo & Borgwardt, "Feature Selection via Dependence
    Maximization", 2012), as Nguyen, Raghu & Kornblith (2021) use it: the usual one is near 1 for
    anything of more features than examples.

    Args:
        x: (n, d) with n of at least 4.
        y: (n, e), the same examples in the same order.

    Returns:
        1 where one is a rotated, scaled or shifted copy of the other; about 0, on either side,
        where they have nothing to do with each other. NaN where one is the same for all
        examples, or for all but one.

    Raises:
        ValueError: fewer than 4 examples, another number of them, or numbers that are not finite.
    """
    a, b = _centred(x), _centred(y)
    if len(a) != len(b):
        raise ValueError(f"{len(a):,} and {len(b):,} examples can't be compared")
    own, other = _hsic(a, a), _hsic(b, b)
    if own <= _ROUNDING or other <= _ROUNDING:
        return float("nan")
    return float(np.clip(_hsic(a, b) / np.sqrt(own) / np.sqrt(other), -1.0, 1.0))


def layer_drift(before: Layers, after: Layers) -> dict[str, float]:
    """Return the alignment (`cka`) of each layer's features before and after training.

    Raises `ValueError` where the layers are not the same, or as `cka` says.
    """
    if set(before.layers) != set(after.layers):
        apart = ", ".join(sorted(set(before.layers) ^ set(after.layers)))
        raise ValueError(f"only one of the two has the layers {apart}")
    return {name: cka(before.layer(name), after.layer(name)) for name in before.layers}


def weight_distance(
    before: Mapping[str, Weights],
    after: Mapping[str, Weights],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, float]:
    """Return how far the weights of each layer moved: ‖w′ − w‖ / ‖w‖ over its parameters.

    Args:
        before: parameter name → array.
        after: the same parameters after training; others may be there and are not looked at.
        groups: layer → names of its parameters, as `Encoder.groups()` has them.

    Returns:
        Layer → distance, 0 where nothing moved and infinity where zeros did. Layers without
        parameters are left out.

    Raises:
        ValueError: a parameter is missing, or has another shape.
    """
    return {layer: _distance(names, before, after) for layer, names in groups.items() if len(names)}


def _distance(
    names: Sequence[str], before: Mapping[str, Weights], after: Mapping[str, Weights]
) -> float:
    moved = size = 0.0
    for name in names:
        if name not in before or name not in after:
            raise ValueError(f"the parameter {name} is missing {_where(name, before)} training")
        old, new = np.asarray(before[name]), np.asarray(after[name])
        if old.shape != new.shape:
            raise ValueError(f"the parameter {name} was {old.shape} and is {new.shape}")
        start = old.astype(np.float64).ravel()
        step = new.astype(np.float64).ravel() - start
        moved, size = moved + float(step @ step), size + float(start @ start)
    if moved == 0:
        return 0.0
    return float(np.sqrt(moved / size)) if size > 0 else float("inf")


def _where(name: str, before: Mapping[str, Weights]) -> str:
    return "after" if name in before else "before"


def _centred(x: FloatArray) -> Wide:
    """Return (n, d) about its mean and of mean squared row 1, which changes no alignment."""
    wide = np.asarray(x, np.float64)
    if wide.ndim != 2 or len(wide) < FEWEST:
        raise ValueError(f"at least {FEWEST} examples by features are needed, not {wide.shape}")
    if not np.isfinite(wide).all():
        raise ValueError("some features are NaN or infinite")
    largest = float(np.abs(wide).max(initial=0.0))
    if largest == 0:
        return wide
    wide = wide / largest
    wide -= wide.mean(axis=0)
    scale = float(np.sqrt(np.einsum("ij,ij->", wide, wide) / len(wide)))
    return wide / scale if scale > _ROUNDING else np.zeros_like(wide)


def _hsic(x: Wide, y: Wide) -> float:
    """Return the unbiased HSIC of x xᵀ and y yᵀ, whose diagonals don't count; x and y are centred.

    [tr K L + 1ᵀK1 · 1ᵀL1 / ((n − 1)(n − 2)) − 2 · 1ᵀK L1 / (n − 2)] / (n (n − 3)). Rows of
    centred kernels sum to zero, so without their diagonals k and l they sum to −k and −l.
    """
    n = len(x)
    own, other = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)  # the diagonals
    both = float(own @ other)
    ones = float(own.sum()) * float(other.sum()) / ((n - 1) * (n - 2))
    return (_trace(x, y) - both + ones - 2 * both / (n - 2)) / (n * (n - 3))


def _trace(x: Wide, y: Wide) -> float:
    """Return tr(x xᵀ y yᵀ) by the cheaper of two ways, both in bounded memory."""
    n, wide = len(x), x.shape[1] * y.shape[1]
    if wide <= n * (x.shape[1] + y.shape[1]):
        step = max(1, _BLOCK // max(x.shape[1], 1))
        parts = (x.T @ y[:, start : start + step] for start in range(0, y.shape[1], step))
        return float(sum(np.einsum("ij,ij->", part, part) for part in parts))
    step = max(1, _BLOCK // n)
    return float(
        sum(
            np.einsum("ij,ij->", x[start : start + step] @ x.T, y[start : start + step] @ y.T)
            for start in range(0, n, step)
        )
    )
