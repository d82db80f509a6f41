"""Predictions of a saved model for new inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.types import FloatArray
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
from retarget.methods.model import TransferModel
from retarget.sources.source import Source
from retarget.tasks.open import open_task
from retarget.tasks.task import Problem, Task

# Inputs are predicted by the thousand, so that a stream of millions starts at once and fits.
CHUNK = 1_024


@dataclass(frozen=True)
class Predictions:
    """Predictions for inputs that could be read, in their order.

    `names` as in `Examples`, `values` (n, K) probabilities or (n,) numbers, `classes` names the
    columns; `problems` names the inputs that were left out, with reasons.
    """

    names: tuple[str, ...]
    values: FloatArray
    classes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each example (classification)."""
        return tuple(self.classes[i] for i in np.argmax(self.values, axis=1))


def predict_task(
    model: TransferModel,
    encoder: Source,
    task: Task,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Predictions:
    """Predict every readable example of a task."""
    made = extract(
        task, [encoder], store=store, pooling=model.pooling, engine=engine, device=device
    )
    rows = np.array([i for i in range(len(task)) if i not in made.unreadable], dtype=np.int64)
    features = made.features[encoder.uri].take(rows)
    unreadable = tuple(
        Problem("unreadable", (task.examples.names[i],), f"{reason}.", left_out=True)
        for i, reason in sorted(made.unreadable.items())
    )
    return Predictions(
        names=tuple(task.examples.names[i] for i in rows),
        values=model.predict(features.layer) if len(rows) else np.empty((0, len(model.classes))),
        classes=model.classes,
        problems=(*task.problems, *unreadable),
    )


def predict_inputs(
    model: TransferModel,
    encoder: Source,
    inputs: Sequence[Any] | str | Path,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Iterator[Predictions]:
    """Predict a folder, or files, arrays or pictures, a thousand at a time."""
    if isinstance(inputs, str | Path) and Path(inputs).is_dir():
        task = open_task(inputs)
        chunks = [np.arange(i, min(i + CHUNK, len(task))) for i in range(0, len(task), CHUNK)]
        tasks: Iterator[Task] = (task.take(rows) for rows in chunks)
    else:
        listed = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        tasks = (open_task(listed[i : i + CHUNK]) for i in range(0, len(listed), CHUNK))
    for part in tasks:
        yield predict_task(model, encoder, part, store=store, engine=engine, device=device)
