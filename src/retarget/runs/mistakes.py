"""The most confident mistakes, with small pictures where the modality has them."""

from pathlib import Path

import numpy as np

from retarget.core.errors import UnreadableInput
from retarget.core.types import FloatArray, IntArray
from retarget.runs.directory import PICTURES
from retarget.runs.schema import Mistake
from retarget.tasks.modalities import caption, picture
from retarget.tasks.task import Task

SHOWN = 12
SIDE = 192
CHARACTERS = 400


def keep_mistakes(
    task: Task, judging: IntArray, predictions: FloatArray, stage: Path
) -> tuple[Mistake, ...]:
    """Describe the mistakes made with most confidence, and keep their pictures in `stage`.

    For regression these are the largest errors, for multilabel the least probable answers;
    their `confidence` is 0 for regression and the share given to the wrong answer otherwise.
    """
    made: list[Mistake] = []
    ((name, modality),) = task.inputs.items()
    for place, confidence, predicted in _worst(task, judging, predictions):
        row = int(judging[place])
        made.append(
            Mistake(
                name=task.examples.names[row],
                target=target_in_words(task, row),
                predicted=predicted,
                confidence=confidence,
                picture=_picture(task, row, len(made), stage),
                text=caption(modality, task.examples.inputs[name][row], CHARACTERS),
            )
        )
    return tuple(made)


def _worst(task: Task, judging: IntArray, predictions: FloatArray) -> list[tuple[int, float, str]]:
    targets = task.examples.targets[judging]
    if task.kind == "regression":
        order = np.argsort(-np.abs(predictions - targets), kind="stable")[:SHOWN]
        return [(int(i), 0.0, f"{predictions[i]:.4g}") for i in order]
    if task.kind == "classification":
        called = predictions.argmax(axis=1)
        confidence = np.where(called != targets, predictions.max(axis=1), -1.0)
    else:
        wrong = np.abs(predictions - targets)
        confidence = np.where((wrong > 0.5).any(axis=1), wrong.max(axis=1), -1.0)
    worst = [int(i) for i in np.argsort(-confidence, kind="stable")[:SHOWN]]
    return [
        (i, float(confidence[i]), _called(task, predictions[i])) for i in worst if confidence[i] > 0
    ]


def _called(task: Task, probabilities: FloatArray) -> str:
    if task.kind == "classification":
        return task.classes[int(probabilities.argmax())]
    return "|".join(c for c, p in zip(task.classes, probabilities, strict=True) if p > 0.5)


def target_in_words(task: Task, row: int) -> str:
    """Return an example's target as people wrote it: `a|b` for several labels."""
    target = task.examples.targets[row]
    if task.kind == "regression":
        return f"{float(target):.4g}"
    if task.kind == "classification":
        return task.classes[int(target)]
    return "|".join(c for c, t in zip(task.classes, target, strict=True) if t > 0.5)


def _picture(task: Task, row: int, number: int, stage: Path) -> str | None:
    ((name, modality),) = task.inputs.items()
    try:
        shown = picture(modality, task.examples.inputs[name][row], SIDE)
    except UnreadableInput:
        return None
    if shown is None:
        return None
    (stage / PICTURES).mkdir(exist_ok=True)
    (stage / PICTURES / f"{number}.jpg").write_bytes(shown)
    return f"{PICTURES}/{number}.jpg"
