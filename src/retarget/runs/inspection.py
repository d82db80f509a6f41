"""`Inspection`: how data was read, what is wrong with it, how a fit would judge on it."""

from dataclasses import dataclass

import numpy as np

from retarget.core.errors import DataError
from retarget.evaluation.protocol import plan
from retarget.features.material import Material
from retarget.runs.record import protocol_record, task_record
from retarget.runs.schema import ProtocolRecord, Record, TaskRecord


class Sizes(Record):
    """Smallest, median and largest of a number per example, or of the examples in a split."""

    name: str
    smallest: float
    median: float
    largest: float


class InspectionRecord(Record):
    """What `retarget inspect --json` prints."""

    task: TaskRecord
    splits: dict[str, int]
    protocol: ProtocolRecord | None
    cannot_fit: str = ""
    sizes: tuple[Sizes, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The record and the material it was made from."""

    record: InspectionRecord
    material: Material


def inspection(material: Material, folds: int = 5, seed: int = 0) -> Inspection:
    """Describe a task and the protocol a fit would use on it."""
    task = material.task
    splits, counts = np.unique(task.examples.splits, return_counts=True)
    protocol, cannot = None, ""
    try:
        made = plan(task, folds=folds, seed=seed, near=material.near)
        protocol = protocol_record(made, task).model_copy(update={"test_ids": ()})
    except DataError as error:
        cannot = str(error)
    record = InspectionRecord(
        task=task_record(material),
        splits={str(s) or "not given": int(c) for s, c in zip(splits, counts, strict=True)},
        protocol=protocol,
        cannot_fit=cannot,
        sizes=tuple(
            Sizes(
                name=name,
                smallest=float(np.min(values)),
                median=float(np.median(values)),
                largest=float(np.max(values)),
            )
            for name, values in sorted(task.facts.items())
            if len(values)
        ),
    )
    return Inspection(record, material)
