"""Near-duplicates: the same picture saved again, cropped a little, brightened or marked."""

from collections.abc import Iterator

import numpy as np

from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray, StrArray

ALIKE = 0.97
"""Least correlation once the data set's average picture is taken away.

Measured on 16 × 16 RGB: JPEG at quality 40 and halving keep above it always, 2% cropped off, a
drawn caliper or 15% more light mostly; of 1.3 million pairs of different drawings, photos, blood
cells, chest X-rays and digits one is above it. Without taking the average away, as many pairs of
different cells and digits as of equal ones are.
"""
EQUAL = 0.998
"""Correlation above which two pictures are alike whatever the average, which says nothing where
there are few pictures, or all are of one scene."""
MOST_PAIRS = 100_000
_BLOCK = 1024
_DIRECTIONS = 64
_SAMPLED = 4000
_FEW = 2500  # so few are compared on all D numbers in less time than directions take to find
_CHECKED_AT_ONCE = 8192


def near_duplicates(vectors: FloatArray, ids: StrArray) -> IntArray:
    """Return (p, 2) pairs of rows i < j that show nearly the same picture, in order.

    Args:
        vectors: (n, D) float32, pictures at low resolution as plain pixels, in any scale.
        ids: (n,) content hashes; pairs of equal content are left out, they are duplicates.

    Two pictures are nearly the same where their pixels, each picture's own mean taken away,
    correlate with at least `EQUAL`, or with at least `ALIKE` once the average of all is taken
    away too. Pictures of one colour are like nothing. After `MOST_PAIRS` pairs it stops.

    Candidates among many come from 64 directions that hold most of the variance: distances there
    are never greater than the true ones, so none is missed, and each is checked on all D numbers.
    Time is quadratic in n and memory linear.
    """
    if not len(vectors):
        return np.empty((0, 2), dtype=np.int64)
    plain = np.asarray(vectors, dtype=np.float32)
    plain = plain - plain.mean(axis=1, keepdims=True)
    size = np.linalg.norm(plain, axis=1)
    rows = np.flatnonzero(size > 1e-3 * max(float(np.median(size)), 1e-6))
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64)
    plain = plain[rows]
    contrast = _unit(plain - plain.mean(axis=0))
    found: set[tuple[int, int]] = set()
    for unit, least in ((_unit(plain), EQUAL), (contrast, ALIKE)):
        for i, j in _alike(unit, least):
            a, b = int(rows[i]), int(rows[j])
            if ids[a] != ids[b]:
                found.add((a, b))
            if len(found) >= MOST_PAIRS:
                break
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _alike(unit: FloatArray, least: float) -> Iterator[tuple[int, int]]:
    """Give i < j whose unit vectors have a product of at least `least`."""
    for first, second in _candidates(unit, 2 * (1 - least)):
        for start in range(0, len(first), _CHECKED_AT_ONCE):
            i = first[start : start + _CHECKED_AT_ONCE]
            j = second[start : start + _CHECKED_AT_ONCE]
            near = np.einsum("nd,nd->n", unit[i], unit[j]) >= least
            yield from zip(i[near].tolist(), j[near].tolist(), strict=True)


def _candidates(unit: FloatArray, farthest: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Give i < j, a block of rows at a time, whose projections lie within `farthest`, squared."""
    low = unit @ _directions(unit) if len(unit) > _FEW else unit
    length = np.einsum("nd,nd->n", low, low)[:, None]
    one = np.ones_like(length)
    # One product gives squared distances: |a|² − 2ab + |b|².
    left = np.hstack([-2 * low, length, one])
    right = np.hstack([low, one, length])
    with progress("Comparing pictures", len(unit), "images") as meter:
        for top in range(0, len(unit), _BLOCK):
            distances = left[top : top + _BLOCK] @ right[top:].T
            i, j = np.nonzero(distances <= farthest + 1e-4)
            later = j > i
            yield i[later] + top, j[later] + top
            meter.advance(len(distances))


def _directions(unit: FloatArray) -> FloatArray:
    """Return (D, 64 or fewer) orthonormal directions of most variance, found on a sample."""
    sample = unit[:: max(1, len(unit) // _SAMPLED)]
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(vectors[:, ::-1][:, :_DIRECTIONS])


def _unit(vectors: FloatArray) -> FloatArray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
