"""Runs compared on the examples that judged all of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retarget.core.errors import StoreError, UsageError
from retarget.core.notebook import interval as in_notebook
from retarget.core.notebook import shown
from retarget.core.types import CLASSES, IntArray, StrArray
from retarget.evaluation.gain import gain
from retarget.evaluation.intervals import interval
from retarget.evaluation.results import Estimate, Gain
from retarget.runs.directory import PREDICTIONS, RECORD, read_record
from retarget.runs.predictions import JudgedTable, read_predictions
from retarget.runs.schema import Record, RunRecord
from retarget.tasks.unfold import tags_of


class ComparedRun(Record):
    """One run on the common examples. `gain` is over the first run, `None` for the first."""

    run: str
    source: str
    score: Estimate
    gain: Gain | None


class Comparison(Record):
    """What `retarget compare --json` prints."""

    metric: str
    examples: int
    runs: tuple[ComparedRun, ...]

    def _repr_html_(self) -> str:
        columns = ("run", "source", f"{self.metric} (95%)", "gain over the first (95%)")
        rows = [
            (
                one.run,
                one.source,
                in_notebook(one.score.value, one.score.low, one.score.high),
                in_notebook(one.gain.value, one.gain.low, one.gain.high) if one.gain else "",
            )
            for one in self.runs
        ]
        return shown(f"Compared on {self.examples:,} common examples.", columns, rows)


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare runs with the first, paired on the judging examples they have in common.

    Each is scored as its own report scores it, by its folds and weights; gains are judged by the
    targets, groups and weights of the first.

    Raises:
        UsageError: fewer than two runs, different kinds of target or classes, or no judging
            examples in common.
    """
    if len(folders) < 2:
        raise UsageError("Name at least two runs to compare.")
    records = [read_record(f) for f in folders]
    first = records[0]
    for folder, record in zip(folders, records, strict=True):
        _check_alike(folders[0], first, folder, record)
    tables = [read_predictions(f / PREDICTIONS) for f in folders]
    for folder, record, table in zip(folders, records, tables, strict=True):
        _check_table(folder, record, table)
    tables = _common(folders, tables)
    base = records[0], tables[0]
    return Comparison(
        metric=first.test.metric,
        examples=len(tables[0].ids),
        runs=tuple(
            _compared(folder, record, table, base)
            for folder, record, table in zip(folders, records, tables, strict=True)
        ),
    )


def _compared(
    folder: Path, record: RunRecord, table: JudgedTable, base: tuple[RunRecord, JudgedTable]
) -> ComparedRun:
    metric, kind = record.test.metric, record.task.kind
    first = base[1]
    return ComparedRun(
        run=str(folder),
        source=record.chosen.source,
        score=interval(
            metric,
            kind,
            table.targets,
            table.predictions,
            groups=table.groups,
            folds=_folds(record, table),
            weights=table.weights,
            sequences=table.sequences,
        ),
        gain=None
        if table is first
        else gain(
            metric,
            kind,
            first.targets,
            table.predictions,
            first.predictions,
            groups=first.groups,
            folds=_folds(record, table),
            # Under hold-out all of these are 0, as they have to be beside folds of the other.
            their_folds=first.folds if _folds(record, table) is not None else _folds(*base),
            weights=first.weights,
            sequences=first.sequences,
        ),
    )


def _folds(record: RunRecord, table: JudgedTable) -> IntArray | None:
    """Return whose model predicted each example; `None` where one predicted all."""
    return table.folds if record.protocol.mode == "cross-fitting" else None


def _check_alike(name: Path, first: RunRecord, other_name: Path, other: RunRecord) -> None:
    for what, a, b in (
        ("kind of target", first.task.kind, other.task.kind),
        ("classes", first.task.classes, other.task.classes),
        ("headline metric", first.test.metric, other.test.metric),
    ):
        if a != b:
            raise UsageError(
                f"{name} and {other_name} can't be compared: their {what} differ ({a} and {b})."
            )


def _check_table(folder: Path, record: RunRecord, table: JudgedTable) -> None:
    """Check that predictions are of the run's kind and classes. Raises `StoreError`."""
    n, classes = len(table.ids), len(record.task.classes)
    kind = record.task.kind
    if kind == "tagging":
        classes = len(tags_of(record.task.classes))
    predicted = (n,) if kind == "regression" else (n, classes)
    answers = (n, classes) if kind == "multilabel" else (n,)
    fits = (
        table.predictions.shape == predicted
        and table.targets.shape == answers
        and table.targets.dtype.kind in "if"
        and bool(np.isfinite(table.predictions).all() and np.isfinite(table.targets).all())
        and bool(np.isfinite(table.weights).all() and (table.weights > 0).all())
    )
    if fits and kind in CLASSES:
        fits = bool(((table.targets >= 0) & (table.targets < classes)).all())
    if not fits:
        raise StoreError(
            f"{folder / PREDICTIONS} does not fit {folder / RECORD}: it holds other targets or "
            "predictions. One of them was damaged or changed; fit again."
        )


def _common(folders: Sequence[Path], tables: Sequence[JudgedTable]) -> list[JudgedTable]:
    """Return each table's rows of the examples that judged all runs, in the order of the first."""
    keys = [_keys(table.ids) for table in tables]
    shared = keys[0]
    for others in keys[1:]:
        shared = shared[np.isin(shared, others)]
    if len(shared) < 2:
        raise UsageError(
            f"{folders[0]} and the others were judged on different examples. Fit them on the same "
            "data with the same --seed, or with --split-from."
        )
    sequences = tables[0].take(np.flatnonzero(np.isin(keys[0], shared))).sequences
    aligned = []
    for table, own in zip(tables, keys, strict=True):
        order = np.argsort(own)
        rows = order[np.searchsorted(own, shared, sorter=order)]
        aligned.append(replace(table.take(rows), sequences=sequences))
    return aligned


def _keys(ids: StrArray) -> StrArray:
    """Return ids (n,) that tell copies, which share one, apart by their order."""
    seen: Counter[str] = Counter()
    keys = []
    for one in ids.tolist():
        keys.append(f"{one} {seen[one]}")
        seen[one] += 1
    return np.array(keys, dtype=np.str_)
