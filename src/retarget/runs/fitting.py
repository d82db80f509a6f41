"""The stages of a fit, from material to a run directory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retarget.core.clock import Clock
from retarget.core.config import FitConfig
from retarget.core.types import IntArray
from retarget.evaluation.curve import fit_curve
from retarget.evaluation.evaluate import evaluate
from retarget.evaluation.gain import gain, verdict
from retarget.evaluation.metrics import headline
from retarget.evaluation.metrics import metric as find_metric
from retarget.evaluation.protocol import plan, unfolded
from retarget.evaluation.results import Evaluation, Gain, LearningCurve
from retarget.evaluation.robustness import Robustness
from retarget.features.material import Material
from retarget.runs.breakdown import learned_entities, seen_entities, sizes_of
from retarget.runs.carrying import carrying_words
from retarget.runs.directory import (
    PREDICTIONS,
    read_record,
    write_adapters,
    write_model,
    write_record,
)
from retarget.runs.earlier import folds_before
from retarget.runs.kinds import measure_drift, measure_robustness, method_records
from retarget.runs.marking import marked_mistakes
from retarget.runs.mistakes import keep_mistakes
from retarget.runs.predictions import JudgedTable, write_predictions
from retarget.runs.record import (
    chosen_record,
    feature_map,
    protocol_record,
    task_record,
    training_notes,
    trial_records,
    versions,
)
from retarget.runs.schema import Mistake, RunRecord
from retarget.runs.trying import stresses
from retarget.runs.verify import EXAMPLES, FreshProcess, verify
from retarget.selection.baselines import Baseline, strongest
from retarget.selection.judge import Judged, Study
from retarget.selection.learning import measure_curve
from retarget.selection.recalled import recalled_curve
from retarget.sources.registry import resolve


@dataclass(frozen=True)
class Fitted:
    """All that a fit found, before it is written down."""

    config: FitConfig
    material: Material
    study: Study
    ours: Judged
    baselines: tuple[Baseline, ...]
    clock: Clock


def plan_study(material: Material, config: FitConfig) -> Study:
    """Decide who judges and by which metric, before anything is fitted.

    Raises:
        UsageError: an unknown metric. StoreError: `split_from` names no run, or a damaged one.
    """
    task = material.task
    kept, dealt = frozenset[str](), None
    if config.split_from:
        earlier = read_record(Path(config.split_from))
        kept = frozenset(earlier.protocol.test_ids)
        if earlier.protocol.mode == "cross-fitting":
            dealt = folds_before(Path(config.split_from), earlier, task)
    protocol = plan(
        task,
        folds=config.folds,
        seed=config.seed,
        kept=kept,
        dealt=dealt,
        near=material.near,
        keep_leaks=config.keep_leaks,
    )
    rows, owners = material.rows, None
    if rows is not task:
        owners = material.owners
        protocol = unfolded(protocol, owners)
    metric = config.metric or headline(rows.kind, rows.examples.targets[protocol.choosing])
    metric = find_metric(metric, rows.kind).name
    return Study(rows, protocol, metric, material.order.pooling, owners)


def write_run(fitted: Fitted, stage: Path, fresh: FreshProcess) -> RunRecord:
    """Judge, once; write everything a run keeps; check the model in a fresh process."""
    clock, study, ours = fitted.clock, fitted.study, fitted.ours
    with clock("judging"):
        evaluation = _evaluation(fitted)
        gains = _gains(fitted, evaluation.metric)
        stressed = _stressed(fitted) if stresses(fitted.config) else {}
        methods = method_records(study, ours, stressed)
        drift = measure_drift(study, ours, fitted.material)
        carrying = carrying_words(study, ours, fitted.material, fitted.baselines)
    with clock("learning curve"):
        curve = _curve(fitted) if fitted.config.learning_curve else None
    with clock("saving"):
        table = _judged_table(fitted)
        write_predictions(table, stage / PREDICTIONS)
        model = write_model(ours.model, [resolve(uri) for uri in ours.model.sources], stage)
        write_adapters(ours.model, ours.selection.chosen.tuned.values(), model)
        mistakes = _mistakes(fitted, stage)
    with clock("verifying"):
        verified = _verify(fitted, model, fresh)
    against = strongest(fitted.baselines, study.metric) if fitted.baselines else ""
    record = RunRecord(
        config=fitted.config,
        task=task_record(fitted.material),
        protocol=protocol_record(
            study.protocol,
            fitted.material.task,
            study.examples_of(study.protocol.choosing),
            study.examples_of(study.protocol.judging),
            None if study.owners is None else learned_entities(study, fitted.material.task),
        ),
        extraction=fitted.material.costs,
        notes=(*fitted.material.notes, *training_notes(ours)),
        trials=trial_records(ours),
        chosen=chosen_record(ours),
        test=evaluation,
        gain=gains,
        verdict=verdict(
            gains,
            evaluation.metric,
            against,
            judged=len(study.examples_of(study.protocol.judging)),
            labelled=len(study.examples_of(study.labelled)),
        ),
        learning_curve=curve,
        methods=methods,
        drift=drift,
        mistakes=mistakes,
        map=feature_map(ours, fitted.material, study.protocol.judging),
        carrying=carrying,
        seconds=clock.seconds(),
        seed=fitted.config.seed,
        device=_device(fitted),
        versions=versions(),
        verified=verified,
    )
    write_record(record, stage)
    return record


def _evaluation(fitted: Fitted) -> Evaluation:
    study, ours, task = fitted.study, fitted.ours, fitted.material.task
    examples, rows = study.task.examples, study.protocol.judging
    temperatures = [m.temperature for m in ours.model.members]
    return evaluate(
        kind=study.task.kind,
        classes=study.task.classes,
        targets=examples.targets[rows],
        predictions=ours.predictions,
        uncalibrated=ours.uncalibrated,
        temperature=float(np.mean(temperatures)) * ours.model.temperature,
        metric=study.metric,
        domains=examples.domains[rows],
        seen=None if study.owners is None else seen_entities(study, task),
        sizes=sizes_of(task, rows if study.owners is None else study.owners[rows]),
        **study.judging(),
    )


def _gains(fitted: Fitted, metric: str) -> dict[str, Gain]:
    study = fitted.study
    targets = study.task.examples.targets[study.protocol.judging]
    return {
        baseline.name: gain(
            metric,
            study.task.kind,
            targets,
            fitted.ours.predictions,
            baseline.predictions,
            **study.judging(),
        )
        for baseline in fitted.baselines
    }


def _stressed(fitted: Fitted) -> dict[str, Robustness]:
    return measure_robustness(fitted.study, fitted.ours, fitted.material)


def _curve(fitted: Fitted) -> LearningCurve | None:
    ours = fitted.ours
    frozen = [t for t in (ours.selection.chosen, *ours.selection.kinds.values()) if not t.tuned]
    if not frozen:
        return None
    evidence, chosen, seed = ours.evidence, frozen[0], fitted.config.seed
    sizes, scores = recalled_curve(
        evidence, chosen, seed, lambda: measure_curve(evidence, chosen, seed)
    )
    if not sizes:
        return None
    labels = len(fitted.study.examples_of(ours.evidence.rows))
    share = labels / len(ours.evidence.labels)
    return fit_curve(
        fitted.study.metric,
        [max(1, round(share * size)) for size in sizes],
        scores,
        labels=labels,
        seed=seed,
    )


def _judged_table(fitted: Fitted) -> JudgedTable:
    study = fitted.study
    examples, rows = study.task.examples, study.protocol.judging
    return JudgedTable(
        ids=examples.ids[rows],
        names=tuple(examples.names[i] for i in rows),
        targets=examples.targets[rows],
        predictions=fitted.ours.predictions,
        groups=examples.groups[rows],
        domains=examples.domains[rows],
        folds=study.protocol.folds,
        weights=examples.weights[rows],
        sequences=None if study.owners is None else study.owners[rows],
    )


def _mistakes(fitted: Fitted, stage: Path) -> tuple[Mistake, ...]:
    study, told = fitted.study, fitted.ours.predictions
    judging = study.protocol.judging
    if study.owners is None:
        return keep_mistakes(study.task, judging, told, stage)
    return marked_mistakes(fitted.material.task, study.task, study.owners, judging, told)


def _verify(fitted: Fitted, model: Path, fresh: FreshProcess) -> str:
    study, ours, task = fitted.study, fitted.ours, fitted.material.task
    chosen = _spread(study.examples_of(study.protocol.choosing), EXAMPLES)
    owners = fitted.material.owners
    rows = chosen if study.owners is None else np.flatnonzero(np.isin(owners, chosen))
    features = [fitted.material.features[uri].take(rows) for uri in ours.model.sources]
    ((name, modality),) = task.inputs.items()
    references = [task.examples.inputs[name][i] for i in chosen]
    sequences = None if study.owners is None else owners[rows]
    expected = ours.model.predict([f.layer for f in features], sequences)
    sources = [resolve(uri) for uri in ours.model.sources]
    return verify(model, modality, references, expected, fresh, sources)


def _device(fitted: Fitted) -> str:
    """Return where the encoders ran. Naming a device that was not used would import torch."""
    if not any(cost.extracted for cost in fitted.material.costs):
        return "none: all features were kept from before"
    from retarget.features.devices import pick_device

    return str(pick_device(fitted.config.device))


def _spread(rows: IntArray, wanted: int) -> IntArray:
    return rows[np.linspace(0, len(rows) - 1, min(wanted, len(rows))).astype(np.int64)]
