"""Trainings among the candidates: each kind of method tried on the source that features favour."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from retarget.core.types import FloatArray, IntArray, Pooling
from retarget.features.table import Table
from retarget.features.views import Inputs
from retarget.methods.losses import example_losses
from retarget.methods.model import to_probabilities
from retarget.methods.tuning import Subject, Tuned, Tuning
from retarget.selection.candidates import Candidate
from retarget.selection.select import select, tempered
from retarget.selection.trials import Evidence, Selection, Trial
from retarget.sources.registry import resolve

if TYPE_CHECKING:
    from retarget.methods.callbacks import Callback

FROZEN = "frozen"
MEAN = "mean"
# A kind that counts less than this in a mean is not worth its part of every prediction.
LEAST_SHARE = 0.05
BOOTSTRAPS = 400
TINY = 1e-12


@dataclass(frozen=True)
class Workshop:
    """What trainings need.

    Attributes:
        inputs: of all examples of the task.
        read: (URI, rows of the task) → the features of a source, extracted where they miss.
        pooling: how places of a layer became vectors.
        seed: decides all that is random.
        device: as `pick_device` takes it.
        seconds: for one training, `None` without a limit.
        callbacks: told of every epoch.
    """

    inputs: Inputs
    read: Callable[[str, IntArray], Table]
    pooling: Pooling
    seed: int
    device: str
    seconds: float | None = None
    callbacks: "Sequence[Callback]" = ()


@dataclass(frozen=True)
class Pool:
    """All that one choice is made among.

    Attributes:
        candidates: on frozen features.
        tunings: that change weights, tried on the source which frozen features favour.
        workshop: for the tunings.
        scouts: the candidates only say which source to change; none of them is chosen.
        label: of the frozen features, among kinds.
        average: whether averages of a source's candidates are candidates too.
    """

    candidates: Sequence[Candidate]
    tunings: Sequence[Tuning] = ()
    workshop: Workshop | None = None
    scouts: bool = False
    label: str = FROZEN
    average: bool = True


def select_kind(evidence: Evidence, pool: Pool, title: str = "") -> Selection:
    """Choose among frozen features; then train what is asked for, and choose among the kinds.

    The source is chosen by frozen features, which costs seconds. Kinds are compared on the rows
    that judged the trainings, and their mean speaks, in which each counts as `shares_of` has it.
    """
    found = select(evidence, pool.candidates, pool.average)
    if not pool.tunings:
        return replace(found, kinds={pool.label: found.chosen})
    assert pool.workshop is not None
    kinds = {} if pool.scouts else {pool.label: found.chosen}
    for tuning in pool.tunings:
        kinds[tuning.name] = attempt_tuning(
            evidence, tuning, found.chosen.source, pool.workshop, title
        )
    trials = [*([] if pool.scouts else found.trials), *(kinds[t.name] for t in pool.tunings)]
    if len(kinds) == 1:
        (only,) = kinds.values()
        return Selection(only, tuple(trials), "It was the only method asked for.", kinds)
    shares = _shares(evidence, kinds)
    mean = _mean_of_kinds(
        evidence, [(kinds[name], share) for name, share in shares.items()], trials
    )
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    chosen, why = mean, f"Each method counts by its loss on validation: {told}."
    if len(shares) == 1:
        (name,) = shares
        chosen, why = kinds[name], f"No other method came near the loss of {name} on validation."
    return Selection(chosen, (*trials, mean), why, {**kinds, MEAN: mean})


def attempt_tuning(
    evidence: Evidence, tuning: Tuning, uri: str, workshop: Workshop, title: str
) -> Trial:
    """Train on all folds but the first, judged by that one."""
    validation = evidence.folds == 0
    table = evidence.features.get(uri)
    subject = Subject(
        source=resolve(uri),
        inputs=workshop.inputs.take(evidence.rows),
        labels=evidence.labels,
        validation=validation,
        metric=evidence.metric,
        pooling=workshop.pooling,
        seed=workshop.seed,
        table=table,
        device=workshop.device,
        seconds=workshop.seconds,
        title=f"{tuning.name}{title}",
        callbacks=workshop.callbacks,
    )
    return _trial(evidence, tuning, uri, tuning.fit(subject), np.flatnonzero(validation))


def _trial(
    evidence: Evidence, tuning: Tuning, uri: str, tuned: Tuned, validation: IntArray
) -> Trial:
    labels = evidence.labels
    outputs = tuned.validation / tuned.member.temperature
    shown = outputs if labels.kind == "regression" else to_probabilities(labels.kind, outputs)
    predictions, losses = _blank(evidence)
    predictions[validation] = shown
    losses[validation] = example_losses(labels.take(validation), shown)
    candidate = Candidate(uri, tuned.member.layers, tuning)
    return Trial(
        candidates=(candidate,),
        settings=(float("nan"),),
        temperatures=(tuned.member.temperature,),
        predictions=predictions,
        temperature=1.0,
        losses=losses,
        score=evidence.score(predictions),
        seconds=tuned.cost.seconds,
        tuned={candidate: tuned},
        starts=(None,),
    )


def _blank(evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    n, outputs = len(evidence.labels), evidence.labels.outputs
    return np.full((n, outputs), np.nan), np.full(n, np.nan)


def _shares(evidence: Evidence, kinds: Mapping[str, Trial]) -> dict[str, float]:
    """Return how much kinds count in their mean, the most first; those of a few hundredths are
    left out."""
    judged = np.logical_and.reduce([trial.judged for trial in kinds.values()])
    losses = np.stack([trial.losses[judged] for trial in kinds.values()])
    if evidence.labels.kind == "regression":
        # Of errors that are normal, with the variance that the best leaves.
        losses = losses / max(2 * float(losses.mean(axis=1).min()), TINY)
    shares = shares_of(losses, evidence.units[judged])
    kept = {n: float(s) for n, s in zip(kinds, shares, strict=True) if s >= LEAST_SHARE}
    total = sum(kept.values())
    return {n: kept[n] / total for n in sorted(kept, key=kept.__getitem__, reverse=True)}


def shares_of(losses: FloatArray, units: IntArray) -> FloatArray:
    """Return (K,) shares that sum to one, by what each of K cost on the same rows.

    They are in proportion to exp(−units · mean loss), as the probabilities of models are, averaged
    over Bayesian bootstraps of the units, which spreads them where few rows tell little: pseudo-BMA
    of Yao, Vehtari, Simpson and Gelman 2018, Using stacking to average Bayesian predictive
    distributions.

    Args:
        losses: (K, m) negative log-likelihoods.
        units: (m,) rows of one unit are not independent of each other.
    """
    _, own = np.unique(units, return_inverse=True)
    sums = np.stack([np.bincount(own, one) for one in losses])
    sizes = np.bincount(own)
    drawn = np.random.default_rng(0).dirichlet(np.ones(len(sizes)), BOOTSTRAPS)
    total = len(sizes) * (drawn @ sums.T) / (drawn @ sizes)[:, None]
    each = np.exp(total.min(axis=1, keepdims=True) - total)
    return np.asarray((each / each.sum(axis=1, keepdims=True)).mean(axis=0))


def _mean_of_kinds(
    evidence: Evidence, kinds: Sequence[tuple[Trial, float]], trials: Sequence[Trial]
) -> Trial:
    """Average kinds by their shares, however many members each has."""
    alone = {t.candidates[0]: t for t in trials if len(t.candidates) == 1}
    each = [np.mean([alone[c].predictions for c in k.candidates], axis=0) for k, _ in kinds]
    mean = np.average(each, axis=0, weights=[share for _, share in kinds])
    rows = np.flatnonzero(np.isfinite(mean).all(axis=1))
    labels = evidence.labels.take(rows)
    temperature, shown = tempered(labels, mean[rows])
    predictions, losses = _blank(evidence)
    predictions[rows], losses[rows] = shown, example_losses(labels, shown)
    members = [(k, i, share) for k, share in kinds for i in range(len(k.candidates))]
    return Trial(
        candidates=tuple(k.candidates[i] for k, i, _ in members),
        settings=tuple(k.settings[i] for k, i, _ in members),
        temperatures=tuple(k.temperatures[i] for k, i, _ in members),
        predictions=predictions,
        temperature=temperature,
        losses=losses,
        score=evidence.score(predictions),
        seconds=0.0,
        weights=tuple(share / len(k.candidates) for k, _, share in members),
        tuned={c: t for k, _ in kinds for c, t in k.tuned.items()},
        starts=tuple(k.starts[i] for k, i, _ in members),
    )
