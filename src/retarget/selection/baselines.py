"""Denominators of transfer gain: what one has without a pretrained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retarget.core.types import CLASSES, FloatArray
from retarget.evaluation.metrics import METRICS, score
from retarget.features.bags import Bag
from retarget.features.table import Table
from retarget.methods.bag import fit_bag
from retarget.methods.base import Labels, Method
from retarget.methods.tuning import Tuning
from retarget.selection.candidates import candidates
from retarget.selection.judge import Gathered, Reading, Study, judge
from retarget.selection.select import refit
from retarget.selection.tune import Pool, Workshop, attempt_tuning


@dataclass(frozen=True)
class Baseline:
    """A denominator, judged on the same examples in the same rounds as what was chosen.

    `predictions` as in `Judged`; `choosing_score` is the headline metric on choosing data, by
    which the strongest denominator is named before judging examples are looked at.
    """

    name: str
    predictions: FloatArray
    choosing_score: float


def judge_majority(study: Study) -> Baseline:
    """Judge always guessing the commonest class, or the mean."""
    predictions = np.empty((len(study.protocol.judging), study.labels.outputs))
    for rows, held_out in study.protocol.rounds():
        predictions[held_out] = _frequencies(study.labels.take(rows))
    labels = study.labels.take(study.protocol.choosing)
    guess = np.tile(_frequencies(labels), (len(labels), 1))
    if labels.kind == "regression":
        predictions, guess = predictions[:, 0], guess[:, 0]
    own = score(
        study.metric, labels.kind, labels.values, guess, labels.weights, sequences=labels.sequences
    )
    return Baseline("majority", predictions, own)


def judge_table(
    name: str, study: Study, tables: Mapping[str, Table], methods: Sequence[Method]
) -> Baseline:
    """Judge the best that can be had from one source's features, chosen as fairly as ours."""
    judged = judge(study, tables, Pool(candidates(tuple(tables.values()), methods)))
    return Baseline(name, judged.predictions, judged.selection.chosen.score)


def judge_tuning(study: Study, tuning: Tuning, uri: str, workshop: Workshop) -> Baseline:
    """Judge a training, such as one from random weights, in the rounds that ours is judged in."""
    predictions = Gathered(study)
    for part in study.rounds():
        evidence = study.evidence({}, part.rows)
        trial = attempt_tuning(evidence, tuning, uri, workshop, part.title)
        if len(part.held_out):
            model = refit(evidence, trial, study.task.classes, study.pooling)
            reading = Reading(study, {}, Pool((), workshop=workshop), part.held_out)
            predictions.put(part.held_out, reading.predict(model))
    return Baseline(tuning.name, predictions.values, trial.score)


def judge_bag(study: Study, bag: Bag) -> Baseline:
    """Judge TF-IDF with a linear model, everything chosen in the rounds that ours is judged in.

    `bag` holds the parts of all examples of the task.
    """
    predictions = Gathered(study)
    for part in study.rounds():
        evidence = study.evidence({}, part.rows)
        model, found = fit_bag(bag.take(part.rows), evidence.labels, evidence.folds)
        if len(part.held_out):
            made = model.predict(bag.take(study.protocol.judging[part.held_out]))
            predictions.put(part.held_out, made.reshape(-1, *predictions.values.shape[1:]))
    return Baseline("tfidf", predictions.values, evidence.score(found))


def strongest(baselines: Sequence[Baseline], metric: str) -> str:
    """Return the name of the denominator that did best on choosing data."""
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0

    def quality(baseline: Baseline) -> float:
        value = sign * baseline.choosing_score
        return value if np.isfinite(value) else -np.inf

    return max(baselines, key=quality).name


def _frequencies(labels: Labels) -> FloatArray:
    """Return (K,) weighted class or label frequencies, or the (1,) mean target."""
    weights = labels.weights / labels.weights.sum()
    if labels.kind in CLASSES:
        return np.bincount(labels.values, weights, labels.outputs).astype(np.float64)
    return np.atleast_1d(weights @ labels.values)
