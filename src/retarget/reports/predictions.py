"""Predictions as lines: JSON records and CSV that no spreadsheet executes."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from retarget.runs.predict import Predictions

# What spreadsheets take for a formula when a cell starts with it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def prediction_records(predictions: Predictions, top: int) -> list[dict[str, Any]]:
    """Return one record an input: `label` and `top` classes with probabilities, or `value`.

    Inputs that could not be read come last, each with its `error`.
    """
    if predictions.values.ndim == 1:
        records: list[dict[str, Any]] = [
            {"input": name, "value": float(value)}
            for name, value in zip(predictions.names, predictions.values, strict=True)
        ]
    else:
        records = [
            {"input": name, "label": found[0]["class"], "top": found}
            for name, found in zip(predictions.names, _ranked(predictions, top), strict=True)
        ]
    failed = [
        {"input": name, "error": problem.what}
        for problem in predictions.problems
        if problem.left_out
        for name in problem.where
    ]
    return records + failed


def csv_rows(records: Sequence[dict[str, Any]], top: int, header: bool) -> str:
    """Return records as CSV: input, value or label and `top` classes, error."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{what}_{i + 1}" for i in range(top) for what in ("class", "probability")]
    if header:
        writer.writerow(["input", "prediction", *columns, "error"])
    for record in records:
        cells: list[Any] = [""] * (2 * top)
        for i, item in enumerate(record.get("top", [])):
            cells[2 * i : 2 * i + 2] = [item["class"], f"{item['probability']:.6g}"]
        predicted = record.get("label", record.get("value", ""))
        row = [record["input"], predicted, *cells, record.get("error", "")]
        writer.writerow([_inert(cell) for cell in row])
    return stream.getvalue()


def _ranked(predictions: Predictions, top: int) -> list[list[dict[str, Any]]]:
    order = np.argsort(-predictions.values, axis=1, kind="stable")[:, :top]
    return [
        [{"class": predictions.classes[i], "probability": float(row[i])} for i in places]
        for places, row in zip(order, predictions.values, strict=True)
    ]


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
