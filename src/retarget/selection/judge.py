"""Judging a way of choosing: choose and fit in every round, predict what the round held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from retarget.core.types import FloatArray, IntArray, Pooling
from retarget.evaluation.protocol import Protocol, inner_folds
from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.methods.model import TransferModel
from retarget.selection.select import refit
from retarget.selection.trials import Evidence, Selection, Trial
from retarget.selection.tune import Pool, select_kind
from retarget.tasks.task import Task


@dataclass(frozen=True)
class Round:
    """Rows of the task to learn and choose from, positions in `judging` to predict; a title."""

    rows: IntArray
    held_out: IntArray
    title: str


@dataclass(frozen=True)
class Study:
    """A task under a protocol: what stays the same for all that is judged on it.

    Attributes:
        task: what is learned and judged row by row: readable examples, or their words.
        protocol: who chooses and who judges, of these rows.
        metric: headline metric.
        pooling: how places of a layer became vectors.
        owners: (n,) the example that each row is of, where rows are words.
    """

    task: Task
    protocol: Protocol
    metric: str
    pooling: Pooling
    owners: IntArray | None = None

    @cached_property
    def labels(self) -> Labels:
        """Labels of all examples of the task; those of unlabelled ones are not to be used."""
        examples = self.task.examples
        outputs = 1 if self.task.kind == "regression" else len(self.task.classes)
        return Labels(
            self.task.kind, examples.targets, outputs, examples.weights, sequences=self.owners
        )

    @cached_property
    def labelled(self) -> IntArray:
        """Rows that have a target."""
        return np.flatnonzero(self.task.labelled)

    def examples_of(self, rows: IntArray) -> IntArray:
        """Return which examples rows are of, each once, ascending where rows are words."""
        return rows if self.owners is None else np.unique(self.owners[rows])

    def judging(self, places: IntArray | None = None) -> dict[str, Any]:
        """Return what judging takes of the judging rows, or of those at `places`: keywords of
        `gain` and, with the predictions, of all that judges."""
        rows, folds = self.protocol.judging, self.protocol.folds
        if places is not None:
            rows, folds = rows[places], folds[places]
        examples = self.task.examples
        return {
            "groups": examples.groups[rows],
            "folds": folds if self.protocol.mode == "cross-fitting" else None,
            "weights": examples.weights[rows],
            "sequences": None if self.owners is None else self.owners[rows],
        }

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
            rows=rows,
        )

    def rounds(self) -> list[Round]:
        """Return the rounds of the protocol, the last of which makes the model handed over."""
        protocol = self.protocol
        found = [
            Round(rows, held_out, f", fold {i} of {len(protocol.rounds())}")
            for i, (rows, held_out) in enumerate(protocol.rounds(), start=1)
        ]
        if protocol.mode == "hold-out":
            return [replace(found[0], title="")]
        nothing = np.empty(0, dtype=np.int64)
        return [*found, Round(protocol.choosing, nothing, ", all folds")]


@dataclass(frozen=True)
class Judged:
    """What judging examples were told, and what is handed over.

    Attributes:
        predictions: (n of judging, K) probabilities or (n,) values, each from a round that saw
            nothing of the example.
        uncalibrated: the same with all temperatures at 1.
        kinds: the same from what spoke for each kind of method, where there are several.
        models: of every round, what spoke for each kind.
        selection: the choice behind the model handed over.
        evidence: what that choice saw.
        model: handed over: fitted on all that may be learned from.
    """

    predictions: FloatArray
    uncalibrated: FloatArray
    kinds: Mapping[str, FloatArray]
    models: Sequence[Mapping[str, TransferModel]]
    selection: Selection
    evidence: Evidence
    model: TransferModel


def judge(study: Study, tables: Mapping[str, Table], pool: Pool) -> Judged:
    """Choose and fit in every round of the protocol; predict what it held out.

    Choosing itself is thereby judged. With hold-out the one round's model is handed over; with
    cross-fitting a last choice, on all labelled examples, is.
    """
    calibrated, raw = Gathered(study), Gathered(study)
    kinds: dict[str, Gathered] = {}
    models = []
    for part in study.rounds():
        evidence = study.evidence(tables, part.rows)
        selection = select_kind(evidence, pool, part.title)
        fitted = _fit_kinds(evidence, selection, study)
        model = fitted[CHOSEN]
        models.append({k: m for k, m in fitted.items() if k != CHOSEN})
        if not len(part.held_out):
            continue
        layers = Reading(study, tables, pool, part.held_out)
        calibrated.put(part.held_out, layers.predict(model))
        raw.put(part.held_out, layers.predict(_uncalibrated(model)))
        if len(models[-1]) > 1:
            for name, spoken in models[-1].items():
                kinds.setdefault(name, Gathered(study)).put(part.held_out, layers.predict(spoken))
    return Judged(
        predictions=calibrated.values,
        uncalibrated=raw.values,
        kinds={name: gathered.values for name, gathered in kinds.items()},
        models=models,
        selection=selection,
        evidence=evidence,
        model=model,
    )


class Gathered:
    """Predictions of judging examples, put together round by round."""

    def __init__(self, study: Study) -> None:
        n, outputs = len(study.protocol.judging), study.labels.outputs
        shape = (n,) if study.task.kind == "regression" else (n, outputs)
        self.values: FloatArray = np.full(shape, np.nan)

    def put(self, places: IntArray, predictions: FloatArray) -> None:
        """Take the predictions of a round."""
        self.values[places] = predictions


class Reading:
    """Features of a round's judging examples, by any encoder, each read once."""

    def __init__(
        self, study: Study, tables: Mapping[str, Table], pool: Pool, held_out: IntArray
    ) -> None:
        self._rows = study.protocol.judging[held_out]
        self._positions = np.searchsorted(study.labelled, self._rows)
        self._sequences = None if study.owners is None else study.owners[self._rows]
        self._tables, self._pool = tables, pool
        self._read: dict[str, Table] = {}

    def predict(self, model: TransferModel) -> FloatArray:
        """Return a model's predictions of the round's judging examples."""
        layers = [self._table(uri).layer for uri in model.sources]
        return model.predict(layers, self._sequences)

    def _table(self, uri: str) -> Table:
        if uri not in self._read:
            if uri in self._tables:
                self._read[uri] = self._tables[uri].take(self._positions)
            else:
                assert self._pool.workshop is not None
                self._read[uri] = self._pool.workshop.read(uri, self._rows)
        return self._read[uri]


CHOSEN = ""
MIXED = "@"


def mix_of(name: str) -> tuple[str, float | None]:
    """Return the kind and share that the name of a mix stands for; others have no share."""
    kind, mixed, share = name.partition(MIXED)
    return kind, float(share) if mixed else None


def _fit_kinds(evidence: Evidence, selection: Selection, study: Study) -> dict[str, TransferModel]:
    """Return what was chosen, under "", and what speaks for each kind, each fitted once.

    Weights averaged towards the source, where they were kept, are kinds as well.
    """
    made: dict[int, TransferModel] = {}
    fitted = {}
    for name, trial in {CHOSEN: selection.chosen, **selection.kinds}.items():
        if id(trial) not in made:
            made[id(trial)] = refit(evidence, trial, study.task.classes, study.pooling)
        fitted[name] = made[id(trial)]
        if name and len(trial.candidates) == 1:
            fitted |= _mixes(name, trial, made[id(trial)])
    return fitted


def _mixes(name: str, trial: Trial, model: TransferModel) -> dict[str, TransferModel]:
    return {
        f"{name}{MIXED}{mix.share:g}": replace(model, members=(mix.member,), sources=(mix.uri,))
        for tuned in trial.tuned.values()
        for mix in tuned.mixes
        if mix.member is not None
    }


def _uncalibrated(model: TransferModel) -> TransferModel:
    members = tuple(replace(m, temperature=1.0) for m in model.members)
    return replace(model, members=members, temperature=1.0)
