"""Whole runs on pictures from a manifest: with groups, domains, weights; with several labels."""

import csv
import json
import runpy
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import retarget as rt
from retarget.cli.app import run as command
from retarget.core.types import FloatArray
from retarget.runs.predictions import read_predictions

FEW: dict[str, Any] = {
    "sources": ["random:resnet10t"],
    "methods": ["probe"],
    "layers": ["last"],
    "learning_curve": False,
    "engine": "eager",
    "folds": 3,
}


def write_manifest(folder: Path, rows: list[dict[str, Any]], levels: FloatArray) -> Path:
    """Write noisy pictures of mean colours (n, 3) and their table, in which rows name them."""
    rng = np.random.default_rng(2)
    (folder / "img").mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", *rows[0]])
        writer.writeheader()
        for i, (row, level) in enumerate(zip(rows, levels, strict=True)):
            noise = rng.normal(level, 50, (28, 36, 3))
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / f"img/{i}.png")
            writer.writerow({"image": f"img/{i}.png", **row})
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = command([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return dict(json.loads(said.out))


def example_says(folder: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what the exported example prints of some pictures, without their paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["example.py", *map(str, paths)])
        capsys.readouterr()
        runpy.run_path(str(folder / "example.py"))
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix(f"{path} ") for line, path in zip(lines, paths, strict=True)]


def test_groups_domains_and_weights_of_a_manifest_hold_from_fit_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows, levels = [], []
    for i in range(32):
        row = {"label": "ill" if i % 2 else "well", "group": f"patient {i // 4}"}
        row |= {"domain": f"<clinic {i // 4 % 2}>", "weight": f"{0.25 + i % 5:.2f}"}
        rows.append(row)
        levels.append(np.full(3, 110 + 25 * (i % 2) + rng.normal(0, 20)))
    data = write_manifest(tmp_path / "data", rows, np.array(levels))
    run = rt.fit(data, baselines=["majority"], out=str(tmp_path / "run"), **FEW)
    record = run.record
    assert (record.protocol.mode, record.task.groups) == ("cross-fitting", 8)
    judged = read_predictions(run.folder / "predictions.parquet")
    folds = {name: set(judged.folds[judged.groups == name].tolist()) for name in judged.groups}
    assert len(folds) == 8
    assert all(len(own) == 1 for own in folds.values())
    assert len(set(judged.folds.tolist())) == 3

    by_name = {f"img/{i}.png": row for i, row in enumerate(rows)}
    written = [by_name[name] for name in judged.names]
    weights = np.array([float(row["weight"]) for row in written])
    truth = np.array([["ill", "well"].index(row["label"]) for row in written])
    called = judged.predictions.argmax(axis=1)
    right = called == truth
    metrics = record.test.metrics
    accuracy = (weights * right).sum() / weights.sum()
    assert accuracy != pytest.approx(right.mean(), abs=1e-3)
    assert metrics["accuracy"].value == pytest.approx(accuracy)
    assert "groups" in metrics["accuracy"].how
    balanced = balanced_accuracy_score(truth, called, sample_weight=weights)
    assert metrics["balanced_accuracy"].value == pytest.approx(balanced)

    assert {part.name for part in record.test.per_domain} == {"<clinic 0>", "<clinic 1>"}
    for part in record.test.per_domain:
        own = np.array([row["domain"] == part.name for row in written])
        assert part.examples == own.sum() == 16
        value = balanced_accuracy_score(truth[own], called[own], sample_weight=weights[own])
        assert part.metrics["balanced_accuracy"].value == pytest.approx(value)
    html = run.report().read_text(encoding="utf-8")
    assert "<clinic" not in html
    assert "<clinic 0>" in unescape(html)

    paths = [data / "img/0.png", data / "img/1.png"]
    predicted = told(capsys, "predict", run.folder, *paths)["predictions"]
    made = told(capsys, "export", run.folder, "--out", tmp_path / "onnx")
    assert made["difference"] <= 1e-4
    for record_, line in zip(
        predicted, example_says(tmp_path / "onnx", paths, capsys), strict=True
    ):
        for item in record_["top"]:
            assert f"'{item['class']}': " in line
            said = float(line.split(f"'{item['class']}': ")[1].split(",")[0].rstrip("}"))
            assert said == pytest.approx(item["probability"], abs=2e-3)


def test_several_labels_from_fit_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    names = ("red", "green", "blue")
    present = rng.integers(0, 2, (30, 3))
    rows = [{"label": "|".join(n for n, p in zip(names, row, strict=True) if p)} for row in present]
    rows = [row if row["label"] else {"label": "red|blue"} for row in rows]
    present = np.array([[name in row["label"].split("|") for name in names] for row in rows])
    data = write_manifest(tmp_path / "data", rows, 70.0 + 70 * present)
    run = rt.fit(data, kind="multilabel", baselines=[], out=str(tmp_path / "run"), **FEW)
    record = run.record
    assert (record.task.kind, record.task.classes) == ("multilabel", ("blue", "green", "red"))
    judged = read_predictions(run.folder / "predictions.parquet")
    truth = judged.targets
    order = [int(Path(name).stem) for name in judged.names]
    np.testing.assert_array_equal(truth, present[order][:, ::-1])
    f1 = f1_score(truth, judged.predictions >= 0.5, average="macro")
    assert record.test.metrics["macro_f1"].value == pytest.approx(f1)
    # Colours are told apart, and each label's probability is its own column's.
    assert roc_auc_score(truth, judged.predictions) > 0.7
    assert {part.name for part in record.test.per_class} == set(names)
    assert "green" in run.report().read_text(encoding="utf-8")

    paths = [data / f"img/{i}.png" for i in range(5)]
    values = run.predict(paths).values
    assert np.abs(values.sum(axis=1) - 1).max() > 0.2
    predicted = told(capsys, "predict", run.folder, *paths, "--top", 2)["predictions"]
    for item, row in zip(predicted, values, strict=True):
        best = np.argsort(-row)[:2]
        assert [t["class"] for t in item["top"]] == [record.task.classes[k] for k in best]
        assert [t["probability"] for t in item["top"]] == pytest.approx(row[best], abs=1e-6)
    run.export(tmp_path / "onnx")
    for row, line in zip(values, example_says(tmp_path / "onnx", paths, capsys), strict=True):
        said = json.loads(line.replace("'", '"'))
        assert list(said) == list(record.task.classes)
        assert list(said.values()) == pytest.approx(row, abs=2e-3)
