"""Targets of one data set in the terms of a model that was fitted on another."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count, printable
from retarget.core.types import Kind
from retarget.tasks.task import Problem, Task


def align_targets(task: Task, kind: Kind, classes: Sequence[str]) -> Task:
    """Return the labelled examples that a model can be judged on, targets in its classes' order.

    Examples of classes that the model does not know are left out and named.

    Raises:
        DataError: the targets are of another kind.
    """
    if task.kind != kind:
        raise DataError(
            f"{task.name} was read as {task.kind}, but the model does {kind}. Name the column of "
            f"targets, or say --kind {kind}."
        )
    task = task.take(np.flatnonzero(task.labelled))
    if kind == "regression":
        return task
    place = {name: i for i, name in enumerate(classes)}
    if kind == "tagging":
        return _known_spans(replace(task, classes=tuple(classes)), place)
    to_model = np.array([place.get(name, -1) for name in task.classes], dtype=np.int64)
    targets = task.examples.targets
    if kind == "classification":
        moved = to_model[targets]
        known = moved >= 0
    else:
        moved = np.zeros((len(task), len(classes)), dtype=np.float32)
        moved[:, to_model[to_model >= 0]] = targets[:, to_model >= 0]
        known = ~(targets[:, to_model < 0] > 0.5).any(axis=1)
    examples = replace(task.examples, targets=moved)
    aligned = replace(task, classes=tuple(classes), examples=examples)
    return _left_out(aligned, known, [n for n in task.classes if n not in place])


def _known_spans(task: Task, known: Mapping[str, int]) -> Task:
    """Return a tagging task without the spans of types that the model doesn't know, named."""
    examples, strange = task.examples, Counter[str]()
    targets = np.empty(len(task), dtype=object)
    for i, spans in enumerate(examples.targets):
        targets[i] = tuple(span for span in spans if span.label in known)
        strange.update(span.label for span in spans if span.label not in known)
    task = replace(task, examples=replace(examples, targets=targets))
    if not strange:
        return task
    named = ", ".join(f"{printable(name, 40)}: {n:,}" for name, n in strange.most_common(10))
    what = (
        f"{count(sum(strange.values()), 'span')} of types that the model doesn't know ({named}),"
        " not judged."
    )
    return task.with_problems(Problem("ignored", tuple(strange), what))


def _left_out(task: Task, known: "np.typing.NDArray[np.bool_]", strangers: list[str]) -> Task:
    if known.all():
        return task
    lost = tuple(task.examples.names[i] for i in np.flatnonzero(~known))
    named = ", ".join(printable(name, 40) for name in strangers[:10])
    problem = Problem(
        "ignored",
        lost,
        f"The model does not know {count(len(strangers), 'class', 'classes')} of this data "
        f"({named}): their examples can't judge it.",
        left_out=True,
    )
    return task.take(np.flatnonzero(known)).with_problems(problem)
