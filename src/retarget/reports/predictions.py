"""Predictions as lines: JSON records and CSV that no spreadsheet executes."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from retarget.core.types import Kind
from retarget.runs.predict import Called, Predictions

# What spreadsheets take for a formula when a cell starts with it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def prediction_records(predictions: Predictions, top: int) -> list[dict[str, Any]]:
    """Return one record an input: `label` and `top` classes with probabilities, or `value`.

    Of tagging it has the `text` and its `spans`. Inputs that could not be read come last, each
    with its `error`.
    """
    found = predictions
    records: list[dict[str, Any]]
    if found.texts:
        records = [
            {"input": name, "text": text, "spans": [span._asdict() for span in spans]}
            for name, text, spans in zip(found.names, found.texts, found.spans, strict=True)
        ]
    elif found.values.ndim == 1:
        records = [
            {"input": name, "value": float(value)}
            for name, value in zip(found.names, found.values, strict=True)
        ]
    else:
        records = [
            {"input": name, "label": ranked[0]["class"], "top": ranked}
            for name, ranked in zip(found.names, _ranked(found, top), strict=True)
        ]
    failed = [
        {"input": name, "error": problem.what}
        for problem in predictions.problems
        if problem.left_out
        for name in problem.where
    ]
    return records + failed


def csv_rows(records: Sequence[dict[str, Any]], kind: Kind, top: int, header: bool) -> str:
    """Return records as CSV: input, value or label and `top` classes, error.

    Of tagging a row is a span: input, start, end, label, text, probability, error.
    """
    lines = []
    if header:
        scored = [f"{what}_{i + 1}" for i in range(top) for what in ("class", "probability")]
        columns = Called._fields if kind == "tagging" else ("prediction", *scored)
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


def _row(record: dict[str, Any], top: int) -> list[Any]:
    cells: list[Any] = [""] * (2 * top)
    for i, item in enumerate(record.get("top", [])):
        cells[2 * i : 2 * i + 2] = [item["class"], f"{item['probability']:.6g}"]
    predicted = record.get("label", record.get("value", ""))
    return [record["input"], predicted, *cells, record.get("error", "")]


def _span_rows(record: dict[str, Any]) -> list[list[Any]]:
    if "error" in record:
        return [[record["input"], *[""] * len(Called._fields), record["error"]]]
    return [
        [record["input"], *({**span, "probability": f"{span['probability']:.6g}"}).values(), ""]
        for span in record["spans"]
    ]


def _ranked(predictions: Predictions, top: int) -> list[list[dict[str, Any]]]:
    order = np.argsort(-predictions.values, axis=1, kind="stable")[:, :top]
    return [
        [{"class": predictions.classes[i], "probability": float(row[i])} for i in places]
        for places, row in zip(order, predictions.values, strict=True)
    ]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
