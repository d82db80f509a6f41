"""Tasks under corruption: the same examples as they might reach a model in real use."""

from dataclasses import replace

import numpy as np

from retarget.core.types import Modality
from retarget.tasks.modalities import (
    LOADERS,
    SEVERITIES,
    Corrupted,
    corrupted_id,
    corruption,
)
from retarget.tasks.task import Task

__all__ = ["SEVERITIES", "Corrupted", "corrupted_task", "corruptions"]


def corruptions(modality: Modality) -> tuple[str, ...]:
    """Return the names of a modality's corruptions; none where it has none or can't be read."""
    loader = LOADERS.get(modality)
    return () if loader is None else tuple(loader.corruptions)


def corrupted_task(task: Task, name: str, severity: int) -> Task:
    """Return the task with every input corrupted when it is read. Nothing is read here.

    Ids become others, so that stored features are kept apart; targets, names, splits, groups,
    domains and weights stay. Of several inputs those are corrupted whose modality has this
    corruption.

    Args:
        task: any task, also a corrupted one.
        name: a name in `corruptions` of one of its modalities.
        severity: 1, 2 or 3.

    Raises:
        UsageError: no input has such a corruption, or none so severe.
    """
    able = [column for column, m in task.inputs.items() if name in corruptions(m)]
    for column in able or task.inputs:
        corruption(task.inputs[column], name, severity)
    inputs = dict(task.examples.inputs)
    for column in able:
        inputs[column] = [Corrupted(one, name, severity) for one in inputs[column]]
    ids = [corrupted_id(str(one), name, severity) for one in task.examples.ids]
    examples = replace(task.examples, ids=np.array(ids, dtype=np.str_), inputs=inputs)
    return replace(task, examples=examples)
