"""`BlockScale`: features of several layers put on one footing before a head sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retarget.core.types import FloatArray

# A feature that hardly varies in the fitting rows must not be blown up in new ones.
FLOOR = 0.05


@dataclass(frozen=True)
class BlockScale:
    """Centre (D,) and factor (D,) of every feature: `(x − centre) · factor`."""

    centre: FloatArray
    factor: FloatArray

    @classmethod
    def fit(cls, x: FloatArray, widths: Sequence[int]) -> "BlockScale":
        """Learn from fitting rows (n, D), whose columns are blocks of `widths`, one a layer.

        Features are centred and divided by their standard deviation (floored at a share of the
        block's root mean square deviation), and each block is weighed so that a row's mean
        squared norm is one in all, each block having an equal part of it.
        """
        centre = x.mean(axis=0, dtype=np.float64)
        spread = x.std(axis=0, dtype=np.float64)
        factor = np.empty_like(spread)
        start = 0
        for width in widths:
            block = slice(start, start + width)
            typical = float(np.sqrt(np.mean(spread[block] ** 2))) or 1.0
            scaled = 1.0 / np.maximum(spread[block], FLOOR * typical)
            norm = float(np.sum((spread[block] * scaled) ** 2)) or 1.0
            factor[block] = scaled / np.sqrt(norm * len(widths))
            start += width
        return cls(centre.astype(np.float32), factor.astype(np.float32))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return scaled features (n, D) float32."""
        return (x - self.centre) * self.factor
