"""Ridge regression in closed form over a whole path of strengths."""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import FloatArray
from retarget.methods.rotation import Rotation, rotate


@dataclass(frozen=True)
class Ridge:
    """Ridge regressions on the same weighted rows (Hoerl and Kennard, 1970, Ridge Regression).

    Each minimises sum_i w_i (y_i - f_i)² / 2 sum_i w_i + strength / 2 |weight|², the bias free.
    Rows are centred at their weighted mean and scaled by sqrt(w_i n / sum w); in the principal
    directions of these the weights are c_j / (variance_j + strength), one division a strength.
    """

    rotation: Rotation
    covariances: FloatArray
    centre: FloatArray
    mean: float

    @classmethod
    def of(cls, x: FloatArray, values: FloatArray, weights: FloatArray) -> "Ridge":
        """Prepare the path for rows (n, D), values (n,) and weights (n,)."""
        weights = np.asarray(weights, dtype=np.float64) / np.mean(weights)
        centre = np.average(x, axis=0, weights=weights)
        mean = float(np.average(values, weights=weights))
        root = np.sqrt(weights)
        rows = np.asarray((x - centre) * root[:, None], dtype=np.float32)
        rotation = rotate(rows)
        covariances = rotation.coordinates.T @ (root * (values - mean)) / len(x)
        return cls(rotation, covariances, centre, mean)

    def solve(self, strength: float) -> tuple[FloatArray, float]:
        """Return weight (D,) and bias of one strength, above zero."""
        inner = self.covariances / (self.rotation.variances + strength)
        weight = self.rotation.back(inner[None])[0]
        return weight, self.mean - float(self.centre @ weight)
