"""What notebooks show of results: the numbers, and names as text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retarget as rt
from retarget.core.types import Kind
from retarget.runs.predict import Called, Predictions

HOSTILE = "light & <b>bold<b>"
SAFE = "light &amp; &lt;b&gt;bold&lt;b&gt;"


@pytest.mark.parametrize("what", ["task", "inspection", "evaluation", "comparison", "predictions"])
def test_results_show_themselves_and_no_name_becomes_html(
    small_run: Path, pictures: Path, what: str
) -> None:
    run = rt.load_run(small_run)
    made: Any
    if what == "task":
        made, said = rt.open_task(pictures), SAFE
    elif what == "inspection":
        made, said = rt.inspect(pictures), SAFE
    elif what == "evaluation":
        made = rt.evaluate(run, pictures / "test")
        said = f"{made.metrics['accuracy'].value:.3g} ("
    elif what == "comparison":
        made = rt.compare([run, run])
        said = f"{made.runs[0].score.value:.3g} ("
    else:
        made = run.predict([Image.new("RGB", (40, 48), (180, 180, 180))])
        said = made.labels[0].replace(HOSTILE, SAFE)
    page = made._repr_html_()
    assert said in page
    assert HOSTILE not in page
    assert page.count("<table>") == page.count("</table>") == 1


@pytest.mark.parametrize(
    ("kind", "values", "cells"),
    [
        ("classification", [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]], ["b (0.50)", "a (0.40)"]),
        ("multilabel", [[0.9, 0.2, 0.75], [0.1, 0.5, 0.3]], ["a (0.90), c (0.75)", ""]),
        ("regression", [12345.678, -0.5], ["1.235e+04", "-0.5"]),
        ("tagging", [[0.9, 0.1, 0.0]] * 5, ["Ann &amp; Co: b, Rome: c", ""]),
    ],
)
def test_predictions_show_what_was_predicted(kind: Kind, values: Any, cells: list[str]) -> None:
    tags = kind == "tagging"
    found = (Called(0, 8, "b", "Ann & Co", 0.9), Called(12, 16, "c", "Rome", 0.8))
    page = Predictions(
        ("x", "y"),
        np.array(values),
        ("a", "b", "c"),
        kind,
        spans=(found, ()) if tags else (),
        texts=("Ann & Co in Rome", "no") if tags else (),
    )._repr_html_()
    assert "Predictions of 2 inputs." in page
    rows = [f"<tr><td>{n}</td><td>{cell}</td></tr>" for n, cell in zip("xy", cells, strict=True)]
    assert "".join(rows) in page


def test_one_prediction_is_of_one_input() -> None:
    made = Predictions(("x",), np.array([0.5]), ("value",), "regression")
    assert "Predictions of 1 input." in made._repr_html_()
