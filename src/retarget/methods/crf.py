"""`Crf`: a linear-chain conditional random field on features of words, dense or sparse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray, Kind
from retarget.evaluation.decoding import Steps, standard
from retarget.methods.base import CrossFit, Head, Labels, Method, register_head, register_method
from retarget.methods.chain import Chain, expected, last_rows, log_marginals
from retarget.methods.descent import minimise
from retarget.methods.heads import check_array, check_names
from retarget.methods.rotation import rotate

STRENGTHS = (2e-2, 2e-3, 2e-4, 2e-5, 2e-6)
STRIDE = 10.0
# Transitions are few and seen often: they are drawn to zero by this share of the strength.
TRANSITION_SHARE = 0.1
TOLERANCE = 2e-6
# Where there are very many features: half the time, and a loss that differs in the fourth digit.
SPARSE = 1e-5
# Where fits are only compared: half of the time, and losses out of fold that differ by less than
# a tenth of their standard errors (300 sentences of wnut17).
COARSE = 1e-4
LEAST_CURVATURE = 1e-6
ROTATE_UP_TO = 1500


@register_head
@dataclass(frozen=True, eq=False)
class CrfHead(Head):
    """Outputs log-probabilities of tags, given all rows of their sequence.

    Attributes:
        weight: (K, D) float32 or float64.
        bias: (K,) likewise.
        transitions: (K, K) of tag i followed by tag j; what IOB2 doesn't allow has no effect.
        start: (K,) of first tags.
        end: (K,) of last tags.
    """

    weight: FloatArray
    bias: FloatArray
    transitions: FloatArray
    start: FloatArray
    end: FloatArray
    kind: ClassVar[str] = "crf"

    def __post_init__(self) -> None:
        k = len(self.weight)
        check_array("weight", self.weight, (None, None))
        check_array("transitions", self.transitions, (k, k))
        for name in ("bias", "start", "end"):
            check_array(name, getattr(self, name), (k,))
        standard(k)

    @property
    def chain(self) -> Chain:
        """What follows what."""
        return Chain(self.transitions, self.start, self.end, standard(len(self.bias)))

    def outputs(self, x: FloatArray) -> FloatArray:
        """Map features (n, D) to outputs (n, K) float64, every row a sequence of its own.

        Raises `ValueError` on another D.
        """
        return self.outputs_in(x, None)

    def outputs_in(self, x: FloatArray, sequences: IntArray | None) -> FloatArray:
        """Map features of rows, of which those of one sequence are neighbours, to outputs."""
        if x.ndim != 2 or x.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"features have the shape {x.shape}; the head takes (n, {self.weight.shape[1]})"
            )
        emissions = (x @ self.weight.T.astype(x.dtype, copy=False)).astype(np.float64) + self.bias
        alone = np.arange(len(x)) if sequences is None else sequences
        return log_marginals(emissions, alone, self.chain)

    def arrays(self) -> dict[str, FloatArray]:
        """Return `weight`, `bias`, `transitions`, `start` and `end`."""
        names = ("weight", "bias", "transitions", "start", "end")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> "CrfHead":
        """Return the head that `arrays()` described."""
        check_names(arrays, {"weight", "bias", "transitions", "start", "end"})
        return cls(**arrays)


@register_method
@dataclass(frozen=True)
class Crf(Method):
    """A linear-chain conditional random field whose emissions are linear in the features.

    Lafferty, McCallum & Pereira 2001, Conditional random fields. It minimises
    Σ_s w_s NLL(tags of s) / Σ_rows w + strength / 2 (|weight|² + 0.1 |transitions, start, end|²),
    the biases of tags free; sequences that IOB2 doesn't allow have no probability. A tag that has
    no example to fit on gets no weights, and the bias of half an example.

    Attributes:
        strengths: strengths to choose from, above zero; for features whose rows have a mean
            squared length of about one.
    """

    strengths: tuple[float, ...] = STRENGTHS
    name: ClassVar[str] = "crf"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"tagging"})
    follows: ClassVar[str] = "probe"

    def settings(self, labels: Labels) -> tuple[float, ...]:
        """Return the strengths, strongest first."""
        return tuple(sorted({float(s) for s in self.strengths}, reverse=True))

    def cross_fit(self, x: FloatArray, labels: Labels, folds: IntArray) -> CrossFit:
        """Return out-of-fold outputs; every fold walks down the path of strengths by itself.

        Folds divide no sequence. The heads are means over folds.
        """
        settings, rows = self.settings(labels), _Rows.of(x)
        sequences, numbers = _sequences(labels), np.unique(folds)
        found = np.empty((len(settings), len(x), labels.outputs))
        means: list[FloatArray | float] = [0.0] * len(settings)
        for fold in numbers:
            kept, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            path = _path(rows.used[kept], labels.take(kept), settings, None, COARSE)
            for s, solved in enumerate(path):
                emissions = solved.emissions(rows.used[out])
                found[s, out] = log_marginals(emissions, sequences[out], solved.chain())
                means[s] = means[s] + solved.flat() / len(numbers)
        heads = [rows.head(_Solved.of(np.asarray(m), labels.outputs)) for m in means]
        return CrossFit(found, tuple(heads))

    def fit(
        self, x: FloatArray, labels: Labels, setting: float, start: Head | None = None
    ) -> CrfHead:
        """Return the head fitted on all rows with one strength.

        From a `start` of its kind it goes straight to that strength, otherwise down from a strong
        one.
        """
        rows = _Rows.of(x)
        begun = rows.begun(start) if isinstance(start, CrfHead) else None
        steps = int(np.ceil(np.log(max(STRENGTHS[0] / setting, 1)) / np.log(STRIDE)))
        down = [setting * STRIDE**k for k in range(0 if begun else steps, -1, -1)]
        *_, solved = _path(rows.used, labels, tuple(down), begun)
        return rows.head(solved)


@dataclass(frozen=True)
class SparseCrf:
    """A chain on sparse features: weight (K, D), bias (K,), and what follows what."""

    weight: FloatArray
    bias: FloatArray
    chain: Chain

    def log_marginals(self, matrix: Any, sequences: IntArray) -> FloatArray:
        """Return (n, K) log-probabilities of the tags of rows of a sparse matrix (n, D)."""
        emissions = np.asarray(matrix @ self.weight.T, np.float64) + self.bias
        return log_marginals(emissions, sequences, self.chain)


def fit_sparse_crf(
    matrix: Any,
    tags: IntArray,
    sequences: IntArray,
    outputs: int,
    strength: float,
    start: SparseCrf | None = None,
    weights: FloatArray | None = None,
) -> SparseCrf:
    """Fit the field of `Crf` on sparse features, such as those of `tasks/word_parts.py`.

    The penalty is L2, so every feature keeps some weight. L1 would keep some thousands of hundreds
    of thousands, for smaller files and hardly another F1, and need a solver of its own.

    Args:
        matrix: (n, D) scipy.sparse CSR, of 0 and 1 or of small numbers.
        tags: (n,) tag numbers.
        sequences: (n,) which sequence each row is of; rows of one are neighbours, in order.
        outputs: K.
        strength: above zero; C of other programs is about 1 / (strength n).
        start: a fit of the same shape with another strength, to begin from.
        weights: (n,) above zero, alike within a sequence; one each where not given.
    """
    ones = np.ones(len(tags)) if weights is None else weights
    labels = Labels("tagging", tags, outputs, ones, sequences)
    begun = None
    if start is not None:
        own = start.chain
        begun = _Solved(start.weight, start.bias, own.transitions, own.start, own.end)
    (solved,) = _path(matrix.astype(np.float32), labels, (strength,), begun, SPARSE)
    return SparseCrf(solved.weight.astype(np.float32), solved.bias, solved.chain())


@dataclass(frozen=True)
class _Rows:
    """Features centred, in their principal directions where that is cheap."""

    used: FloatArray
    centre: FloatArray
    rotation: Any

    @classmethod
    def of(cls, x: FloatArray) -> "_Rows":
        centre = np.asarray(x.mean(axis=0, dtype=np.float64))
        rows = np.ascontiguousarray(x - centre.astype(np.float32), dtype=np.float32)
        if min(rows.shape) > ROTATE_UP_TO or not rows.any():
            return cls(rows, centre, None)
        rotation = rotate(rows)
        return cls(rotation.coordinates, centre, rotation)

    def head(self, solved: "_Solved") -> CrfHead:
        """Return the head over features from what was solved over coordinates."""
        weight = solved.weight if self.rotation is None else self.rotation.back(solved.weight)
        weight = weight.astype(np.float32)
        bias = solved.bias - weight @ self.centre
        return CrfHead(weight, bias, solved.transitions, solved.start, solved.end)

    def begun(self, head: CrfHead) -> "_Solved":
        """Return a head over features as one over coordinates."""
        weight = head.weight if self.rotation is None else self.rotation.into(head.weight)
        bias = head.bias + head.weight @ self.centre
        return _Solved(weight, bias, head.transitions, head.start, head.end)


@dataclass(frozen=True)
class _Solved:
    """What is searched for: of K tags and r features, all float64 or float32."""

    weight: FloatArray
    bias: FloatArray
    transitions: FloatArray
    start: FloatArray
    end: FloatArray

    @classmethod
    def of(cls, flat: FloatArray, outputs: int) -> "_Solved":
        k = outputs
        own, rest = flat[: -k * (k + 3)], flat[-k * (k + 3) :]
        bias, start, end = rest[: 3 * k].reshape(3, k)
        return cls(own.reshape(k, -1), bias, rest[3 * k :].reshape(k, k), start, end)

    def flat(self) -> FloatArray:
        parts = (self.weight, self.bias, self.start, self.end, self.transitions)
        return np.concatenate([part.ravel() for part in parts])

    def chain(self) -> Chain:
        return Chain(self.transitions, self.start, self.end, standard(len(self.bias)))

    def emissions(self, rows: Any) -> FloatArray:
        """Return (n, K) of rows (n, r), dense or sparse."""
        weight = np.ascontiguousarray(self.weight.T, np.float32)
        return np.asarray(rows @ weight, np.float64) + self.bias

    def take(self, tags: IntArray) -> "_Solved":
        """Return the same of some tags."""
        between = self.transitions[np.ix_(tags, tags)]
        return _Solved(
            self.weight[tags], self.bias[tags], between, self.start[tags], self.end[tags]
        )


def _path(
    rows: Any,
    labels: Labels,
    strengths: tuple[float, ...],
    start: _Solved | None,
    tolerance: float = TOLERANCE,
) -> Iterator[_Solved]:
    """Yield solutions for strengths, each from the one before; the tags that occur are fitted."""
    values = labels.values.astype(np.int64)
    present = np.unique(values)
    problem = _Problem(rows, labels, present, np.searchsorted(present, values))
    at = problem.nothing() if start is None else start.take(present).flat()
    for strength in strengths:
        at = problem.solve(strength, at.astype(problem.dtype), tolerance)
        yield _with_absent(_Solved.of(at, len(present)), present, labels)


class _Problem:
    """The loss of the tags that occur, as a function of all numbers; rows in order of steps."""

    def __init__(self, rows: Any, labels: Labels, present: IntArray, tags: IntArray) -> None:
        sequences = _sequences(labels)
        self.steps = Steps.of(sequences)
        self.rows = rows[self.steps.places]
        self.dense = isinstance(rows, np.ndarray)
        # Vectors over hundreds of thousands of sparse features are half as long in float32.
        self.dtype = np.float64 if self.dense else np.float32
        self.back = self.rows.T if self.dense else self.rows.T.tocsr()
        self.weights = labels.weights[self.steps.places] / labels.weights.sum()
        self.outputs, self.width = len(present), rows.shape[1]
        self.truth = np.eye(self.outputs)[tags[self.steps.places]]
        self.last = last_rows(self.steps)
        self.pairs = _pairs(tags, sequences, labels.weights / labels.weights.sum(), self.outputs)
        whole = standard(labels.outputs)
        self.allowed: BoolArray = whole[np.append(present, labels.outputs)][:, present]
        # What was repaired by nobody is learned from as it is.
        self.allowed[:-1] |= self.pairs > 0
        self.allowed[-1] |= self.truth[self.steps.at(0)].any(axis=0)
        self.squares = _squares(self.rows, self.weights)

    def nothing(self) -> FloatArray:
        """Return the start that knows the shares of tags alone."""
        shares = self.weights @ self.truth
        found = np.zeros(self.outputs * (self.width + self.outputs + 3))
        begin = self.outputs * self.width
        found[begin : begin + self.outputs] = np.log(shares / shares.max())
        return found

    def solve(self, strength: float, start: FloatArray, tolerance: float = TOLERANCE) -> FloatArray:
        """Return the solution of one strength."""
        k, begin = self.outputs, self.outputs * self.width
        penalty = np.full(start.shape, strength, self.dtype)
        penalty[begin:] *= TRANSITION_SHARE
        penalty[begin : begin + k] = 0

        def function(flat: FloatArray) -> tuple[float, FloatArray]:
            loss, gradient = self.loss(flat)
            drawn = penalty * flat
            return loss + float(flat @ drawn) / 2, gradient + drawn

        shares = self.weights @ self.truth
        spread = np.maximum(shares * (1 - shares), LEAST_CURVATURE)
        curvature = np.concatenate(
            [np.outer(spread, self.squares).ravel(), np.tile(spread, 3), np.repeat(spread, k) / k]
        )
        scale = 1 / np.maximum(curvature + penalty, LEAST_CURVATURE)
        return minimise(function, start, scale.astype(self.dtype), tolerance)

    def loss(self, flat: FloatArray) -> tuple[float, FloatArray]:
        """Return the loss without penalty, and its gradient."""
        at = _Solved.of(flat, self.outputs)
        emissions = at.emissions(self.rows)
        chain = Chain(
            at.transitions.astype(np.float64),
            at.start.astype(np.float64),
            at.end.astype(np.float64),
            self.allowed,
        )
        found = expected(emissions, self.steps, chain, self.weights)
        first, w = self.steps.at(0), self.weights[:, None]
        right = float((self.truth * emissions * w).sum()) + float(
            (self.pairs * chain.transitions).sum()
        )
        right += float((self.truth[first] @ chain.start) @ self.weights[first])
        right += float((self.truth[self.last] @ chain.end) @ self.weights[self.last])
        wrong = (found.marginals - self.truth) * w
        parts = _Solved(
            np.asarray(self.back @ wrong.astype(np.float32)).T,
            wrong.sum(axis=0),
            found.pairs - self.pairs,
            wrong[first].sum(axis=0),
            wrong[self.last].sum(axis=0),
        )
        return found.log_total - right, parts.flat().astype(self.dtype)


def _squares(rows: Any, weights: FloatArray) -> FloatArray:
    """Return (r,) weighted mean squares of the columns, dense or sparse."""
    squares = rows**2 if isinstance(rows, np.ndarray) else rows.multiply(rows).tocsr()
    return np.asarray(weights @ squares, np.float64)


def _pairs(tags: IntArray, sequences: IntArray, weights: FloatArray, outputs: int) -> FloatArray:
    """Return (K, K) weighted counts of tag i followed by tag j."""
    both = np.flatnonzero(sequences[1:] == sequences[:-1])
    counts = np.bincount(
        tags[both] * outputs + tags[both + 1], weights[both], minlength=outputs * outputs
    )
    return np.asarray(counts, np.float64).reshape(outputs, outputs)


def _with_absent(found: _Solved, present: IntArray, labels: Labels) -> _Solved:
    """Return the solution for all K tags; those that don't occur get half an example."""
    k = labels.outputs
    together = found.bias.max() + np.log(np.exp(found.bias - found.bias.max()).sum())
    weight = np.zeros((k, found.weight.shape[1]), found.weight.dtype)
    bias = np.full(k, together - np.log(2 * max(float(labels.weights.sum()), 1.0)))
    transitions, start, end = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    weight[present], bias[present] = found.weight, found.bias
    transitions[np.ix_(present, present)] = found.transitions
    start[present], end[present] = found.start, found.end
    return _Solved(weight, bias, transitions, start, end)


def _sequences(labels: Labels) -> IntArray:
    return np.arange(len(labels)) if labels.sequences is None else labels.sequences
