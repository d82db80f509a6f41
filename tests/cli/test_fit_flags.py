"""Command line, YAML and Python are one thing, and the flags of `fit` do what they say."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import retarget as rt
from retarget.api import asked
from retarget.cli.app import app, run
from retarget.core.config import FitConfig
from retarget.runs.directory import CONFIG, read_record, write_record
from retarget.runs.predictions import read_predictions

# Field of `FitConfig` → what is typed, what it then holds; none is what it holds if not said.
FLAGS: dict[str, tuple[list[str], Any]] = {
    "sources": (["--source", "pixels:", "--source", "small:"], ("pixels:", "small:")),
    "layers": (["--layer", "last", "--layer", "a+b"], ("last", "a+b")),
    "methods": (["--method", "probe,knn", "--method", "lora"], ("probe", "knn", "lora")),
    "baselines": (["--baseline", "majority, pixels"], ("majority", "pixels")),
    "metric": (["--metric", "macro_f1"], "macro_f1"),
    "pooling": (["--pooling", "max"], "max"),
    "class_weight": (["--class-weight", "balanced"], "balanced"),
    "out": (["--out", "somewhere"], "somewhere"),
    "force": (["--force"], True),
    "split_from": (["--split-from", "earlier"], "earlier"),
    "keep_leaks": (["--keep-leaks"], True),
    "folds": (["--folds", "3"], 3),
    "seed": (["--seed", "7"], 7),
    "engine": (["--engine", "eager"], "eager"),
    "device": (["--device", "cpu"], "cpu"),
    "epochs": (["--epochs", "4"], 4),
    "lr": (["--lr", "0.01"], 0.01),
    "from_layer": (["--from", "2"], "2"),
    "time": (["--time", "5m"], 300.0),
    "track": (["--track", "mlflow"], "mlflow"),
    "robustness": (["--no-robustness"], False),
    "learning_curve": (["--no-learning-curve"], False),
    "kind": (["--kind", "multilabel"], "multilabel"),
    "columns": (
        ["--column", "label=what", "--column", "group=who=x"],
        {"label": "what", "group": "who=x"},
    ),
    "domains": (["--domains"], True),
    "strict": (["--strict"], True),
    "follow_links": (["--follow-links"], True),
    "encoding": (["--encoding", "shift_jis"], "shift_jis"),
}
EVERY = [word for told, _ in FLAGS.values() for word in told]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[FitConfig]:
    """Return what a fit is asked, instead of fitting."""
    configs: list[FitConfig] = []

    def fit(data: Any, **options: Any) -> None:
        configs.append(asked(data, None, options))
        raise KeyboardInterrupt

    monkeypatch.setattr("retarget.api.fit", fit)
    return configs


def test_every_flag_is_a_field_and_every_field_a_flag(heard: list[FitConfig]) -> None:
    assert set(FLAGS) == set(FitConfig.model_fields) - {"data"}
    command = typer.main.get_command(app).commands["fit"]  # type: ignore[attr-defined]
    there = {name for p in command.params for name in p.opts if name.startswith("--")}
    there |= {name for p in command.params for name in p.secondary_opts}
    typed = {word for word in EVERY if word.startswith("--")}
    others = {word.replace("--no-", "--") for word in typed}
    assert there - typed - others == {"--config", "--json"}
    for field, (words, value) in FLAGS.items():
        run(["fit", "x", *words])
        said = heard[-1].model_dump()
        assert said[field] == value != FitConfig(data="x").model_dump()[field]
        assert {**said, field: None} == {**FitConfig(data="x").model_dump(), field: None}


def test_flags_yaml_and_python_ask_for_the_same(
    heard: list[FitConfig], small_run: Path, tmp_path: Path
) -> None:
    run(["fit", "x", *EVERY])
    typed = heard[-1]
    assert typed == asked("x", None, {field: value for field, (_, value) in FLAGS.items()})
    write_record(read_record(small_run).model_copy(update={"config": typed}), tmp_path)
    run(["fit", "--config", str(tmp_path / CONFIG)])
    assert heard[-1] == typed
    run(["fit", "y", "--config", str(tmp_path / CONFIG), "--seed", "8", "--baseline", "none"])
    assert heard[-1] == typed.model_copy(update={"data": "y", "seed": 8, "baselines": ()})


def test_methods_with_settings_stay_what_they_are_in_yaml(
    heard: list[FitConfig], small_run: Path, tmp_path: Path
) -> None:
    told = asked("x", None, {"methods": ["probe", rt.Lora(rank=2), {"name": "norms", "lr": 0.1}]})
    write_record(read_record(small_run).model_copy(update={"config": told}), tmp_path)
    run(["fit", "--config", str(tmp_path / CONFIG)])
    assert heard == [told]


def test_the_flags_work_in_fits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, draw_pictures: Callable[..., Path]
) -> None:
    data = tmp_path / "sites"
    for number, site in enumerate(("north", "south")):
        draw_pictures(data, site, each=6, seed=number)

    def fit(name: str, *arguments: object) -> dict[str, Any]:
        words = ["fit", *arguments, "--out", tmp_path / name, "--source", "random:resnet10t"]
        words += ["--engine", "eager", "--baseline", "none", "--no-learning-curve", "--json"]
        code = run([str(word) for word in words])
        told = capsys.readouterr()
        assert code == 0, told.err
        return dict(json.loads(told.out))

    common = ["--method", "probe", "--layer", "last", "--folds", 3, "--seed", 4]
    crossed = fit("crossed", data, "--domains", "--pooling", "max", *common)
    assert crossed["task"]["domains"] == ["north", "south"]
    assert (crossed["protocol"]["mode"], crossed["protocol"]["folds"]) == ("cross-fitting", 3)
    assert {part["name"] for part in crossed["test"]["per_domain"]} == {"north", "south"}
    assert rt.load_run(tmp_path / "crossed").model.pooling == "max"

    # Grades are numbers, in a column of another name, of pictures that a link leads to.
    table = tmp_path / "table"
    table.mkdir()
    (table / "linked").symlink_to(data)
    paths = sorted(data.rglob("*.png"))
    with (table / "grades.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "grade", "split"])
        for i, path in enumerate(paths):
            grade = 1.5 if "light" in path.parent.name else 0.5
            split = "test" if i % 3 == 0 else "train"
            writer.writerow([f"linked/{path.relative_to(data)}", grade, split])
    read = ["--column", "label=grade", "--kind", "classification", "--follow-links"]
    held = fit("held", table, *read, "--metric", "macro_f1", "--class-weight", "balanced", *common)
    assert held["task"]["classes"] == ["0.5", "1.5"]
    assert held["task"]["examples"] == len(paths)
    assert held["test"]["metric"] == "macro_f1"
    assert held["protocol"]["judging"] == 8
    again = fit("again", data, "--domains", "--split-from", tmp_path / "held", *common)
    assert again["protocol"]["mode"] == "hold-out"
    assert again["protocol"]["test_ids"] == held["protocol"]["test_ids"]

    # What config.yaml says is what was typed, and asks for the same numbers.
    told = yaml.safe_load((tmp_path / "held" / CONFIG).read_text())
    assert told["columns"] == {"label": "grade"}
    assert told["follow_links"] is True
    fit("repeated", "--config", tmp_path / "held" / CONFIG)
    first, second = (
        read_predictions(tmp_path / n / "predictions.parquet") for n in ("held", "repeated")
    )
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_class_weight_and_seed_change_what_is_learned(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    task = rt.open_task(list(map(Image.fromarray, pixels)), ["a"] * 18 + ["b"] * 6)
    same: dict[str, Any] = {"sources": ["pixels:"], "baselines": [], "learning_curve": False}
    same |= {"methods": ["probe"], "layers": ["last"], "folds": 2, "engine": "eager"}

    def told(name: str, **options: Any) -> rt.Run:
        return rt.fit(task, out=str(tmp_path / name), **same, **options)

    plain, balanced, seeded = told("p"), told("b", class_weight="balanced"), told("s", seed=1)
    rare, rarer = (r.predict(list(pixels)).values[:, 1].mean() for r in (balanced, plain))
    assert rare > rarer + 0.05
    first, other = (read_predictions(r.folder / "predictions.parquet") for r in (plain, seeded))
    assert first.folds.tolist() != other.folds.tolist()
