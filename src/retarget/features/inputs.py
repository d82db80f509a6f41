"""Features of inputs that are no task: as they are handed in, without targets or splits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retarget.core.errors import DataError
from retarget.core.text import count
from retarget.core.types import IntArray, Modality, Pooling, StrArray
from retarget.features.extract import extract
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.sources.source import Source
from retarget.tasks.memory import names_of, references_of
from retarget.tasks.rows import identify_column
from retarget.tasks.task import Examples, Task

MOST_NAMED = 20


@dataclass(frozen=True)
class InputFeatures:
    """What could be read of the inputs.

    Attributes:
        table: features of the inputs that could be read.
        fingerprint: of the source that they came from.
        rows: which inputs these are, in order.
        ids: their content hashes.
        lost: row → clause that begins with the input's name and says why it can't be read.
    """

    table: Table
    fingerprint: str
    rows: IntArray
    ids: StrArray
    lost: Mapping[int, str]

    def told(self) -> str:
        """Return a sentence that names what can't be read."""
        return _told(self.lost, len(self.rows) + len(self.lost))

    def whole(self) -> Table:
        """Return the table if every input could be read. Raises `DataError` naming the others."""
        if self.lost:
            raise DataError(
                f"{self.told()} Each input needs an output here: mend them or take them out."
            )
        return self.table


def input_features(
    inputs: Sequence[Any],
    source: Source,
    pooling: Pooling,
    engine: str = "auto",
    device: str = "auto",
) -> InputFeatures:
    """Take inputs through a source, or their features from the store.

    Args:
        inputs: references that the loader of the source's modality reads, as `listed` gives.
        source: the source.
        pooling: how places of a layer become one vector.
        engine: how the encoder is run.
        device: where.

    Raises:
        DataError: none can be read. `SourceError`, `UsageError`: as `extract` raises.
    """
    modality = source.facts.modality
    identified = identify_column(inputs, modality)
    ids = np.array(identified.ids, dtype=np.str_)
    reasons = {i: trouble.reason for i, trouble in identified.troubles.items()}
    names = names_of(inputs)
    found = np.array([i for i in range(len(inputs)) if i not in reasons], dtype=np.int64)
    features = {}
    if len(found):
        task = _task(modality, inputs, names, ids).take(found)
        store = FeatureStore()
        made = extract(task, [source], store=store, pooling=pooling, engine=engine, device=device)
        reasons |= {int(found[i]): reason for i, reason in made.unreadable.items()}
        features = made.features
    lost = {i: f"{names[i]} {reasons[i]}" for i in sorted(reasons)}
    if len(lost) == len(inputs):
        raise DataError(f"{_told(lost, len(inputs))} Give some that can be read.")
    kept = np.flatnonzero([i not in lost for i in found.tolist()])
    table = Table.read(features[source.uri], kept)
    rows = found[kept]
    return InputFeatures(table, source.fingerprint, rows, ids[rows], lost)


def listed(inputs: Any, modality: Modality) -> list[Any]:
    """Return what a modality's loader reads, from a list, an array, or columns of a data frame.

    Raises:
        DataError: a single input, which is no list of one, or none at all.
    """
    return references_of(modality, values_of(inputs))


def values_of(inputs: Any) -> list[Any]:
    """Return a list, an array, or one column of a data frame, or two of texts, as a list.

    Raises:
        DataError: a single input, which is no list of one, or none at all.
    """
    if isinstance(inputs, str | bytes | Path) or not isinstance(inputs, Iterable):
        raise DataError(
            f"One {type(inputs).__name__} was given. Give a list of paths, PIL images, arrays or "
            "texts, also for a single one."
        )
    if hasattr(inputs, "to_numpy"):
        inputs = inputs.to_numpy()
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "OUT":
        if inputs.shape[1:] == (1,):
            inputs = inputs[:, 0]
        elif inputs.shape[1:] == (2,):
            inputs = inputs.tolist()
    values = list(inputs)
    if not values:
        raise DataError("The list is empty. Give paths, PIL images, arrays or texts.")
    return values


def _task(modality: Modality, inputs: Sequence[Any], names: Sequence[str], ids: StrArray) -> Task:
    """Return a task that says nothing of its examples but what they are."""
    blank = np.full(len(inputs), "")
    examples = Examples(
        ids=ids,
        names=tuple(names),
        inputs={modality: inputs},
        targets=np.full(len(inputs), -1, dtype=np.int64),
        splits=blank,
        groups=blank,
        domains=blank,
        weights=np.ones(len(inputs)),
    )
    return Task("inputs", {modality: modality}, "classification", (), examples)


def _told(lost: Mapping[int, str], asked: int) -> str:
    clauses = list(lost.values())
    more = f"; and {len(clauses) - MOST_NAMED:,} more" if len(clauses) > MOST_NAMED else ""
    shown = "; ".join(clauses[:MOST_NAMED])
    return f"{len(clauses):,} of {count(asked, 'input')} can't be read: {shown}{more}."
