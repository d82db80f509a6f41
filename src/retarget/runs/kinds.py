"""Every kind of method beside the others: judged, under corruption, and what it changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.progress import progress
from retarget.core.recall import Arrays, recalled
from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.drift import FEWEST, layer_drift, weight_distance
from retarget.evaluation.evaluate import evaluate
from retarget.evaluation.gain import gain
from retarget.evaluation.results import Evaluation
from retarget.evaluation.robustness import Cell, Outputs, Robustness, robustness
from retarget.features.material import Material
from retarget.runs.schema import Drift, LayerDrift, MethodRecord
from retarget.selection.judge import Judged, Study, mix_of
from retarget.selection.trials import Trial
from retarget.sources.registry import resolve
from retarget.tasks.corruption import corruptions

SEVERITIES = (1, 2, 3)
# So many judging examples tell the share kept to some points; each costs 18 passes.
STRESSED = 200
COMPARED = 500
# Raised whenever the way of weights comes to be measured otherwise.
MOVED = "moved 1"


def method_records(
    study: Study, ours: Judged, stressed: Mapping[str, Robustness]
) -> tuple[MethodRecord, ...]:
    """Describe what speaks for each kind of method, as it did on judging examples."""
    targets = study.task.examples.targets[study.protocol.judging]
    made: list[MethodRecord] = []
    kinds = ours.kinds or ({_only(ours): ours.predictions} if stressed else {})
    first = next(iter(kinds.values()), None)
    for name, predictions in kinds.items():
        kind, share = mix_of(name)
        judged = _evaluation(study, predictions)
        trial = ours.selection.kinds.get(kind)
        made.append(
            MethodRecord(
                name=kind,
                share=_own_share(trial) if share is None else share,
                score=judged.metrics[study.metric],
                test=judged if share is None else None,
                gain=None
                if first is None or predictions is first
                else gain(
                    study.metric,
                    study.task.kind,
                    targets,
                    predictions,
                    first,
                    **study.judging(),
                ),
                trainable=sum(t.cost.trainable for t in trial.tuned.values()) if trial else 0,
                seconds=trial.seconds if trial else 0.0,
                robustness=stressed.get(name),
            )
        )
    return tuple(made)


def _own_share(trial: Trial | None) -> float:
    """Return which share of the tuned weights is handed over of a kind."""
    tuned = list(trial.tuned.values()) if trial else []
    return float(tuned[0].settings.get("share", 1.0)) if len(tuned) == 1 else 1.0


def _evaluation(study: Study, predictions: FloatArray) -> Evaluation:
    examples, rows = study.task.examples, study.protocol.judging
    return evaluate(
        kind=study.task.kind,
        classes=study.task.classes,
        targets=examples.targets[rows],
        predictions=predictions,
        metric=study.metric,
        domains=examples.domains[rows],
        **study.judging(),
    )


def measure_robustness(study: Study, ours: Judged, material: Material) -> dict[str, Robustness]:
    """Judge what spoke for each kind on corrupted judging examples, each by its own round.

    At most `STRESSED` examples are taken, those whose ids come first: a sample that depends on
    neither seed nor order.
    """
    (modality,) = study.task.inputs.values()
    names = corruptions(modality)
    places = _sample(study, study.protocol.judging, STRESSED)
    if not names:
        return {}
    cells = [(name, severity) for name in names for severity in SEVERITIES]
    found = _stress(study, ours, material, places, cells)
    targets = study.task.examples.targets[study.protocol.judging[places]]
    kinds = ours.kinds or {_only(ours): ours.predictions}
    return {
        name: robustness(
            study.metric,
            study.task.kind,
            targets,
            Outputs(kinds[name][places], corrupted),
            **study.judging(places),
        )
        for name, corrupted in found.items()
    }


def _sample(study: Study, rows: IntArray, most: int) -> IntArray:
    """Return the places in `rows` of all rows of `most` examples, those whose ids come first."""
    if study.owners is None:
        return np.sort(np.argsort(study.task.examples.ids[rows], kind="stable")[:most])
    owners = study.owners[rows]
    _, first = np.unique(owners, return_index=True)
    order = np.argsort(study.task.examples.ids[rows[first]], kind="stable")[:most]
    return np.flatnonzero(np.isin(owners, owners[first[order]]))


def _only(ours: Judged) -> str:
    (name,) = ours.selection.kinds
    return name


def _stress(
    study: Study, ours: Judged, material: Material, places: IntArray, cells: Sequence[Cell]
) -> dict[str, dict[Cell, FloatArray]]:
    """Return, by kind and cell, the predictions of the judging examples at `places`."""
    found: dict[str, dict[Cell, FloatArray]] = {}
    with progress("Judging under corruption", len(cells) * len(places), "examples") as meter:
        for part, models in zip(study.rounds(), ours.models, strict=True):
            own = np.flatnonzero(np.isin(places, part.held_out))
            if not len(own):
                continue
            rows = study.protocol.judging[places[own]]
            uris = list(dict.fromkeys(uri for m in models.values() for uri in m.sources))
            for cell in cells:
                tables = material.read_corrupted(uris, rows, *cell)
                for name, model in models.items():
                    layers = [tables[uri].layer for uri in model.sources]
                    made = model.predict(layers, study.judging(places[own])["sequences"])
                    blank = np.full((len(places), *made.shape[1:]), np.nan)
                    found.setdefault(name, {}).setdefault(cell, blank)[own] = made
                meter.advance(len(own))
    return found


@dataclass(frozen=True)
class _Pair:
    """A trained encoder and what it was before."""

    method: str
    before: str
    after: str


def measure_drift(study: Study, ours: Judged, material: Material) -> tuple[Drift, ...]:
    """Say how far every training behind the model handed over moved each layer.

    Trainings from random weights have no source that they could have moved from.
    """
    rows = study.labelled[_sample(study, study.labelled, COMPARED)]
    if len(rows) < FEWEST:
        return ()
    return tuple(
        Drift(method=pair.method, layers=_layers(pair, material, rows))
        for pair in _pairs(ours.selection.kinds)
    )


def _pairs(kinds: Mapping[str, Trial]) -> list[_Pair]:
    found: dict[str, _Pair] = {}
    for trial in kinds.values():
        for candidate, tuned in trial.tuned.items():
            if not getattr(candidate.method, "from_random", False):
                name = candidate.method.name
                found[name] = _Pair(name, candidate.source, tuned.uri)
    return list(found.values())


def _layers(pair: _Pair, material: Material, rows: IntArray) -> tuple[LayerDrift, ...]:
    before, after = (material.read(uri, rows) for uri in (pair.before, pair.after))
    alike = layer_drift(before, after)
    try:
        moved = _weights(pair)
    except SourceError:
        moved = {}
    return tuple(
        LayerDrift(layer=name, weights=_finite(moved.get(name)), cka=_finite(cka))
        for name, cka in alike.items()
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _weights(pair: _Pair) -> dict[str, float]:
    sources = [resolve(uri) for uri in (pair.before, pair.after)]

    def measured() -> Arrays:
        encoders = [source.load() for source in sources]
        groups = {group.layer: group.parameters for group in encoders[0].groups()}
        before, after = (
            {name: value.detach().numpy() for name, value in encoder.named_parameters()}
            for encoder in encoders
        )
        moved = weight_distance(before, after, groups)
        return {"layers": np.array(list(moved), dtype=str), "moved": np.array([*moved.values()])}

    found = recalled(MOVED, [source.fingerprint for source in sources], measured)
    return dict(zip(found["layers"].tolist(), found["moved"].tolist(), strict=True))
