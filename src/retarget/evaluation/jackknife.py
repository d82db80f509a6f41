"""The jackknife over groups: how much a value would vary, and how well that is known.

Leaving out one group at a time gives the variance of any smooth statistic, groups and weights
included (Tukey 1958; Shao & Tu 1995). Where there are few groups that variance is itself
uncertain, so scales moderate it with the one to expect (`PRIOR_DEGREES`, as in Smyth 2004).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from retarget.core.types import FloatArray, IntArray

PRIOR_DEGREES = 4.0
PRIOR_CORRELATION = 0.1  # within groups, before anything was seen
CROSSING = 4.5
LEAST_CROSSING = 0.25


@dataclass(frozen=True)
class Design:
    """How the judged examples hang together, as far as one statistic feels it.

    Attributes:
        leverage: Σ over examples of how far each moves the statistic, squared: 1/n for a mean.
        degrees: degrees of freedom of the jackknife's variance, 0 where there is one group.
        grouping: by how much groups are expected to increase the variance, at least 1.
        crossing: by how much cross-fitting is taken to increase it where the models are
            unsettled: 1 for hold-out.
        kept: (G,) the share of the groups that is left without each one, in its fold if the
            statistic compares only within folds.

    Cross-fitted errors depend on each other: an example's noise is in its own error and in the
    models that judge the other folds, so what the fitting adds to the variance is counted once
    and happens twice. It never more than doubles the variance, and fades as models settle
    (Bayle et al. 2020 show that it vanishes); 1 + 4.5/√n, and never less than 1.25, covers it in
    `benchmarks/coverage.py`.
    """

    leverage: float
    degrees: float
    grouping: float
    crossing: float
    kept: FloatArray

    def variance(self, moves: FloatArray) -> float:
        """Return the jackknife variance from (G,) the value without each group less the value.

        Where nothing is left without a group (NaN), it is taken to move the value as far as the
        group that moves it most.
        """
        known = np.isfinite(moves)
        if len(moves) < 2 or not known.any():
            return 0.0
        squares = np.where(known, moves, 0.0) ** 2
        return float(self.kept @ np.where(known, squares, squares.max()))


def design_of(
    leverage: FloatArray,
    groups: IntArray,
    folds: IntArray | None,
    within: bool,
    independent: int | None = None,
) -> Design:
    """Return the design of examples with leverages (n,) in groups (n,) numbered from 0.

    `folds` are those of cross-fitting, if any; `within` says that the statistic compares only
    examples of one fold, which makes the folds strata. `independent` is how many examples there
    are that don't hang together, where not all n.
    """
    total = float(leverage.sum())
    by_group = np.bincount(groups, leverage) / total
    effective = 1 / float((by_group**2).sum())
    examples = total**2 / float((leverage**2).sum())
    beside = examples / effective - 1  # other examples in an example's group, on average
    alone = len(by_group) == 1
    correlation = 1.0 if alone else PRIOR_CORRELATION
    share = CROSSING / sqrt(independent or len(groups))
    return Design(
        leverage=total,
        degrees=0.0 if alone else max(1.0, effective - 1),
        grouping=1 + correlation * max(beside, 0.0),
        crossing=1.0 if folds is None else 1 + float(np.clip(share, LEAST_CROSSING, 1.0)),
        kept=_kept(groups, folds if within else None),
    )


def _kept(groups: IntArray, strata: IntArray | None) -> FloatArray:
    """Return (G,) the share of its stratum's groups that is left without each group.

    A stratum of one group gives no variance of its own; it is counted as one of two.
    """
    first = np.unique(groups, return_index=True)[1]
    of_group = np.zeros(len(first), np.int64) if strata is None else strata[first]
    _, stratum, sizes = np.unique(of_group, return_inverse=True, return_counts=True)
    sizes = np.maximum(sizes[stratum], 2)
    return np.asarray((sizes - 1) / sizes)
