"""L-BFGS for one smooth convex function of many numbers."""

from collections.abc import Callable

import numpy as np

from retarget.core.types import FloatArray

MEMORY = 6
HALVINGS = 25
SUFFICIENT = 1e-4
LEAST_CURVATURE = 1e-10

Function = Callable[[FloatArray], tuple[float, FloatArray]]


def minimise(
    function: Function,
    start: FloatArray,
    scale: FloatArray,
    tolerance: float = 1e-5,
    iterations: int = 200,
) -> FloatArray:
    """Return (p,) near the minimum of a convex function.

    Nocedal 1980, Updating Quasi-Newton Matrices with Limited Storage, each step halved until the
    value falls enough (Armijo 1966).

    Args:
        function: (p,) → value and gradient (p,).
        start: (p,).
        scale: (p,) above zero, about the inverse of the Hessian's diagonal.
        tolerance: stop where a Newton step by `scale`, or two steps one after the other, would
            lower the value by no more than this share of it.
        iterations: at most.
    """
    at, pairs, slow = start, _Pairs(scale), 0
    value, gradient = function(at)
    for _ in range(iterations):
        enough = tolerance * max(abs(value), tolerance)
        if float(gradient @ (scale * gradient)) <= enough or slow > 1:
            break
        step = -pairs.apply(gradient)
        slope = float(gradient @ step)
        if not slope < 0:
            pairs, step = _Pairs(scale), -scale * gradient
            slope = float(gradient @ step)
        length = 1.0
        for _ in range(HALVINGS):
            ahead = at + np.asarray(length, at.dtype) * step
            found, turned = function(ahead)
            if found <= value + SUFFICIENT * length * slope:
                break
            length /= 2
        else:
            break
        slow = slow + 1 if value - found <= enough / 10 else 0
        pairs.add(ahead - at, turned - gradient)
        at, value, gradient = ahead, found, turned
    return at


class _Pairs:
    """The last steps and changes of gradient: an approximation of the inverse Hessian."""

    def __init__(self, scale: FloatArray) -> None:
        self.scale, self.stretch = scale, 1.0
        self.pairs: list[tuple[FloatArray, FloatArray, float]] = []

    def add(self, step: FloatArray, change: FloatArray) -> None:
        curvature = float(step @ change)
        if curvature <= LEAST_CURVATURE * float(step @ step) ** 0.5 * float(change @ change) ** 0.5:
            return
        self.stretch = curvature / float(change @ (self.scale * change))
        self.pairs = [*self.pairs, (step, change, 1.0 / curvature)][-MEMORY:]

    def apply(self, gradient: FloatArray) -> FloatArray:
        """Return the approximate inverse Hessian times the gradient: the two loops of L-BFGS."""
        kind = gradient.dtype.type
        q, shares = gradient.copy(), []
        for step, change, inverse in reversed(self.pairs):
            share = kind(inverse * float(step @ q))
            q -= share * change
            shares.append(share)
        q *= self.scale * kind(self.stretch)
        for (step, change, inverse), share in zip(self.pairs, reversed(shares), strict=True):
            q += (share - kind(inverse * float(change @ q))) * step
        return q
