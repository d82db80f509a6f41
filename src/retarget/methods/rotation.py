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
        coordinates: (n, r) float32 of the rows, widest direction first; r ≤ min(n, D).
        variances: (r,) float64 mean squares of the columns of `coordinates`.
    """

    coordinates: FloatArray
    variances: FloatArray
    _basis: FloatArray
    _rows: FloatArray | None

    def into(self, weight: FloatArray) -> FloatArray:
        """Return weights (K, r) over coordinates from weights (K, D) over features.

        What of them lies outside the span of the rows is lost.
        """
        if self._rows is None:
            return np.asarray(weight @ self._basis)
        return np.asarray(weight.astype(np.float32) @ self._rows.T @ self._basis)

    def back(self, weight: FloatArray) -> FloatArray:
        """Return weights (K, D) over features from weights (K, r) over coordinates."""
        if self._rows is None:
            return np.asarray(weight @ self._basis.T)
        return np.asarray((weight @ self._basis.T).astype(np.float32) @ self._rows)


def rotate(rows: FloatArray) -> Rotation:
    """Return the rotation of rows (n, D) float32, by the smaller of their Gram and scatter
    matrices. Near their mean rows are best conditioned: centre them before."""
    n, width = rows.shape
    if n <= width:
        squares, vectors = _spectrum(gram(rows))
        lengths = np.sqrt(squares)
        coordinates = (vectors * lengths).astype(np.float32)
        return Rotation(coordinates, squares / n, vectors / lengths, rows)
    squares, vectors = _spectrum(gram(rows.T))
    coordinates = rows @ vectors.astype(np.float32)
    return Rotation(coordinates, squares / n, vectors, None)


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
