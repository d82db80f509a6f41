"""Turning what a fit found into the records that a run keeps."""

import platform
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from retarget.core.hashing import versions_of
from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.protocol import Protocol
from retarget.features.material import Material
from retarget.methods.tuning import Tuned
from retarget.runs.mistakes import target_in_words
from retarget.runs.schema import (
    Chosen,
    MapPoint,
    MixRecord,
    ProblemRecord,
    ProtocolRecord,
    TaskRecord,
    TrainingRecord,
)
from retarget.runs.schema import Trial as TrialRecord
from retarget.selection.judge import Judged
from retarget.selection.trials import Evidence, Trial, standard_error
from retarget.tasks.task import Problem, Task

NAMED = 50
MAPPED = 1_000
ITERATIONS = 30
LIBRARIES = (
    "retarget",
    "numpy",
    "torch",
    "timm",
    "transformers",
    "accelerate",
    "peft",
    "onnxruntime",
    "pillow",
)


def task_record(material: Material) -> TaskRecord:
    """Describe the task as it was judged."""
    task = material.task
    examples, labelled = task.examples, task.labelled
    counts: dict[str, int] = {}
    if task.kind == "classification":
        found = np.bincount(examples.targets[labelled], minlength=len(task.classes))
        counts = dict(zip(task.classes, map(int, found), strict=True))
    elif task.kind == "multilabel":
        found = examples.targets[labelled].sum(axis=0)
        counts = dict(zip(task.classes, map(int, found), strict=True))
    elif task.kind == "tagging":
        spans = Counter(s.label for t in examples.targets[labelled] for s in t)
        counts = {name: spans[name] for name in task.classes}
    left_out = {name for p in task.problems if p.left_out for name in p.where}
    return TaskRecord(
        name=task.name,
        origin=task.origin,
        layout=task.layout,
        why=task.why,
        kind=task.kind,
        inputs=dict(task.inputs),
        classes=task.classes,
        class_counts=counts,
        examples=len(task),
        labelled=int(labelled.sum()),
        unlabelled=int((~labelled).sum()),
        groups=len(set(examples.groups) - {""}),
        domains=tuple(sorted(set(map(str, examples.domains)) - {""})),
        quarantined=len(left_out),
        problems=problem_records(task.problems),
        words=0 if material.rows is task else len(material.rows),
    )


def problem_records(problems: Sequence[Problem]) -> tuple[ProblemRecord, ...]:
    """Gather problems of one kind and reason into one record each."""
    gathered: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for p in problems:
        gathered[p.kind, p.what, p.left_out].extend(p.where)
    return tuple(
        ProblemRecord(
            kind=kind, what=what, where=tuple(names[:NAMED]), examples=len(names), left_out=out
        )
        for (kind, what, out), names in gathered.items()
    )


def protocol_record(
    protocol: Protocol,
    task: Task,
    choosing: IntArray,
    judging: IntArray,
    entities: tuple[str, ...] | None = None,
) -> ProtocolRecord:
    """Describe who chose and who judged: examples of the task; `entities` as in the record."""
    held_out = protocol.mode == "hold-out"
    kept = sorted(set(map(str, task.examples.ids[judging]))) if held_out else []
    return ProtocolRecord(
        mode=protocol.mode,
        why=protocol.why,
        folds=protocol.inner if held_out else int(protocol.folds.max()) + 1,
        choosing=len(choosing),
        judging=len(judging),
        leaks=protocol.leaks,
        test_ids=tuple(kept),
        learned_ids=tuple(sorted(set(map(str, task.examples.ids[choosing])))),
        learned_entities=entities,
    )


def trial_records(judged: Judged) -> tuple[TrialRecord, ...]:
    """Describe every trial behind the model handed over, in the order of sources and depth."""
    selection, evidence = judged.selection, judged.evidence
    made = [_trial_record(trial, evidence, trial is selection.chosen) for trial in selection.trials]
    return tuple(sorted(made, key=lambda t: t.loss))


def _trial_record(trial: Trial, evidence: Evidence, chosen: bool) -> TrialRecord:
    used = dict.fromkeys(name for c in trial.candidates for name in c.layers)
    table = evidence.features.get(trial.source)
    layers = [name for name in table.layers if name in used] if table else list(used)
    single = len(trial.candidates) == 1
    setting = trial.settings[0]
    return TrialRecord(
        source=trial.source,
        layers=tuple(layers),
        method=trial.candidates[0].method.name if single else "mean" if trial.tuned else "average",
        setting=setting if single and np.isfinite(setting) else None,
        loss=trial.loss,
        loss_se=standard_error(trial.losses[trial.judged], evidence.units[trial.judged]),
        score=trial.score,
        seconds=trial.seconds,
        seconds_per_example=table.seconds_per_example if table else 0.0,
        operations=table.cost if table else 0.0,
        chosen=chosen,
        training=_training_record(trial.tuned[trial.candidates[0]])
        if single and trial.tuned
        else None,
    )


def _training_record(tuned: Tuned) -> TrainingRecord:
    return TrainingRecord(
        cost=tuned.cost,
        epochs=tuned.epochs,
        taken=tuned.taken,
        why=tuned.why,
        gap=tuned.gap,
        settings=tuned.settings,
        mixes=tuple(
            MixRecord(share=m.share, validation_loss=m.validation_loss, score=m.score)
            for m in tuned.mixes
        ),
        notes=tuned.notes,
    )


def training_notes(judged: Judged) -> tuple[str, ...]:
    """Return what the trainings behind the model noted, each once."""
    trained = [t for trial in judged.selection.kinds.values() for t in trial.tuned.values()]
    return tuple(dict.fromkeys(note for one in trained for note in one.notes))


def chosen_record(judged: Judged) -> Chosen:
    """Describe what was handed over, member by member."""
    selection = judged.selection
    by_candidate = {t.candidates: t for t in selection.trials}
    members = tuple(
        _trial_record(by_candidate[(candidate,)], judged.evidence, chosen=True)
        for candidate in selection.chosen.candidates
    )
    return Chosen(source=selection.chosen.source, members=members, why=selection.why)


def feature_map(judged: Judged, material: Material, judging: IntArray) -> tuple[MapPoint, ...]:
    """Place labelled examples by the two principal components of the chosen layers.

    Words have several classes in every example and are not placed.
    """
    task = material.task
    if task.kind == "tagging":
        return ()
    labelled = np.flatnonzero(task.labelled)
    # Ids are digests: their order is a sample that depends on neither seed nor order of files.
    rows = np.sort(labelled[np.argsort(task.examples.ids[labelled])[:MAPPED]])
    member = judged.model.members[0]
    features = material.features[judged.model.sources[member.source]]
    x = member.scale(np.concatenate([features.layer(n, rows) for n in member.layers], axis=1))
    places = _principal(x - x.mean(axis=0))
    apart = set(map(int, judging))
    return tuple(
        MapPoint(
            x=float(places[i, 0]),
            y=float(places[i, 1]),
            label=target_in_words(task, int(row)),
            domain=str(task.examples.domains[row]),
            judged=int(row) in apart,
        )
        for i, row in enumerate(rows)
    )


def _principal(x: FloatArray) -> FloatArray:
    """Return (n, 2) coordinates on the two directions of most variance, by orthogonal iteration."""
    width = x.shape[1]
    if width < 2:
        return np.pad(x, ((0, 0), (0, 2 - width))).astype(np.float64)
    start = np.random.default_rng(0).normal(size=(width, 2)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(x.T @ (x @ basis))[0]
    return np.asarray(x @ basis, dtype=np.float64)


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    found = {"python": platform.python_version()}
    return found | {name: version for name, version in versions_of(LIBRARIES).items() if version}
