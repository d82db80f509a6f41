"""What a choice is made among and by: trials, and the labelled rows that one choice may see."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from retarget.core.types import BoolArray, FloatArray, IntArray
from retarget.evaluation.metrics import score
from retarget.evaluation.quantiles import t_quantile
from retarget.features.table import Table
from retarget.methods.base import Head, Labels
from retarget.methods.tuning import Tuned
from retarget.selection.candidates import Candidate


@dataclass(frozen=True)
class Trial:
    """A candidate on choosing data.

    Attributes:
        candidates: one, or the members of an average.
        settings: of each candidate's method, chosen out of fold; NaN for one that has none.
        temperatures: of each candidate's outputs.
        predictions: (n, K) out-of-fold probabilities, or (n, 1) values; NaN where a training saw
            the row.
        temperature: of the average, 1 for a single candidate.
        losses: (n,) weighted log-loss or squared error of each example; NaN as above.
        score: the headline metric, out of fold.
        seconds: what it took.
        weights: of each candidate in the average.
        tuned: what was trained, for candidates that change weights.
        starts: of each candidate's fit on all rows, `None` for one that has none.
    """

    candidates: tuple[Candidate, ...]
    settings: tuple[float, ...]
    temperatures: tuple[float, ...]
    predictions: FloatArray
    temperature: float
    losses: FloatArray
    score: float
    seconds: float
    weights: tuple[float, ...] = ()
    tuned: Mapping[Candidate, Tuned] = field(default_factory=dict)
    starts: tuple[Head | None, ...] = ()

    @property
    def source(self) -> str:
        """URI of the one source behind all members."""
        return self.candidates[0].source

    @property
    def loss(self) -> float:
        """Mean loss, on which choices are made."""
        return float(np.nanmean(self.losses))

    @property
    def judged(self) -> BoolArray:
        """(n,) rows that it was judged on."""
        return np.isfinite(self.losses)


@dataclass(frozen=True)
class Selection:
    """What was chosen and from what.

    Attributes:
        chosen: what is handed over.
        trials: in the order they were tried.
        why: one sentence.
        kinds: by name, what speaks for each kind of method: frozen features, each tuning.
    """

    chosen: Trial
    trials: tuple[Trial, ...]
    why: str
    kinds: Mapping[str, Trial] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """The labelled rows that one selection may see.

    Attributes:
        features: of these rows, by source.
        labels: of these rows.
        folds: (n,) the fold in which each row is held out while choosing.
        units: (n,) rows of one unit are not independent of each other.
        metric: headline metric.
        rows: (n,) of the task; only what trains needs them.
    """

    features: Mapping[str, Table]
    labels: Labels
    folds: IntArray
    units: IntArray
    metric: str
    rows: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def sample(self, most: int, seed: int = 0) -> "tuple[Evidence, IntArray]":
        """Return about `most` rows of the evidence, and which: whole units drawn at random.

        All of them where there are no more.
        """
        n = len(self.labels)
        if n <= most:
            return self, np.arange(n)
        order = np.random.default_rng(seed).permutation(int(self.units.max()) + 1)
        drawn = order[np.cumsum(np.bincount(self.units)[order]) <= most]
        rows = np.flatnonzero(np.isin(self.units, drawn if len(drawn) else order[:1]))
        _, folds = np.unique(self.folds[rows], return_inverse=True)
        _, units = np.unique(self.units[rows], return_inverse=True)
        drawn_evidence = Evidence(
            features={uri: table.take(rows) for uri, table in self.features.items()},
            labels=self.labels.take(rows),
            folds=folds.astype(np.int64),
            units=units.astype(np.int64),
            metric=self.metric,
            rows=self.rows[rows],
        )
        return drawn_evidence, rows

    def score(self, predictions: FloatArray) -> float:
        """Return the headline metric of (n, K) out-of-fold probabilities or (n, 1) values.

        Rows of NaN don't count.
        """
        labels = self.labels
        known = np.isfinite(predictions).all(axis=1)
        shown = predictions[:, 0] if labels.kind == "regression" else predictions
        return score(
            self.metric,
            labels.kind,
            labels.values[known],
            shown[known],
            labels.weights[known],
            self.folds[known],
            None if labels.sequences is None else labels.sequences[known],
        )


def told_apart_by(best: Trial, other: Trial, units: IntArray) -> float:
    """Return the paired difference of mean losses in standard errors, over independent units.

    Only rows count that judged both.
    """
    both = best.judged & other.judged
    differences = other.losses[both] - best.losses[both]
    error = standard_error(differences, units[both])
    mean = float(differences.mean())
    return mean / error if error > 0.0 else (0.0 if mean <= 0.0 else np.inf)


def standard_error(values: FloatArray, units: IntArray) -> float:
    """Return the standard error of a mean over rows, of which those of one unit hang together."""
    _, own = np.unique(units, return_inverse=True)
    centred = np.bincount(own, weights=values - values.mean())
    k = len(centred)
    return float(np.sqrt(k / max(k - 1, 1) * np.sum(centred**2)) / len(values))


def luck(trials: int, units: IntArray) -> float:
    """Return by how many standard errors the lowest of so many losses may be low by luck alone.

    Student's t with Bonferroni's correction, at 5%; `units` of the rows that were judged. With ten
    labels √(2 ln m), which needs many, is passed by luck far too often.
    """
    return t_quantile(1.0 - 0.05 / max(trials, 1), max(len(np.unique(units)) - 1, 1))
