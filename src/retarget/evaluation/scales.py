"""The scales on which metrics are near normal, and their intervals there.

All take the value, the values with each group left out, and the design; all moderate the
jackknife's variance with the one to expect, and use Student's t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import atanh, pow, sqrt, tanh
from typing import Protocol

import numpy as np

from retarget.core.types import FloatArray
from retarget.evaluation.jackknife import PRIOR_DEGREES, Design
from retarget.evaluation.quantiles import t_quantile

BISECTIONS = 40
TINY = 1e-12
UNSETTLED = 1.75


class Scale(Protocol):
    """Where a metric's intervals are made."""

    @property
    def how(self) -> str:
        """What the interval is called."""

    def interval(
        self, value: float, left: FloatArray, design: Design, level: float
    ) -> tuple[float, float]:
        """Return (low, high) around `value`, given (G,) values with each group left out."""

    def half_width(
        self, values: tuple[float, float], left: FloatArray, design: Design, level: float
    ) -> float:
        """Return half the width of the interval of a difference of two values, given (G,) the
        differences with each group left out."""


def binomial(share: float) -> float:
    """Return the variance of one decision that is right with probability `share`."""
    return share * (1 - share)


def ordinal(area: float) -> float:
    """Return the variance of an AUROC per unit of leverage, where scores are normal with one
    variance in both classes: to 3% for areas from 0.5 to 0.99."""
    return binomial(area) * pow(4 * binomial(area), 0.29) / 3


@dataclass(frozen=True)
class Share:
    """Between 0 and 1: Wilson's interval, widened by the measured design effect.

    It holds every truth from which the value is no further than t standard errors *of that
    truth*, so it neither collapses nor leaves [0, 1] where all is right or all is wrong.
    `unit` is the variance to expect at a truth, per unit of leverage; `crossing` by how much more
    than that of other metrics its variance grows under cross-fitting; `disagreements` between two
    models are imagined before any is seen.
    """

    unit: Callable[[float], float]
    crossing: float = 1.0
    disagreements: float = 1.5
    how: str = "Wilson score, jackknife"

    def interval(
        self, value: float, left: FloatArray, design: Design, level: float
    ) -> tuple[float, float]:
        """See `Scale`."""
        expected = max(self.unit(value) * design.leverage, TINY**2)
        seen = design.degrees * 2 * sqrt(binomial(value))  # nothing, where all are right
        effect = seen * design.variance(left - value) / expected + PRIOR_DEGREES * design.grouping
        effect *= _unsettled(value, design, self.crossing) / (seen + PRIOR_DEGREES)
        t = t_quantile((1 + level) / 2, design.degrees + PRIOR_DEGREES)
        factor = t * t * effect * design.leverage
        return self._furthest(value, factor, 0.0), self._furthest(value, factor, 1.0)

    def half_width(
        self, values: tuple[float, float], left: FloatArray, design: Design, level: float
    ) -> float:
        """See `Scale`. Examples on which the two disagree are added, in the manner of Agresti &
        Min (2005): no disagreement is not no difference."""
        if design.degrees == 0:
            return 2.0
        middle = (values[0] + values[1]) / 2
        imagined = self.disagreements * (4 * self.unit(0.5) * design.leverage) ** 2
        total = design.variance(left - (values[0] - values[1])) + imagined
        t = t_quantile((1 + level) / 2, design.degrees)
        return t * sqrt(total * _unsettled(middle, design))

    def _furthest(self, value: float, factor: float, end: float) -> float:
        """Return the truth furthest towards `end` that the value does not rule out."""
        inside, outside = value, end
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            if (middle - value) ** 2 <= factor * self.unit(middle):
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2


def _unsettled(share: float, design: Design, more: float = 1.0) -> float:
    """Return the increase by cross-fitting: models that are always right are settled."""
    return 1 + (design.crossing - 1) * more * (4 * binomial(share)) ** 3


@dataclass(frozen=True)
class Loss:
    """Above zero: a mean of skewed losses, or its root: t on the inverse cube root.

    The cube root of a sum of squares is near normal (Wilson & Hilferty 1931). `relative` is the
    variance to expect of one loss over its squared mean: 2 for squared normal errors. `power`
    makes a mean of losses of the metric's value, or of 1 − value where `rest`.
    """

    relative: float
    power: float = 1.0
    rest: bool = False
    how: str = "t on the cube root, jackknife"

    def interval(
        self, value: float, left: FloatArray, design: Design, level: float
    ) -> tuple[float, float]:
        """See `Scale`."""
        loss, others = (1 - value, 1 - left) if self.rest else (value, left)
        moves = self.power * (np.log(np.maximum(others, TINY)) - np.log(max(loss, TINY)))
        expected = self.relative * design.leverage * design.grouping
        total = design.degrees + PRIOR_DEGREES
        spread = (design.degrees * design.variance(moves) + PRIOR_DEGREES * expected) / total
        step = t_quantile((1 + level) / 2, total) * sqrt(spread * design.crossing) / 3
        low = loss * (1 + step) ** (-3 / self.power)
        high = loss * max(1 - step, 0.1) ** (-3 / self.power)
        return (1 - high, 1 - low) if self.rest else (low, high)

    def half_width(
        self, values: tuple[float, float], left: FloatArray, design: Design, level: float
    ) -> float:
        """See `Scale`. Skewed differences tell less of their variance: half of the degrees of
        freedom count. Models with like losses differ by what their fitting left to chance, so
        cross-fitting widens their difference most, up to twice the variance."""
        worse, better = sorted((1 - v if self.rest else v for v in values), reverse=True)
        if design.degrees == 0:
            return t_quantile((1 + level) / 2, 1.0) * max(worse + better, TINY)
        degrees = min(design.degrees, max(2.0, design.degrees / 2))
        alike = (max(better, TINY) / max(worse, TINY)) ** self.power
        crossing = 1 + min(1.0, (design.crossing - 1) * UNSETTLED * alike)
        total = design.variance(left - (values[0] - values[1]))
        return t_quantile((1 + level) / 2, degrees) * sqrt(total * crossing)


@dataclass(frozen=True)
class Correlation:
    """Between −1 and 1: t on Fisher's z, with the variance to expect of ranks."""

    how: str = "t on Fisher's z, jackknife"

    def interval(
        self, value: float, left: FloatArray, design: Design, level: float
    ) -> tuple[float, float]:
        """See `Scale`."""
        edge = 1 - TINY
        center = atanh(min(max(value, -edge), edge))
        moves = np.arctanh(np.clip(left, -edge, edge)) - center
        examples = 1 / design.leverage
        expected = (1 + value * value / 2) / max(examples - 3, 0.25) * design.grouping
        total = design.degrees + PRIOR_DEGREES
        spread = (design.degrees * design.variance(moves) + PRIOR_DEGREES * expected) / total
        half = t_quantile((1 + level) / 2, total) * sqrt(spread * design.crossing)
        return tanh(center - half), tanh(center + half)

    def half_width(
        self, values: tuple[float, float], left: FloatArray, design: Design, level: float
    ) -> float:
        """See `Scale`."""
        if design.degrees == 0:
            return 2.0
        total = design.variance(left - (values[0] - values[1]))
        return t_quantile((1 + level) / 2, design.degrees) * sqrt(total * design.crossing)
