"""Choosing what to transfer: every candidate judged out of fold, on choosing data alone."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray, Pooling
from retarget.evaluation.calibration import apply_temperature, fit_temperature
from retarget.features.table import Table
from retarget.methods.base import Head, Labels
from retarget.methods.losses import calibrated, example_losses
from retarget.methods.model import Member, TransferModel, log_odds
from retarget.methods.scale import BlockScale
from retarget.methods.tuning import Tuning
from retarget.selection.candidates import Candidate
from retarget.selection.recalled_trials import recalled_head, recalled_trial
from retarget.selection.trials import Evidence, Selection, Trial, luck, told_apart_by

# How many of the best an average takes: one more for every so many labels. With fewer the lowest
# losses are luck, and what an average takes whatever the evidence says does better.
AVERAGED, LABELS_EACH = 3, 20
# Of more rows, such as the words of many sentences, so many are compared; what is chosen is fitted
# on all of them.
MOST_JUDGED = 10_000
# Groups of layers on which a method is tried that follows a cheaper one.
FOLLOWED = 2
ANCHORED = "probe"


def select(evidence: Evidence, candidates: Sequence[Candidate], average: bool = True) -> Selection:
    """Judge every candidate out of fold, add an average a source, and choose.

    A source is spoken for by its average, which varies least with the labels that happen to be
    there, unless a single trial is better by more than luck explains. Of the sources whose
    out-of-fold loss can't be told apart from the lowest by one standard error of the paired
    difference, the cheapest to run is taken (the one-standard-error rule of Breiman et al. 1984,
    Classification and Regression Trees).
    """
    trials: list[Trial] = []
    whole, (evidence, rows) = evidence, evidence.sample(MOST_JUDGED)
    with progress("Judging candidates out of fold", len(candidates), "candidates") as meter:
        for uri in dict.fromkeys(c.source for c in candidates):
            own = [c for c in candidates if c.source == uri]
            judged: list[Trial] = []
            for candidate in sorted(own, key=lambda c: bool(_leader(c))):
                if _promising(candidate, judged):
                    judged.append(attempt(evidence, candidate))
                meter.advance()
            judged.sort(key=lambda t: own.index(t.candidates[0]))
            trials += judged
            if average and len(judged) > 1:
                trials.append(_average(evidence, judged))
    found = choose(evidence, trials)
    return found if whole is evidence else _over_all(found, whole, rows)


def _leader(candidate: Candidate) -> str:
    return "" if isinstance(candidate.method, Tuning) else candidate.method.follows


def _promising(candidate: Candidate, judged: Sequence[Trial]) -> bool:
    """Return whether a candidate is worth trying: of a method that follows another, on the single
    layers of the source where that did best."""
    before = [
        t
        for t in judged
        if t.candidates[0].method.name == _leader(candidate) and len(t.candidates[0].layers) == 1
    ]
    best = sorted(before, key=lambda t: t.loss)[:FOLLOWED]
    return not before or any(t.candidates[0].layers == candidate.layers for t in best)


def _over_all(found: Selection, whole: Evidence, rows: IntArray) -> Selection:
    """Return a choice that was made on a sample as one of all rows, of which those were judged."""
    made: dict[int, Trial] = {}
    for trial in found.trials:
        predictions = np.full((len(whole.labels), trial.predictions.shape[1]), np.nan)
        losses = np.full(len(whole.labels), np.nan)
        predictions[rows], losses[rows] = trial.predictions, trial.losses
        made[id(trial)] = replace(trial, predictions=predictions, losses=losses)
    return replace(found, chosen=made[id(found.chosen)], trials=tuple(made.values()))


def attempt(evidence: Evidence, candidate: Candidate) -> Trial:
    """Judge one candidate out of fold, its setting chosen by the same outputs; or read what came
    of it before."""
    return recalled_trial(evidence, candidate, lambda: _attempt(evidence, candidate))


def _attempt(evidence: Evidence, candidate: Candidate) -> Trial:
    started = time.perf_counter()
    assert not isinstance(candidate.method, Tuning), "a training is not cross-fitted"
    x = _scaled(evidence.features[candidate.source], candidate)[1]
    found = candidate.method.cross_fit(x, evidence.labels, evidence.folds)
    settings = candidate.method.settings(evidence.labels)
    best: tuple[float, int, float, FloatArray, FloatArray] | None = None
    for s, z in enumerate(found.outputs):
        if not np.isfinite(z).all():
            continue
        temperature, predictions = calibrated(evidence.labels, z)
        losses = example_losses(evidence.labels, predictions)
        if best is None or losses.mean() < best[0]:
            best = (float(losses.mean()), s, temperature, predictions, losses)
    assert best is not None, f"{candidate.method.name} gave no finite outputs"
    _, s, temperature, predictions, losses = best
    return Trial(
        candidates=(candidate,),
        settings=(settings[s],),
        temperatures=(temperature,),
        predictions=predictions,
        temperature=1.0,
        losses=losses,
        score=evidence.score(predictions),
        seconds=time.perf_counter() - started,
        starts=(found.heads[s],),
    )


def refit(
    evidence: Evidence, trial: Trial, classes: tuple[str, ...], pooling: Pooling
) -> TransferModel:
    """Fit a trial's members on all rows of the evidence; what was trained is as it was left."""
    members: list[Member] = []
    uris: list[str] = []
    weights = trial.weights or (1.0,) * len(trial.candidates)
    starts = trial.starts or (None,) * len(trial.candidates)
    parts = zip(trial.candidates, trial.settings, trial.temperatures, weights, starts, strict=True)
    for candidate, setting, temperature, weight, start in parts:
        uri, member = _member(evidence, trial, candidate, setting, start)
        if uri not in uris:
            uris.append(uri)
        number = uris.index(uri)
        members.append(replace(member, temperature=temperature, source=number, weight=weight))
    return TransferModel(
        kind=evidence.labels.kind,
        classes=classes,
        members=tuple(members),
        temperature=trial.temperature,
        sources=tuple(uris),
        pooling=pooling,
    )


def _member(
    evidence: Evidence, trial: Trial, candidate: Candidate, setting: float, start: Head | None
) -> tuple[str, Member]:
    """Return the URI of a member's encoder, and the member."""
    if isinstance(candidate.method, Tuning):
        tuned = trial.tuned[candidate]
        return tuned.uri, tuned.member
    method, labels = candidate.method, evidence.labels
    scale, x = _scaled(evidence.features[candidate.source], candidate)
    head = recalled_head(
        evidence, candidate, setting, start, lambda: method.fit(x, labels, setting, start)
    )
    return candidate.source, Member(candidate.layers, candidate.method.name, scale, head)


def _scaled(features: Table, candidate: Candidate) -> tuple[BlockScale, FloatArray]:
    blocks = [features.layer(name) for name in candidate.layers]
    x = np.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
    scale = BlockScale.fit(x, [b.shape[1] for b in blocks])
    return scale, scale(x)


def _average(evidence: Evidence, judged: Sequence[Trial]) -> Trial:
    """Average the best trials of one source, a probe on its deepest and one on most layers."""
    started = time.perf_counter()
    best = _members(judged, len(evidence.labels))
    labels = evidence.labels
    mean = np.asarray(np.mean([t.predictions for t in best], axis=0))
    temperature, mean = tempered(labels, mean)
    return Trial(
        candidates=tuple(t.candidates[0] for t in best),
        settings=tuple(t.settings[0] for t in best),
        temperatures=tuple(t.temperatures[0] for t in best),
        predictions=mean,
        temperature=temperature,
        losses=example_losses(labels, mean),
        score=evidence.score(mean),
        seconds=time.perf_counter() - started,
        starts=tuple(t.starts[0] for t in best),
    )


def tempered(labels: Labels, mean: FloatArray) -> tuple[float, FloatArray]:
    """Return the temperature that suits averaged predictions (n, K), and these at it."""
    if labels.kind == "regression":
        return 1.0, mean
    logits = log_odds(labels.kind, mean)
    temperature = fit_temperature(logits, labels.values, labels.weights, labels.kind)
    return temperature, apply_temperature(mean, temperature, labels.kind)


def _members(judged: Sequence[Trial], labels: int) -> list[Trial]:
    """Return the best trials and the anchors, each once, best first."""
    ranked = sorted(judged, key=lambda t: t.loss)
    probes = [t for t in judged if t.candidates[0].method.name == ANCHORED]
    anchors = []
    if probes:
        single = [t for t in probes if len(t.candidates[0].layers) == 1]
        anchors = [*single[-1:], max(probes, key=lambda t: len(t.candidates[0].layers))]
    best = min(AVERAGED, max(labels // LABELS_EACH, 0 if anchors else 1))
    wanted = [*ranked[:best], *anchors]
    return [t for t in ranked if any(t is w for w in wanted)]


def choose(evidence: Evidence, trials: Sequence[Trial]) -> Selection:
    """Choose among trials of any sources by the rule of `select`."""
    by_source: dict[str, list[Trial]] = {}
    for trial in trials:
        by_source.setdefault(trial.source, []).append(trial)
    spoken = [_representative(evidence, own) for own in by_source.values()]
    best = min(spoken, key=lambda t: t.loss)
    alike = [t for t in spoken if told_apart_by(best, t, evidence.units) <= 1.0]
    chosen = min(alike, key=lambda t: (evidence.features[t.source].cost, t.loss))
    return Selection(chosen, tuple(trials), _why(chosen, best, len(trials)))


def _representative(evidence: Evidence, own: Sequence[Trial]) -> Trial:
    """Return the trial that speaks for a source: its average, unless one is clearly better.

    The lowest of many losses is low by luck too.
    """
    lowest = min(own, key=lambda t: t.loss)
    averages = [t for t in own if len(t.candidates) > 1]
    if not averages:
        return lowest
    apart = told_apart_by(lowest, averages[0], evidence.units)
    return lowest if apart > luck(len(own), evidence.units) else averages[0]


def _why(chosen: Trial, best: Trial, tried: int) -> str:
    """Say why, for people."""
    if tried == 1:
        return "It was the only one tried."
    if chosen.source != best.source:
        return (
            f"It is cheaper to run than {best.source} and can't be told apart from it by one "
            "standard error of the out-of-fold loss."
        )
    if len(chosen.candidates) > 1:
        return "No single member was better than the average by more than luck explains."
    return "It had the lowest out-of-fold loss, by more than luck explains."
