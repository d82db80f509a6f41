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
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        scored = [f"{what}_{i + 1}" for i in range(top) for what in ("class", "probability")]
        columns = Called._fields if kind == "tagging" else ("prediction", *scored)
        writer.writerow(["input", *columns, "error"])
    for record in records:
        rows = _span_rows(record) if kind == "tagging" else [_row(record, top)]
        for row in rows:
            writer.writerow([_inert(cell) for cell in row])
    return stream.getvalue()


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
