"""Who judged an earlier run whose examples judge again."""

from pathlib import Path

import numpy as np

from retarget.core.errors import StoreError
from retarget.core.types import IntArray
from retarget.runs.directory import PREDICTIONS, RECORD
from retarget.runs.predictions import read_predictions
from retarget.runs.schema import RunRecord
from retarget.tasks.task import Task
from retarget.tasks.unfold import word_id


def folds_before(folder: Path, record: RunRecord, task: Task) -> IntArray:
    """Return (n of task,) the fold in which a cross-fitted run judged an example, -1 for others.

    Examples are known by content. Raises `StoreError` for predictions that aren't of the run.
    """
    table = read_predictions(folder / PREDICTIONS)
    if not np.isin(table.folds, np.arange(record.protocol.folds)).all():
        raise StoreError(
            f"{folder / PREDICTIONS} does not fit {folder / RECORD}: it has other folds. One of "
            "them was damaged or changed; fit again."
        )
    folds = dict(zip(table.ids.tolist(), table.folds.tolist(), strict=True))
    ids = map(str, task.examples.ids)
    # Of tagging the words were judged: a sentence is known by its first.
    judged = (word_id(one, 0) for one in ids) if task.kind == "tagging" else ids
    return np.array([folds.get(one, -1) for one in judged], dtype=np.int64)
