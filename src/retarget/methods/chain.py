"""Linear chains: sums over all sequences of tags, by forward and backward passes over many at once.

Rows lie in the order of `Steps`, so that a step of all sequences is one matrix product and nothing
is padded. Probabilities are scaled at every row (Rabiner 1989, A tutorial on hidden Markov models).
"""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray
from retarget.evaluation.decoding import Steps

# Emissions further below the best of their row than this are as good as impossible.
_FARTHEST = 200.0
SMALLEST = 1e-30


@dataclass(frozen=True)
class Chain:
    """Scores of tags that follow each other.

    Attributes:
        transitions: (K, K) of tag i followed by tag j.
        start: (K,) of first tags.
        end: (K,) of last tags.
        allowed: (K + 1, K) what may follow what, the last row of first tags; scores of the rest
            don't matter.
    """

    transitions: FloatArray
    start: FloatArray
    end: FloatArray
    allowed: BoolArray


@dataclass(frozen=True)
class Expected:
    """What a chain expects of sequences, in the order of steps.

    Attributes:
        log_total: weighted sum of the logarithms of the sequences' normalisers.
        marginals: (n, K) probability of each tag at each row.
        pairs: (K, K) weighted number of times that tag i is followed by tag j.
    """

    log_total: float
    marginals: FloatArray
    pairs: FloatArray


def last_rows(steps: Steps) -> BoolArray:
    """Return (n,) which rows, in the order of steps, are the last of their sequence."""
    last = np.ones(len(steps.places), bool)
    for step in range(len(steps) - 1):
        following = steps.at(step + 1)
        last[steps.edges[step] : steps.edges[step] + following.stop - following.start] = False
    return last


def expected(emissions: FloatArray, steps: Steps, chain: Chain, weights: FloatArray) -> Expected:
    """Return what is expected of emissions (n, K) with weights (n,), both in the order of steps.

    A sequence has the weight of its rows, which is the same for all of them.
    """
    top = emissions.max(axis=1)
    shown = np.exp(np.maximum(emissions - top[:, None], -_FARTHEST)).astype(np.float64)
    moves = np.exp(chain.transitions) * chain.allowed[:-1]
    alpha, scale = _forward(shown, steps, moves, np.exp(chain.start) * chain.allowed[-1])
    last, ends = last_rows(steps), np.exp(chain.end)
    closing = alpha[last] @ ends
    beta = np.empty_like(alpha)
    beta[last] = ends / closing[:, None]
    pairs = np.zeros_like(moves)
    for step in range(len(steps) - 1, 0, -1):
        now = steps.at(step)
        before = slice(steps.edges[step - 1], steps.edges[step - 1] + now.stop - now.start)
        seen = shown[now] * beta[now] / scale[now, None]
        beta[before] = seen @ moves.T
        pairs += alpha[before].T @ (seen * weights[now, None])
    total = weights @ (np.log(scale) + top) + weights[last] @ np.log(closing)
    return Expected(float(total), alpha * beta, pairs * moves)


def _forward(
    shown: FloatArray, steps: Steps, moves: FloatArray, first: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (n, K) probabilities of tags given the rows up to each, and (n,) scales."""
    alpha, scale = np.empty_like(shown), np.empty(len(shown))
    for step in range(len(steps)):
        now = steps.at(step)
        begin = steps.edges[step - 1]
        came = first if step == 0 else alpha[begin : begin + now.stop - now.start] @ moves
        reached = shown[now] * came
        scale[now] = reached.sum(axis=1)
        alpha[now] = reached / scale[now, None]
    return alpha, scale


def log_marginals(emissions: FloatArray, sequences: IntArray, chain: Chain) -> FloatArray:
    """Return (n, K) logarithms of the probability of each tag at each row of emissions (n, K).

    `sequences` (n,) says which sequence each row is of; rows of one are neighbours, in order. What
    is not possible has the logarithm of 1e-30.
    """
    if len(emissions) == 0:
        return np.zeros(emissions.shape)
    steps = Steps.of(sequences)
    found = expected(emissions[steps.places], steps, chain, np.ones(len(emissions)))
    logs = np.empty(emissions.shape)
    logs[steps.places] = np.log(np.maximum(found.marginals, SMALLEST))
    return logs
