"""From probabilities of tags to the best sequence of tags that is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray

# Log-probabilities further below the best of their row than this are as good as impossible.
_FARTHEST = 1e4


@dataclass(frozen=True)
class Steps:
    """Rows of many sequences in the order of their places: all first rows, all second ones, …

    Within a step sequences are in order of length, longest first, so those of a step are the first
    ones of the step before.

    Attributes:
        places: (n,) row numbers in that order.
        edges: (L + 1,) step t is from `edges[t]` up to `edges[t + 1]`; L is the longest length.
    """

    places: IntArray
    edges: IntArray

    @classmethod
    def of(cls, sequences: IntArray) -> "Steps":
        """Return the steps of rows (n,), of which those of one sequence are neighbours."""
        starts = starts_of(sequences)
        lengths = np.diff(np.append(starts, len(sequences)))
        longest = np.argsort(-lengths, kind="stable")
        sizes = len(starts) - np.searchsorted(np.sort(lengths), np.arange(1, lengths.max() + 1))
        edges = np.concatenate([[0], np.cumsum(sizes)])
        step = np.repeat(np.arange(len(sizes)), sizes)
        lane = np.arange(len(sequences)) - edges[step]
        return cls(starts[longest][lane] + step, edges)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def at(self, step: int) -> slice:
        """Return where the rows of a step lie."""
        return slice(int(self.edges[step]), int(self.edges[step + 1]))


def starts_of(sequences: IntArray) -> IntArray:
    """Return the first row of every sequence of rows (n,), of which those of one are neighbours."""
    changes = np.ones(len(sequences), bool)
    changes[1:] = sequences[1:] != sequences[:-1]
    return np.flatnonzero(changes)


def allowed(classes: Sequence[str]) -> BoolArray:
    """Return (K + 1, K) which tag may follow which in IOB2; the last row is of first tags.

    I-x follows B-x or I-x only. Raises `ValueError` for a tag that is not O, B-x or I-x.
    """
    strange = [tag for tag in classes if tag != "O" and (tag[:2] not in ("B-", "I-"))]
    if strange:
        raise ValueError(f"tags are O, B-x or I-x, not {', '.join(map(repr, strange))}")
    types = [tag[2:] for tag in classes]
    found = np.ones((len(classes) + 1, len(classes)), bool)
    for column, tag in enumerate(classes):
        if tag.startswith("I-"):
            found[:-1, column] = [
                own != "O" and name == tag[2:] for own, name in zip(classes, types, strict=True)
            ]
            found[-1, column] = False
    return found


def standard(outputs: int) -> BoolArray:
    """Return `allowed` of K tags in the order in which tagging has them: O, then B-x and I-x of
    every type. Raises `ValueError` for an even K, which no types have."""
    if outputs % 2 == 0:
        raise ValueError(f"{outputs} tags are not O, and B-x and I-x of every type")
    types = [str(i) for i in range(outputs // 2)]
    return allowed(("O", *(f"{prefix}-{name}" for name in types for prefix in "BI")))


def decode(log_probs: FloatArray, sequences: IntArray, allowed: BoolArray) -> IntArray:
    """Return (n,) tags: of every sequence the allowed one of greatest sum of log-probabilities.

    Viterbi 1967, Error bounds for convolutional codes. Of equal ones that with the lower tag
    numbers at its end is taken. What has no probability at all is taken only where nothing else is
    allowed.

    Args:
        log_probs: (n, K), below infinity; only differences within a row matter.
        sequences: (n,) which sequence each row is of; rows of one are neighbours, in order.
        allowed: (K + 1, K) which tag may follow which, the last row of first tags. Some tag must
            be allowed first and after every other.

    Raises:
        ValueError: NaN or infinity among the log-probabilities, or shapes that don't fit.
    """
    n, width = log_probs.shape
    if len(sequences) != n or allowed.shape != (width + 1, width):
        raise ValueError(
            f"log-probabilities {log_probs.shape} don't fit {len(sequences)} rows "
            f"or transitions {allowed.shape}"
        )
    if not (log_probs < np.inf).all():
        raise ValueError("log-probabilities must be below infinity")
    if n == 0:
        return np.empty(0, np.int64)
    steps = Steps.of(sequences)
    best, back = _forward(_bounded(log_probs)[steps.places], steps, allowed)
    tags = np.empty(n, np.int64)
    tags[steps.places] = _backward(best.argmax(axis=1), back, steps)
    return tags


def _bounded(log_probs: FloatArray) -> FloatArray:
    """Return differences from the best of each row, bounded, so that all sums are finite."""
    highest = log_probs.max(axis=1, keepdims=True)
    known = np.isfinite(highest)
    with np.errstate(invalid="ignore"):
        below = np.where(known, log_probs - np.where(known, highest, 0.0), 0.0)
    return np.asarray(np.maximum(below, -_FARTHEST), np.float64)


def _forward(scores: FloatArray, steps: Steps, allowed: BoolArray) -> tuple[FloatArray, IntArray]:
    """Return (sequences, K) the best sum that ends in each tag, and (n, K) the tag before it.

    Many tags may follow the same tags, and share the search among these.
    """
    width = scores.shape[1]
    patterns, own = np.unique(allowed[:width].T, axis=0, return_inverse=True)
    barred = np.where(patterns, 0.0, -np.inf)
    best = scores[steps.at(0)] + np.where(allowed[width], 0.0, -np.inf)
    back = np.zeros(scores.shape, np.int64)
    for step in range(1, len(steps)):
        now = steps.at(step)
        through = best[: now.stop - now.start, None, :] + barred
        before = through.argmax(axis=2)
        reached = np.take_along_axis(through, before[..., None], axis=2)[..., 0]
        back[now] = before[:, own]
        best[: len(before)] = reached[:, own] + scores[now]
    return best, back


def _backward(last: IntArray, back: IntArray, steps: Steps) -> IntArray:
    """Return (n,) tags in the order of steps, from (sequences,) last ones."""
    tags = np.empty(len(back), np.int64)
    for step in range(len(steps) - 1, -1, -1):
        now = steps.at(step)
        own = last[: now.stop - now.start]
        tags[now] = own
        last[: len(own)] = back[now][np.arange(len(own)), own]
    return tags
