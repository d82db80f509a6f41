"""Many L2-regularised logistic problems on the same rows at once, along a path of strengths."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray

MEMORY = 5
ITERATIONS = 300
TOLERANCE = 1e-6
TRIES = 12
LEAST_CURVATURE = 1e-7
LEAST_CHANCE = 1e-30
LEAST_LOSS = 1e-5
LONGEST = 64.0


@dataclass(frozen=True)
class Problems:
    """B problems on the same n rows: softmax over K > 1 columns, or one logistic column.

    Problem b minimises sum_i weights[b, i] loss_i + strength / 2 |W_b|², its bias free.

    Attributes:
        rows: (n, r) float32, centred, best in their principal directions.
        targets: (B or 1, K, n) float32: shares of classes, or 0/1 for one column.
        weights: (B, n) float32, at least 0; each problem's sum is 1, or 0 to leave it at zero.
        present: (B, K): columns that take part; the others stay at zero.
    """

    rows: FloatArray
    targets: FloatArray
    weights: FloatArray
    present: BoolArray


def solve_path(problems: Problems, strengths: tuple[float, ...]) -> Iterator[FloatArray]:
    """Yield solutions (B, K, r + 1), the bias last, for each strength, each above zero.

    All problems take their steps together, so that an iteration is two matrix products; those
    that have converged leave. The method is L-BFGS (Nocedal, 1980, Updating Quasi-Newton
    Matrices with Limited Storage) started from the diagonal of the Hessian, which in principal
    directions is most of it. Each strength starts from the solution of the one before.
    """
    solver = _Solver(problems)
    for strength in strengths:
        yield solver.solve(strength).copy()


@dataclass
class _Active:
    """The problems not yet solved: arrays of one row a problem."""

    index: IntArray
    targets: FloatArray
    weights: FloatArray
    present: FloatArray
    solution: FloatArray
    logits: FloatArray
    chances: FloatArray
    gradient: FloatArray
    scale: FloatArray

    def keep(self, going: BoolArray) -> None:
        for name, array in vars(self).items():
            setattr(self, name, array[going])


class _Solver:
    """Holds the rows, and the solution reached so far as a start for the next strength."""

    def __init__(self, problems: Problems) -> None:
        ones = np.ones((len(problems.rows), 1), np.float32)
        self.rows = np.concatenate([problems.rows, ones], axis=1, dtype=np.float32)
        self.squares = self.rows**2
        count, columns = len(problems.weights), problems.targets.shape[1]
        self.targets = np.broadcast_to(problems.targets, (count, columns, len(self.rows)))
        self.weights = problems.weights[:, None, :]
        self.present = problems.present[:, :, None].astype(np.float32)
        self.solution = np.zeros((count, columns, self.rows.shape[1]), np.float32)
        self.before = self.solution

    def solve(self, strength: float) -> FloatArray:
        """Return the solutions (B, K, r + 1) of one strength."""
        penalty = np.full(self.rows.shape[1], strength, np.float32)
        penalty[-1] = 0
        at = self._start(penalty)
        history = _History()
        self._continue(at, penalty, history)
        for _ in range(ITERATIONS):
            decrement = _dot(at.gradient, at.gradient * at.scale)
            going = decrement > TOLERANCE * np.maximum(_loss(at), LEAST_LOSS)
            step = -history.apply(at.gradient, at.scale)
            going &= _dot(at.gradient, step) < 0
            if not going.all():
                self.solution[at.index[~going]] = at.solution[~going]
                at.keep(going)
                history.keep(going)
                step = step[going]
            if not going.any():
                break
            self._advance(at, step, penalty, history)
        self.solution[at.index] = at.solution
        return self.solution

    def _continue(self, at: _Active, penalty: FloatArray, history: "_History") -> None:
        """Go on the way that led here from the last strength, as far as it leads down."""
        way = self.solution - self.before
        self.before = self.solution.copy()
        way *= (_dot(at.gradient, way) < 0)[:, None, None]
        if way.any():
            self._advance(at, way, penalty, history)

    def _advance(
        self, at: _Active, step: FloatArray, penalty: FloatArray, history: "_History"
    ) -> None:
        step = self._search(at, step, penalty)
        at.solution += step
        before = at.gradient
        at.gradient = self._gradient(at, penalty)
        history.add(step, at.gradient - before)

    def _start(self, penalty: FloatArray) -> _Active:
        nothing = np.zeros(0, np.float32)
        solution = self.solution.copy()
        at = _Active(
            np.arange(len(solution)),
            self.targets,
            self.weights,
            self.present,
            solution,
            self._logits(solution),
            *(nothing, nothing, nothing),
        )
        at.chances = _chances(at.logits, at.present)
        at.gradient = self._gradient(at, penalty)
        spread = at.chances * (1 - at.chances) * at.weights
        at.scale = 1 / np.maximum(_sums(spread, self.squares) + penalty, LEAST_CURVATURE)
        return at

    def _search(self, at: _Active, step: FloatArray, penalty: FloatArray) -> FloatArray:
        """Go along `step` to where its slope is small; return the step taken.

        Logits are linear in the weights, so trying another length needs no matrix product.
        """
        along = self._logits(step)
        slope = _dot(at.gradient, step)
        linear, quadratic = _dot(penalty * at.solution, step), _dot(penalty * step, step)
        bracket = _Bracket(slope)
        for _ in range(TRIES):
            at.chances = _chances(at.logits + bracket.length[:, None, None] * along, at.present)
            data = _dot(along, (at.chances - at.targets) * at.weights)
            if bracket.narrow(data + linear + bracket.length * quadratic):
                break
        at.logits += bracket.length[:, None, None] * along
        return bracket.length[:, None, None] * step

    def _gradient(self, at: _Active, penalty: FloatArray) -> FloatArray:
        residual = (at.chances - at.targets) * at.weights
        return _sums(residual, self.rows) + penalty * at.solution

    def _logits(self, solution: FloatArray) -> FloatArray:
        flat = solution.reshape(-1, solution.shape[2])
        # Measured: quicker in this order, with few columns by a third.
        logits = np.ascontiguousarray((self.rows @ flat.T).T)
        return np.asarray(logits.reshape(*solution.shape[:2], -1))


class _Bracket:
    """Lengths of steps (B,), narrowed to where the slope of a convex function nears zero."""

    def __init__(self, slope: FloatArray) -> None:
        self.least = slope
        self.length = np.ones_like(slope)
        self.low, self.high = np.zeros_like(slope), np.full_like(slope, np.inf)
        self.low_slope, self.high_slope = slope, np.zeros_like(slope)

    def narrow(self, slope: FloatArray) -> bool:
        """Take the slopes at the lengths; set the next lengths; return whether all are good."""
        far, near = slope > -0.5 * self.least, slope < 0.9 * self.least
        if not (far | near).any():
            return True
        self.low = np.where(near, self.length, self.low)
        self.low_slope = np.where(near, slope, self.low_slope)
        self.high = np.where(far, self.length, self.high)
        self.high_slope = np.where(far, slope, self.high_slope)
        bounded = np.isfinite(self.high)
        rise = np.where(bounded, self.high_slope - self.low_slope, 1)
        share = np.clip(-self.low_slope / np.where(rise > 0, rise, 1), 0.1, 0.9)
        between = self.low + share * (np.where(bounded, self.high, self.low) - self.low)
        longer = np.where(bounded, between, np.minimum(4 * self.length, LONGEST))
        self.length = np.where(far | near, longer, self.length)
        return False


class _History:
    """The last steps and changes of gradient: an approximation of the inverse Hessian."""

    def __init__(self) -> None:
        self.pairs: list[tuple[FloatArray, FloatArray, FloatArray]] = []

    def add(self, step: FloatArray, change: FloatArray) -> None:
        curvature = _dot(step, change)
        seen = curvature > 1e-7 * np.sqrt(_dot(step, step) * _dot(change, change))
        inverse = np.where(seen, 1 / np.where(seen, curvature, 1), 0)
        self.pairs = [*self.pairs, (step, change, inverse)][-MEMORY:]

    def keep(self, going: BoolArray) -> None:
        self.pairs = [(s[going], y[going], r[going]) for s, y, r in self.pairs]

    def apply(self, gradient: FloatArray, scale: FloatArray) -> FloatArray:
        """Return the approximate inverse Hessian times the gradient: the two loops of L-BFGS."""
        q, shares = gradient.copy(), []
        for step, change, inverse in reversed(self.pairs):
            share = inverse * _dot(step, q)
            q -= share[:, None, None] * change
            shares.append(share)
        q *= scale
        for (step, change, inverse), share in zip(self.pairs, reversed(shares), strict=True):
            q += (share - inverse * _dot(change, q))[:, None, None] * step
        return q


def _sums(shares: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the sums of rows (n, r) by shares (B, K, n): (B, K, r)."""
    flat = shares.reshape(-1, shares.shape[2]) @ rows
    return np.asarray(flat.reshape(*shares.shape[:2], -1))


def _chances(logits: FloatArray, present: FloatArray) -> FloatArray:
    if logits.shape[1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
    e = logits - logits.max(axis=1, keepdims=True)
    np.exp(e, out=e)
    e *= present
    e /= e.sum(axis=1, keepdims=True)
    return np.asarray(e)


def _loss(at: _Active) -> FloatArray:
    """Return the weighted losses (B,) without the penalty."""
    right = (at.chances * at.targets).sum(axis=1)
    if at.chances.shape[1] == 1:
        right = (1 - np.abs(at.targets - at.chances))[:, 0]
    losses = -np.log(np.maximum(right, LEAST_CHANCE))
    return np.asarray(np.einsum("bi,bi->b", losses, at.weights[:, 0]))


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("bi,bi->b", a.reshape(len(a), -1), b.reshape(len(b), -1)))
