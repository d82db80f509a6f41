"""Judging a way of choosing: choose and fit in every round, predict what the round held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from retarget.core.types import FloatArray, IntArray, Pooling
from retarget.evaluation.protocol import Protocol, inner_folds
from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.methods.model import TransferModel
from retarget.selection.candidates import Candidate
from retarget.selection.select import Evidence, Selection, refit, select
from retarget.tasks.task import Task


@dataclass(frozen=True)
class Study:
    """A task under a protocol: what stays the same for all that is judged on it.

    Attributes:
        task: the readable examples.
        protocol: who chooses and who judges.
        metric: headline metric.
        pooling: how places of a layer became vectors.
    """

    task: Task
    protocol: Protocol
    metric: str
    pooling: Pooling

    @cached_property
    def labels(self) -> Labels:
        """Labels of all examples of the task; those of unlabelled ones are not to be used."""
        examples = self.task.examples
        outputs = 1 if self.task.kind == "regression" else len(self.task.classes)
        return Labels(self.task.kind, examples.targets, outputs, examples.weights)

    @cached_property
    def labelled(self) -> IntArray:
        """Rows that have a target."""
        return np.flatnonzero(self.task.labelled)

    def evidence(self, tables: Mapping[str, Table], rows: IntArray) -> Evidence:
        """Return what a selection that may see the task's `rows` sees.

        `tables` hold the labelled examples, in the task's order.
        """
        positions = np.searchsorted(self.labelled, rows)
        _, units = np.unique(self.protocol.units[rows], return_inverse=True)
        return Evidence(
            features={uri: table.take(positions) for uri, table in tables.items()},
            labels=self.labels.take(rows),
            folds=inner_folds(self.task, rows, self.protocol),
            units=units.astype(np.int64),
            metric=self.metric,
        )


@dataclass(frozen=True)
class Judged:
    """What judging examples were told, and what is handed over.

    Attributes:
        predictions: (n of judging, K) probabilities or (n,) values, each from a round that saw
            nothing of the example.
        uncalibrated: the same with all temperatures at 1.
        selection: the choice behind the model handed over.
        evidence: what that choice saw.
        model: handed over: fitted on all that may be learned from.
    """

    predictions: FloatArray
    uncalibrated: FloatArray
    selection: Selection
    evidence: Evidence
    model: TransferModel


def judge(
    study: Study, tables: Mapping[str, Table], candidates: Sequence[Candidate], average: bool = True
) -> Judged:
    """Choose among `candidates` and fit in every round of the protocol; predict what it held out.

    Choosing itself is thereby judged. With hold-out the one round's model is handed over; with
    cross-fitting a last choice, on all labelled examples, is.
    """
    classes, pooling = study.task.classes, study.pooling
    calibrated: list[FloatArray] = []
    raw: list[FloatArray] = []
    places: list[IntArray] = []
    for rows, held_out in study.protocol.rounds():
        evidence = study.evidence(tables, rows)
        selection = select(evidence, candidates, average)
        model = refit(evidence, selection.chosen, classes, pooling)
        apart = np.searchsorted(study.labelled, study.protocol.judging[held_out])
        layers = [tables[uri].take(apart).layer for uri in model.sources]
        calibrated.append(model.predict(layers))
        raw.append(_uncalibrated(model).predict(layers))
        places.append(held_out)
    if study.protocol.mode == "cross-fitting":
        evidence = study.evidence(tables, study.protocol.choosing)
        selection = select(evidence, candidates, average)
        model = refit(evidence, selection.chosen, classes, pooling)
    order = np.argsort(np.concatenate(places))
    return Judged(
        predictions=np.concatenate(calibrated)[order],
        uncalibrated=np.concatenate(raw)[order],
        selection=selection,
        evidence=evidence,
        model=model,
    )


def _uncalibrated(model: TransferModel) -> TransferModel:
    members = tuple(replace(m, temperature=1.0) for m in model.members)
    return replace(model, members=members, temperature=1.0)
