"""`Inspection`: how data was read, what is wrong with it, how a fit would judge on it."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from retarget.core.errors import DataError, UnreadableInput
from retarget.core.notebook import shown
from retarget.core.progress import progress
from retarget.evaluation.protocol import plan
from retarget.features.material import Material
from retarget.runs.record import protocol_record, task_record
from retarget.runs.schema import ProtocolRecord, Record, TaskRecord
from retarget.tasks.modalities import measure
from retarget.tasks.task import Task


class Sizes(Record):
    """Smallest, median and largest of what inputs measure; `name` holds the unit."""

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

    def _repr_html_(self) -> str:
        task, protocol = self.record.task, self.record.protocol
        said = f"{protocol.why} {protocol.leaks}" if protocol else self.record.cannot_fit
        rows = [
            ("classes", ", ".join(task.classes[:50])),
            *((p.kind, p.what) for p in task.problems),
        ]
        sentence = f"{task.name}: {task.examples:,} examples, {task.kind}. {task.layout} {said}"
        return shown(sentence, ("what", "found"), rows)


def inspection(material: Material, folds: int = 5, seed: int = 0) -> Inspection:
    """Describe a task and the protocol a fit would use on it."""
    task = material.task
    splits, counts = np.unique(task.examples.splits, return_counts=True)
    protocol, cannot = None, ""
    try:
        made = plan(task, folds=folds, seed=seed, near=material.near)
        protocol = protocol_record(made, task, made.choosing, made.judging).model_copy(
            update={"test_ids": (), "learned_ids": ()}
        )
    except DataError as error:
        cannot = str(error)
    record = InspectionRecord(
        task=task_record(material),
        splits={str(s) or "not given": int(c) for s, c in zip(splits, counts, strict=True)},
        protocol=protocol,
        cannot_fit=cannot,
        sizes=_sizes(task),
    )
    return Inspection(record, material)


def _sizes(task: Task) -> tuple[Sizes, ...]:
    """Measure every input, without decoding it where a header tells."""
    found: dict[str, list[float]] = {}
    for name, modality in task.inputs.items():
        with progress("Measuring", len(task), modality + "s") as meter:
            for reference in task.examples.inputs[name]:
                with suppress(UnreadableInput):
                    for what, value in measure(modality, reference).items():
                        found.setdefault(what, []).append(value)
                meter.advance()
    return tuple(
        Sizes(name=name, smallest=min(v), median=float(np.median(v)), largest=max(v))
        for name, v in found.items()
    )
