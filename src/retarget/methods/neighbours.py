"""Votes of nearest neighbours, for many numbers of neighbours at once."""

import math

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, Kind

TEMPERATURE = 0.07
PRIOR_VOTES = 0.5


def unit_rows(x: FloatArray) -> FloatArray:
    """Return rows divided by their Euclidean length; rows of zeros stay zeros."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    x = x / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    return np.asarray(x / np.where(length > 0, length, 1), dtype=x.dtype)


def vote(
    similarity: FloatArray,
    votes: FloatArray,
    weights: FloatArray,
    neighbours: tuple[float, ...],
    kind: Kind,
) -> FloatArray:
    """Return outputs (S, m, K) float64 for every number of neighbours.

    Neighbours are counted by weight: a row of weight 2 counts as two, and the last one counts
    with what is left of k. Each votes with exp((similarity - highest similarity) / 0.07) as in
    Wu et al. (2018), Unsupervised Feature Learning via Non-Parametric Instance Discrimination.
    Shares of votes are drawn towards the shares among all rows, with the force of half a vote,
    so that log-odds stay finite.

    Args:
        similarity: (m, n) cosine similarities; -inf where a row may not vote.
        votes: (n, K): one-hot classes, 0/1 labels, or values.
        weights: (n,) above zero.
        neighbours: S numbers above zero.
        kind: what the votes are.
    """
    order, near = _nearest(similarity, weights, max(neighbours))
    allowed = np.isfinite(near)
    force = np.where(allowed, weights[order], 0.0)
    closeness = np.exp((np.where(allowed, near, near[:, :1]) - near[:, :1]) / TEMPERATURE)
    before = np.cumsum(force, axis=1) - force
    prior = prior_shares(votes, np.isfinite(similarity) * weights)
    found = []
    for k in neighbours:
        counted = closeness * np.clip(k - before, 0, force)
        total = counted.sum(axis=1, keepdims=True)
        sums = np.einsum("mj,mjk->mk", counted, votes[order])
        if kind == "regression":
            found.append(sums / total)
            continue
        share = (sums + PRIOR_VOTES * prior) / (total + PRIOR_VOTES)
        found.append(np.log(share) if kind in CLASSES else np.log(share / (1 - share)))
    return np.stack(found)


def _nearest(
    similarity: FloatArray, weights: FloatArray, most: float
) -> tuple[IntArray, FloatArray]:
    """Return columns and similarities of as many neighbours as `most` can need, nearest first."""
    n = similarity.shape[1]
    count = min(n, math.ceil(min(most / weights.min(), n)))
    kept = np.argpartition(similarity, n - count, axis=1)[:, n - count :]
    kept.sort(axis=1)
    near = np.take_along_axis(similarity, kept, axis=1).astype(np.float64)
    order = np.argsort(-near, axis=1, kind="stable")
    nearest = np.arange(len(kept))[:, None], order
    return kept[nearest], near[nearest]


def prior_shares(votes: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (m, K) the shares of votes (n, K) among all rows, at least half a vote each.

    `weights` (m, n) are zero where a row may not vote.
    """
    counts = weights @ votes
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray((counts + 0.5) / (total + 0.5 * max(votes.shape[1], 2)))
