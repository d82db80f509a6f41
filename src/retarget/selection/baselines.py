"""Denominators of transfer gain: what one has without a pretrained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retarget.core.types import CLASSES, FloatArray, IntArray, StrArray
from retarget.evaluation.metrics import METRICS, score
from retarget.features.bags import Bag
from retarget.features.table import Table
from retarget.methods.bag import BagModel, fit_bag
from retarget.methods.base import Labels, Method
from retarget.methods.crf import SparseCrf, fit_sparse_crf
from retarget.methods.losses import example_losses
from retarget.methods.tuning import Tuning
from retarget.selection.candidates import candidates
from retarget.selection.judge import Gathered, Reading, Study, judge
from retarget.selection.select import refit
from retarget.selection.tune import Pool, Workshop, attempt_tuning

# Penalties of a CRF on words, strongest first.
CHAIN_STRENGTHS = (1e-3, 1e-4, 2e-5, 5e-6)


@dataclass(frozen=True)
class Effects:
    """What the model of the last round makes of the parts of inputs.

    Attributes:
        names: (parts,) what they are.
        values: (K, parts) how much each adds to each output.
        inputs: (parts,) in how many inputs that were learned from each is.
    """

    names: StrArray
    values: FloatArray
    inputs: IntArray


@dataclass(frozen=True)
class Baseline:
    """A denominator, judged on the same examples in the same rounds as what was chosen.

    `predictions` as in `Judged`; `choosing_score` is the headline metric on choosing data, by
    which the strongest denominator is named before judging examples are looked at. `effects` are
    those of its parts, where it is made of any.
    """

    name: str
    predictions: FloatArray
    choosing_score: float
    effects: Effects | None = None


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
    told = _effects(model, bag, part.rows)
    return Baseline("tfidf", predictions.values, evidence.score(found), told)


def _effects(model: BagModel, bag: Bag, rows: IntArray) -> Effects | None:
    """Return those of whole words rather than of pieces, where the model has both."""
    found = model.effects()
    for family in bag.families:
        if family in found:
            inputs = np.asarray(bag.take(rows).families[family].getnnz(axis=0), np.int64)
            return Effects(bag.names[family], found[family], inputs)
    return None


def judge_chain(study: Study, words: Any) -> Baseline:
    """Judge a linear-chain CRF on what words look like, its strength chosen on one inner fold.

    `words` are the features of all words of the task (n, D), sparse.
    """
    predictions = Gathered(study)
    sequences = study.owners
    assert sequences is not None, "words have sequences"
    for part in study.rounds():
        evidence = study.evidence({}, part.rows)
        learning, held = np.flatnonzero(evidence.folds), np.flatnonzero(evidence.folds == 0)
        rows, judged, model = part.rows[held], [], None
        for strength in CHAIN_STRENGTHS:
            model = _chain(words, study, part.rows[learning], strength, model)
            shown = np.exp(model.log_marginals(words[rows], sequences[rows]))
            judged.append((model, strength, shown))
        labels = evidence.labels.take(held)
        losses = [float(example_losses(labels, shown).mean()) for _, _, shown in judged]
        best = int(np.argmin(losses))
        found = np.full((len(evidence.labels), evidence.labels.outputs), np.nan)
        found[held] = judged[best][2]
        if len(part.held_out):
            start, strength, _ = judged[best]
            model = _chain(words, study, part.rows, strength, start)
            rows = study.protocol.judging[part.held_out]
            made = np.exp(model.log_marginals(words[rows], sequences[rows]))
            predictions.put(part.held_out, made)
    return Baseline("crf", predictions.values, evidence.score(found))


def _chain(
    words: Any, study: Study, rows: IntArray, strength: float, start: SparseCrf | None
) -> SparseCrf:
    """Fit a CRF on words of the task, from one of another strength or on other words."""
    labels = study.labels.take(rows)
    assert labels.sequences is not None, "words have sequences"
    return fit_sparse_crf(
        words[rows],
        labels.values.astype(np.int64),
        labels.sequences,
        labels.outputs,
        strength,
        start=start,
        weights=labels.weights,
    )


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
