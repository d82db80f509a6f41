"""Performance against the number of labels, measured on choosing data."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray
from retarget.methods.base import Method
from retarget.selection.candidates import Candidate
from retarget.selection.select import MOST_JUDGED, attempt
from retarget.selection.trials import Evidence, Trial

# Share of the labels → how many draws: small draws vary more and cost less.
DRAWS = ((0.125, 6), (0.25, 4), (0.5, 2))
FEWEST = 8


def measure_curve(
    evidence: Evidence, chosen: Trial, seed: int
) -> tuple[list[int], list[list[float]]]:
    """Judge the chosen candidates out of fold on ever more of the labels.

    Returns how many labels each fit learned from, and the headline scores of the draws at that
    number; the last is what choosing measured on all. Draws keep units and folds whole; their
    settings are chosen anew. Of an average only the quick members are measured: not those that
    follow another method.
    """
    generator = np.random.default_rng(seed)
    evidence, _ = evidence.sample(MOST_JUDGED)
    folds = len(np.unique(evidence.folds))
    sizes: list[int] = []
    scores: list[list[float]] = []
    with progress("Measuring the learning curve", sum(d for _, d in DRAWS), "draws") as meter:
        for share, draws in DRAWS:
            wanted = round(share * len(evidence.labels))
            measured = []
            for _ in range(draws):
                rows = _draw(evidence, wanted, generator)
                if len(rows) >= FEWEST:
                    measured.append(_score(_subset(evidence, rows), chosen))
                meter.advance()
            finite = [m for m in measured if np.isfinite(m)]
            if finite:
                sizes.append(_learned_from(wanted, folds))
                scores.append(finite)
    whole = len(_quick(chosen.candidates)) == len(chosen.candidates)
    last = chosen.score if whole else _score(evidence, chosen)
    if np.isfinite(last):
        sizes.append(_learned_from(len(evidence.labels), folds))
        scores.append([last])
    return sizes, scores


def _learned_from(labels: int, folds: int) -> int:
    return max(1, round(labels * (folds - 1) / folds))


def _draw(evidence: Evidence, wanted: int, generator: np.random.Generator) -> IntArray:
    """Return about `wanted` rows: whole units in random order, classes in turn."""
    shuffled = generator.permutation(int(evidence.units.max()) + 1)[evidence.units]
    order: FloatArray = shuffled.astype(np.float64)
    labels = evidence.labels
    if labels.kind == "classification":
        # Each row's rank within its class makes small draws hold every class.
        rank = np.empty(len(labels))
        for c in np.unique(labels.values):
            own = np.flatnonzero(labels.values == c)
            ranked = np.argsort(np.argsort(order[own], kind="stable"), kind="stable")
            rank[own] = (ranked + 0.5) / len(own)
        order = _first_of_unit(rank, evidence.units)
    return np.sort(np.argsort(order, kind="stable")[:wanted])


def _first_of_unit(rank: FloatArray, units: IntArray) -> FloatArray:
    first = np.full(int(units.max()) + 1, np.inf)
    np.minimum.at(first, units, rank)
    return np.asarray(first[units])


def _subset(evidence: Evidence, rows: IntArray) -> Evidence:
    _, folds = np.unique(evidence.folds[rows], return_inverse=True)
    _, units = np.unique(evidence.units[rows], return_inverse=True)
    return replace(
        evidence,
        features={uri: table.take(rows) for uri, table in evidence.features.items()},
        labels=evidence.labels.take(rows),
        folds=folds.astype(np.int64),
        units=units.astype(np.int64),
    )


def _quick(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the members of an average that don't follow a quicker one, where there are such."""
    found = [c for c in candidates if isinstance(c.method, Method) and not c.method.follows]
    return found or candidates


def _score(evidence: Evidence, chosen: Trial) -> float:
    if len(np.unique(evidence.folds)) < 2:
        return float("nan")
    made = [attempt(evidence, candidate).predictions for candidate in _quick(chosen.candidates)]
    return evidence.score(np.mean(made, axis=0))
