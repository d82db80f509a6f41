"""A rotation of the features after which linear problems are small and well conditioned."""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import FloatArray

NUMBERS_AT_ONCE = 1 << 22
DOUBLE_UP_TO = 512
NOISE = 10.0


@dataclass(frozen=True)
class Rotation:
    """Rows of features in the basis of their principal directions.

    A linear model with an L2 penalty on its weights and a free bias has the same solution in
    any orthonormal basis of the span of the rows.

    Attributes:
        coordinates: (n, r) float32 of the rows less `centre`, widest direction first;
            r ≤ min(n, D).
        variances: (r,) float64 mean squares of the columns of `coordinates`.
        centre: (D,) float64, what was taken off the rows.
    """

    coordinates: FloatArray
    variances: FloatArray
    centre: FloatArray
    _basis: FloatArray
    _centred: FloatArray | None

    def back(self, weight: FloatArray) -> FloatArray:
        """Return weights (K, D) over features from weights (K, r) over coordinates."""
        if self._centred is None:
            return np.asarray(weight @ self._basis.T)
        return np.asarray((weight @ self._basis.T).astype(np.float32) @ self._centred)


def rotate(x: FloatArray, centre: FloatArray) -> Rotation:
    """Return the rotation of rows (n, D), by the smaller of their Gram and scatter matrices.

    The rows are taken relative to `centre` (D,), float64: near their mean they are best
    conditioned.
    """
    centred = np.asarray(x - centre.astype(np.float32), dtype=np.float32)
    n, width = x.shape
    if n <= width:
        squares, vectors = _spectrum(gram(centred))
        lengths = np.sqrt(squares)
        coordinates = (vectors * lengths).astype(np.float32)
        return Rotation(coordinates, squares / n, centre, vectors / lengths, centred)
    squares, vectors = _spectrum(gram(centred.T))
    coordinates = centred @ vectors.astype(np.float32)
    return Rotation(coordinates, squares / n, centre, vectors, None)


def gram(x: FloatArray) -> FloatArray:
    """Return `x @ x.T`; in float64 for up to 512 rows, where that costs nothing."""
    if len(x) > DOUBLE_UP_TO:
        return np.asarray(x @ x.T)
    step = max(1, NUMBERS_AT_ONCE // max(len(x), 1))
    total = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], step):
        part = x[:, start : start + step].astype(np.float64)
        total += part @ part.T
    return total


def _spectrum(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues above the noise, largest first, and their vectors as columns."""
    values, vectors = np.linalg.eigh(matrix)
    noise = NOISE * float(np.finfo(matrix.dtype).eps)
    kept = values > max(noise * float(values[-1]), float(np.finfo(np.float32).tiny))
    return values[kept][::-1].astype(np.float64), vectors[:, kept][:, ::-1]
