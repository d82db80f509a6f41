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
# Measured: of 0, 1/4, 1/2 and 1 this share saves most iterations.
BEND = np.float32(0.25)


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


def solve_path(
    problems: Problems, strengths: tuple[float, ...], start: FloatArray | None = None
) -> Iterator[FloatArray]:
    """Yield solutions (B, K, r + 1), the bias last, for each strength, each above zero.

    All problems take their steps together, so that an iteration is two matrix products; those
    that have converged leave. The method is L-BFGS (Nocedal, 1980, Updating Quasi-Newton
    Matrices with Limited Storage) started from the diagonal of the Hessian, which in principal
    directions is most of it. The first strength starts from `start`, of a solution's shape, or
    zero; each other from the solution of the one before.
    """
    solver = _Solver(problems, start)
    for strength in strengths:
        yield solver.solve(strength).copy()


@dataclass
class _State:
    """Where problems are: arrays of one row a problem."""

    index: IntArray
    targets: FloatArray
    weights: FloatArray
    present: FloatArray
    solution: FloatArray
    logits: FloatArray
    chances: FloatArray
    gradient: FloatArray
    scale: FloatArray

    def part(self, chosen: BoolArray) -> "_State":
        """Return a copy of some problems."""
        return _State(*(array[chosen] for array in vars(self).values()))

    def put(self, part: "_State") -> None:
        """Take over where a part of the problems has come to."""
        for name in ("solution", "logits", "chances", "gradient"):
            getattr(self, name)[part.index] = getattr(part, name)


class _Solver:
    """Holds the rows, and where the last strength has led to as a start for the next."""

    def __init__(self, problems: Problems, start: FloatArray | None) -> None:
        ones = np.ones((len(problems.rows), 1), np.float32)
        self.rows = np.concatenate([problems.rows, ones], axis=1, dtype=np.float32)
        self.squares = self.rows**2
        self.penalty = np.zeros(self.rows.shape[1], np.float32)
        self.all = self._at(problems, start)
        self.before = self.all.solution.copy()
        self.way = np.zeros_like(self.before)

    def _at(self, problems: Problems, start: FloatArray | None) -> _State:
        """Return the state of all problems at `start`."""
        count, columns = len(problems.weights), problems.targets.shape[1]
        targets = np.broadcast_to(problems.targets, (count, columns, len(self.rows)))
        weights = problems.weights[:, None, :]
        present = problems.present[:, :, None].astype(np.float32)
        solution = np.zeros((count, columns, self.rows.shape[1]), np.float32)
        logits = np.zeros(targets.shape, np.float32)
        if start is not None:
            solution += start * present
            logits = self._logits(solution)
        chances = _chances(logits, present)
        gradient = _sums((chances - targets) * weights, self.rows)
        index = np.arange(count)
        return _State(
            index, targets, weights, present, solution, logits, chances, gradient, gradient
        )

    def solve(self, strength: float) -> FloatArray:
        """Return the solutions (B, K, r + 1) of one strength."""
        penalty = np.full(self.rows.shape[1], strength, np.float32)
        penalty[-1] = 0
        self.all.gradient += (penalty - self.penalty) * self.all.solution
        self.penalty = penalty
        spread = self.all.chances * (1 - self.all.chances) * self.all.weights
        curvature = _sums(spread, self.squares) + penalty
        self.all.scale = 1 / np.maximum(curvature, LEAST_CURVATURE)
        at, history = self.all.part(np.ones(len(self.before), dtype=bool)), _History()
        self._continue(at, history)
        for _ in range(ITERATIONS):
            decrement = _dot(at.gradient, at.gradient * at.scale)
            going = decrement > TOLERANCE * np.maximum(_loss(at), LEAST_LOSS)
            step = -history.apply(at.gradient, at.scale)
            going &= _dot(at.gradient, step) < 0
            if not going.all():
                self.all.put(at.part(~going))
                at, step = at.part(going), step[going]
                history.keep(going)
            if not going.any():
                break
            self._advance(at, step, history)
        self.all.put(at)
        return self.all.solution

    def _continue(self, at: _State, history: "_History") -> None:
        """Go on the way that led here from the last strength, as it bends, while it leads down."""
        way = at.solution - self.before
        ahead = way + BEND * (way - self.way)
        self.way, self.before = way, at.solution.copy()
        ahead *= (_dot(at.gradient, ahead) < 0)[:, None, None]
        if ahead.any():
            self._advance(at, ahead, history)

    def _advance(self, at: _State, step: FloatArray, history: "_History") -> None:
        """Go along `step` to where its slope is small.

        Logits are linear in the weights, so trying another length needs no matrix product.
        """
        along = self._logits(step)
        slope = _dot(at.gradient, step)
        linear = _dot(self.penalty * at.solution, step)
        quadratic = _dot(self.penalty * step, step)
        bracket = _Bracket(slope)
        for _ in range(TRIES):
            length = bracket.length[:, None, None]
            at.chances = _chances(at.logits + length * along, at.present)
            residual = (at.chances - at.targets) * at.weights
            if bracket.narrow(_dot(along, residual) + linear + bracket.length * quadratic):
                break
        step = length * step
        at.logits += length * along
        at.solution += step
        before = at.gradient
        at.gradient = _sums(residual, self.rows) + self.penalty * at.solution
        history.add(step, at.gradient - before)

    def _logits(self, solution: FloatArray) -> FloatArray:
        flat = solution.reshape(-1, solution.shape[2])
        # Measured: quicker in this order, with few columns by a third.
        logits = np.ascontiguousarray(_product(self.rows, flat.T).T)
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
    flat = _product(shares.reshape(-1, shares.shape[2]), rows)
    return np.asarray(flat.reshape(*shares.shape[:2], -1))


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    # OpenBLAS at times says "invalid" of finite numbers: https://github.com/numpy/numpy/issues/24067
    with np.errstate(invalid="ignore"):
        return np.asarray(a @ b)


def _chances(logits: FloatArray, present: FloatArray) -> FloatArray:
    if logits.shape[1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
    e = logits - logits.max(axis=1, keepdims=True)
    np.exp(e, out=e)
    e *= present
    e /= e.sum(axis=1, keepdims=True)
    return np.asarray(e)


def _loss(at: _State) -> FloatArray:
    """Return the weighted losses (B,) without the penalty."""
    right = (at.chances * at.targets).sum(axis=1)
    if at.chances.shape[1] == 1:
        right = (1 - np.abs(at.targets - at.chances))[:, 0]
    losses = -np.log(np.maximum(right, LEAST_CHANCE))
    return np.asarray(np.einsum("bi,bi->b", losses, at.weights[:, 0]))


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("bi,bi->b", a.reshape(len(a), -1), b.reshape(len(b), -1)))
