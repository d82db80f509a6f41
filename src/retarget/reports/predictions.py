"""Predictions as lines: JSON records and CSV that no spreadsheet executes."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from retarget.core.types import Kind
from retarget.runs.predict import Called, Predictions

# What spreadsheets take for a formula when a cell starts with it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
SPAN_COLUMNS = ("start", "end", "label", "text", "probability")


@dataclass(frozen=True)
class Ranked:
    """A class and its probability."""

    name: Annotated[str, Field(alias="class")]
    probability: float


@dataclass(frozen=True)
class Classified:
    """The most probable class of an input, and the first few, most probable first."""

    input: str
    label: str
    top: tuple[Ranked, ...]


@dataclass(frozen=True)
class Valued:
    """The number that is predicted of an input."""

    input: str
    value: float


@dataclass(frozen=True)
class Tagged:
    """The spans that were found in a text."""

    input: str
    text: str
    spans: tuple[Called, ...]


@dataclass(frozen=True)
class Unread:
    """Why an input could not be read."""

    input: str
    error: str


Prediction = Classified | Valued | Tagged | Unread


def prediction_records(predictions: Predictions, top: int) -> list[Prediction]:
    """Return one record an input, with `top` classes; those that could not be read come last."""
    failed = [
        Unread(name, problem.what)
        for problem in predictions.problems
        if problem.left_out
        for name in problem.where
    ]
    return [*_read(predictions, top), *failed]


def _read(found: Predictions, top: int) -> list[Prediction]:
    if found.texts:
        return [
            Tagged(name, text, spans)
            for name, text, spans in zip(found.names, found.texts, found.spans, strict=True)
        ]
    if found.values.ndim == 1:
        numbers = zip(found.names, found.values, strict=True)
        return [Valued(name, float(value)) for name, value in numbers]
    return [
        Classified(name, ranked[0].name, ranked)
        for name, ranked in zip(found.names, _ranked(found, top), strict=True)
    ]


def csv_rows(records: Sequence[Prediction], kind: Kind, top: int, header: bool) -> str:
    """Return records as CSV: input, value or label and `top` classes, error.

    Of tagging a row is a span: input, start, end, label, text, probability, error.
    """
    lines = []
    if header:
        scored = [f"{what}_{i + 1}" for i in range(top) for what in ("class", "probability")]
        columns = SPAN_COLUMNS if kind == "tagging" else ("prediction", *scored)
        lines.append(_line(["input", *columns, "error"]))
    for record in records:
        rows = _span_rows(record) if kind == "tagging" else [_row(record, top)]
        lines += [_line([_inert(cell) for cell in row]) for row in rows]
    return "".join(lines)


def _line(cells: Sequence[Any]) -> str:
    """Return a line of CSV. A bare carriage return would end it for many readers, and what follows
    would be a cell of its own; before Python 3.13 only what is in the terminator is quoted."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return f"{stream.getvalue()[:-2]}\n"


def _row(record: Prediction, top: int) -> list[Any]:
    cells: list[Any] = [""] * (2 * top)
    if isinstance(record, Unread):
        return [record.input, "", *cells, record.error]
    if isinstance(record, Valued):
        return [record.input, record.value, *cells, ""]
    assert isinstance(record, Classified)
    for i, item in enumerate(record.top):
        cells[2 * i : 2 * i + 2] = [item.name, f"{item.probability:.6g}"]
    return [record.input, record.label, *cells, ""]


def _span_rows(record: Prediction) -> list[list[Any]]:
    if isinstance(record, Unread):
        return [[record.input, *[""] * len(SPAN_COLUMNS), record.error]]
    assert isinstance(record, Tagged)
    return [
        [record.input, span.start, span.end, span.label, span.text, f"{span.probability:.6g}", ""]
        for span in record.spans
    ]


def _ranked(predictions: Predictions, top: int) -> list[tuple[Ranked, ...]]:
    order = np.argsort(-predictions.values, axis=1, kind="stable")[:, :top]
    return [
        tuple(Ranked(predictions.classes[i], float(row[i])) for i in places)
        for places, row in zip(order, predictions.values, strict=True)
    ]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
