"""Predictions of a saved model for new inputs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError, SourceError
from retarget.core.text import printable
from retarget.core.types import FloatArray
from retarget.features.extract import extract
from retarget.features.features import Features
from retarget.features.store import FeatureStore
from retarget.methods.model import TransferModel
from retarget.sources.source import Source
from retarget.tasks.open import open_task
from retarget.tasks.task import Problem, Task
from retarget.tasks.tree import readable

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
    encoders: Sequence[Source],
    task: Task,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Predictions:
    """Predict every readable example of a task."""
    task, values = predict_readable(
        model, encoders, task, store=store, engine=engine, device=device
    )
    return Predictions(task.examples.names, values, model.classes, task.problems)


def predict_readable(
    model: TransferModel,
    encoders: Sequence[Source],
    task: Task,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> tuple[Task, FloatArray]:
    """Return the readable part of a task, problems added, and predictions of its examples."""
    made = extract(task, encoders, store=store, pooling=model.pooling, engine=engine, device=device)
    rows, unreadable = made.readable(task)
    features = [made.features[encoder.uri].take(rows) for encoder in encoders]
    _check_fits(model, features)
    values = model.predict([f.layer for f in features]) if len(rows) else _nothing(model)
    return task.take(rows).with_problems(*unreadable), values


def predict_inputs(
    model: TransferModel,
    encoders: Sequence[Source],
    inputs: Any,
    *,
    store: FeatureStore,
    engine: str = "auto",
    device: str = "auto",
) -> Iterator[Predictions]:
    """Predict a folder, or files, arrays or pictures, a thousand at a time.

    Of files that are all missing or broken the problems are yielded: a stream goes on.
    """
    told: dict[str, Any] = {"store": store, "engine": engine, "device": device}
    if isinstance(inputs, str | Path) and Path(inputs).is_dir():
        task = open_task(inputs)
        for i in range(0, len(task), CHUNK):
            rows = np.arange(i, min(i + CHUNK, len(task)))
            yield predict_task(model, encoders, task.take(rows), **told)
        return
    several = isinstance(inputs, Iterable) and not isinstance(inputs, str | Path)
    listed = list(inputs) if several else [inputs]
    for i in range(0, len(listed), CHUNK):
        part = listed[i : i + CHUNK]
        try:
            task = open_task(part)
        except DataError as error:
            if not all(isinstance(item, str | Path) for item in part):
                raise
            names = tuple(readable(str(item)) for item in part)
            problem = Problem("unreadable", names, str(error), left_out=True)
            yield Predictions((), _nothing(model), model.classes, (problem,))
        else:
            yield predict_task(model, encoders, task, **told)


def _nothing(model: TransferModel) -> FloatArray:
    return np.empty(0 if model.kind == "regression" else (0, len(model.classes)))


def _check_fits(model: TransferModel, features: Sequence[Features]) -> None:
    """Check that the heads were learned on layers that their encoders have."""
    for member in model.members:
        own = features[member.source]
        sizes = {layer.name: layer.size for layer in own.space.layers}
        unknown = sorted(set(member.layers) - set(sizes))
        width = sum(sizes.get(name, 0) for name in member.layers)
        if unknown or width != len(member.scale.centre):
            raise SourceError(
                f"The heads don't belong to the encoder {own.uri}: they take "
                f"{len(member.scale.centre):,} numbers of {printable('+'.join(member.layers))}, "
                f"it gives {width:,}. The model was damaged or changed; fit again, or restore it."
            )
