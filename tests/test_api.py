"""The verbs, end to end, on pictures with a small random encoder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retarget as rt
from retarget.core.errors import DataError, StoreError, UsageError
from retarget.runs.predictions import read_predictions

TINY = "random:resnet10t"


def fit_again(run: Path, cache: Path, out: Path) -> "subprocess.Popen[str]":
    """Start the fit of a run once more, by its own configuration, in a process of its own."""
    arguments = [sys.executable, "-m", "retarget", "fit", "--config", str(run / "config.yaml")]
    return subprocess.Popen(
        [*arguments, "--out", str(out), "--json"],
        env={**os.environ, "RETARGET_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_holds_what_was_asked_found_and_made(small_run: Path) -> None:
    files = {str(p.relative_to(small_run)) for p in small_run.rglob("*") if p.is_file()}
    assert {
        "run.json",
        "config.yaml",
        "predictions.parquet",
        "report.html",
        "model/model.json",
        "model/heads.safetensors",
        "model/encoder/source.json",
        "model/encoder/model.safetensors",
    } <= files
    record = json.loads((small_run / "run.json").read_text())
    assert {
        "task",
        "protocol",
        "trials",
        "chosen",
        "test",
        "gain",
        "verdict",
        "seconds",
        "seed",
        "versions",
    } <= set(record)
    assert {"examples", "classes", "quarantined"} <= set(record["task"])
    assert {"source", "layers", "method", "score", "seconds"} <= set(record["trials"][0])
    assert {"value", "low", "high"} <= set(record["test"]["metrics"]["accuracy"])
    assert set(record["gain"]) == {"majority", "pixels", "random"}


def test_what_cannot_be_read_is_counted_and_named(small_run: Path) -> None:
    record = rt.load_run(small_run).record
    assert record.task.quarantined == 1
    (problem,) = [p for p in record.task.problems if p.kind == "unreadable"]
    assert problem.left_out
    assert "broken.jpg" in problem.where[0]
    assert record.task.examples == 44


def test_the_judging_split_is_the_given_one(small_run: Path) -> None:
    record = rt.load_run(small_run).record
    assert (record.protocol.mode, record.protocol.judging) == ("hold-out", 16)
    assert record.test.examples == 16


def test_a_run_predicts_files_arrays_and_pictures_alike(small_run: Path, pictures: Path) -> None:
    run = rt.load_run(small_run)
    paths = sorted((pictures / "test").rglob("*.png"))[:5]
    opened = [Image.open(p).convert("RGB") for p in paths]
    from_files = run.predict(paths)
    with pytest.warns(UserWarning, match=r"Some inputs have no output: .*nowhere.png"):
        fewer = run.predict([paths[0], pictures / "nowhere.png", paths[1]])
    assert len(fewer.names) == 2
    from_pictures = run.predict(opened)
    from_arrays = run.predict([np.asarray(p) for p in opened])
    assert from_files.classes == ("dark", "light & <b>bold<b>")
    np.testing.assert_allclose(from_files.values.sum(axis=1), 1.0)
    np.testing.assert_allclose(from_pictures.values, from_files.values, atol=1e-5)
    np.testing.assert_allclose(from_arrays.values, from_files.values, atol=1e-5)


def test_predictions_equal_those_that_were_judged(small_run: Path, pictures: Path) -> None:
    from retarget.runs.predictions import read_predictions

    judged = read_predictions(small_run / "predictions.parquet")
    made = rt.load_run(small_run).predict([pictures / name for name in judged.names])
    np.testing.assert_allclose(made.values, judged.predictions, atol=1e-5)


def test_evaluating_on_the_test_folder_gives_the_runs_own_score(
    small_run: Path, pictures: Path
) -> None:
    run = rt.load_run(small_run)
    found = run.evaluate(pictures / "test")
    assert found.examples == 16
    own = run.record.test.metrics
    assert found.metrics["accuracy"].value == pytest.approx(own["accuracy"].value)
    assert found.metrics["log_loss"].value == pytest.approx(own["log_loss"].value, abs=1e-4)


def test_examples_that_were_learned_from_do_not_judge(small_run: Path, pictures: Path) -> None:
    found = rt.evaluate(small_run, pictures)
    assert found.examples == 16
    assert any("28 examples left out" in note and "learned" in note for note in found.notes)
    with pytest.raises(DataError, match="learned from all 14 examples"):
        rt.evaluate(
            small_run,
            rt.open_task(sorted((pictures / "train" / "dark").glob("*.png")), ["dark"] * 14),
        )


def test_evaluating_on_unknown_classes_says_so(
    small_run: Path, tmp_path: Path, draw_pictures: Callable[..., Path]
) -> None:
    folder = draw_pictures(tmp_path / "new", each=3)
    (folder / "dark").rename(folder / "purple")
    assert rt.evaluate(small_run, folder).examples == 3
    (folder / "light & <b>bold<b>").rename(folder / "green")
    with pytest.raises(DataError, match="none labelled with a class"):
        rt.evaluate(small_run, folder)


def test_a_run_compared_with_itself_gains_nothing(small_run: Path) -> None:
    found = rt.compare([small_run, small_run])
    assert found.examples == 16
    assert found.runs[1].gain is not None
    assert found.runs[1].gain.value == 0.0
    with pytest.raises(UsageError, match="at least two"):
        rt.compare([small_run])


def test_arrays_without_a_folder_are_fitted_and_cross_fitted(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = ["dark", "light"] * 10
    level = np.where(np.array(labels) == "dark", 70, 160)[:, None, None, None]
    pixels = np.clip(generator.normal(level, 40, (20, 32, 32, 3)), 0, 255).astype(np.uint8)
    task = rt.open_task(pixels, labels)
    run = rt.fit(
        task, sources=[TINY], baselines=["majority"], out=str(tmp_path / "run"), engine="eager"
    )
    assert run.record.protocol.mode == "cross-fitting"
    assert run.record.test.examples == 20
    assert "<b>" in run._repr_html_()
    assert run.record.verdict.sentence in repr(run)


def test_a_regression_reads_judges_and_predicts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    levels = generator.uniform(30, 220, 40)
    noise = generator.normal(0, 10, (40, 24, 24, 3))
    pixels = np.clip(levels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    task = rt.open_task(pixels, levels)
    assert task.kind == "regression"
    out = str(tmp_path / "run")
    run = rt.fit(task, sources=[TINY], baselines=["majority", "pixels"], out=out, engine="eager")
    assert run.record.test.metrics["rmse"].value < 30
    assert run.predict(pixels[:3]).values.shape == (3,)
    exported = run.export(tmp_path / "onnx")
    assert exported.difference < 1e-4


def test_options_that_do_not_exist_are_named(pictures: Path) -> None:
    with pytest.raises(UsageError, match="foldz"):
        rt.fit(pictures, foldz=3)
    with pytest.raises(UsageError, match="folds"):
        rt.fit(pictures, folds=1)
    with pytest.raises(UsageError, match="no metric 'beauty'"):
        rt.fit(pictures, sources=[TINY], metric="beauty", engine="eager")


def test_a_folder_that_is_not_a_run_is_never_written_over(tmp_path: Path, pictures: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a run"):
        rt.fit(pictures, sources=[TINY], out=str(mine), force=True, engine="eager")
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_earlier_test_examples_stay_test_examples(
    small_run: Path, tmp_path: Path, draw_pictures: Callable[..., Path], pictures: Path
) -> None:
    import shutil

    from retarget.core.config import FitConfig
    from retarget.features.material import gather
    from retarget.features.store import FeatureStore
    from retarget.runs.fitting import plan_study

    grown = tmp_path / "grown"
    for split in ("train", "test"):
        shutil.copytree(pictures / split, grown, dirs_exist_ok=True)
    draw_pictures(grown, each=6, seed=9)
    material = gather(rt.open_task(grown), [], store=FeatureStore())
    study = plan_study(material, FitConfig(data=str(grown), split_from=str(small_run)))
    kept = set(rt.load_run(small_run).record.protocol.test_ids)
    judged = study.task.examples.ids[study.protocol.judging]
    assert set(map(str, judged)) == kept
    assert len(study.protocol.choosing) == 27 + 12 + 1


def test_folds_of_an_earlier_run_stay_folds_when_the_folder_has_grown(
    tmp_path: Path, draw_pictures: Callable[..., Path]
) -> None:
    data = draw_pictures(tmp_path / "data", each=8)
    same: dict[str, Any] = {"sources": ["pixels:"], "baselines": [], "learning_curve": False}
    same |= {"methods": ["probe"], "layers": ["last"], "folds": 4, "engine": "eager"}
    first = rt.fit(data, out=str(tmp_path / "first"), **same)
    # Names tell nothing: what is known is known by content.
    for path in list(data.rglob("*.png")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    draw_pictures(data, each=3, seed=4)
    earlier = str(first.folder)
    second = rt.fit(data, out=str(tmp_path / "second"), split_from=earlier, seed=3, **same)
    before, now = (read_predictions(r.folder / "predictions.parquet") for r in (first, second))
    folds = dict(zip(now.ids.tolist(), now.folds.tolist(), strict=True))
    assert [folds[one] for one in before.ids.tolist()] == before.folds.tolist()
    assert len(folds) == 22
    assert rt.compare([first, second]).examples == 16
    record = json.loads((first.folder / "run.json").read_text())
    record["protocol"]["folds"] = 2
    (first.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="other folds"):
        rt.fit(data, out=str(tmp_path / "third"), split_from=earlier, **same)


def test_inspection_says_how_and_what_is_wrong(pictures: Path) -> None:
    record = rt.inspect(pictures).record
    assert record.task.class_counts == {"dark": 22, "light & <b>bold<b>": 22}
    assert record.splits == {"test": 16, "train": 28}
    assert [(s.name, s.smallest, s.median, s.largest) for s in record.sizes] == [
        ("width, pixels", 48, 48, 48),
        ("height, pixels", 40, 40, 40),
    ]
    assert record.protocol is not None
    assert record.protocol.mode == "hold-out"
    assert record.task.quarantined == 1


def test_inspection_says_why_a_fit_is_not_possible(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for i in range(5):
        Image.new("RGB", (9, 9), (i * 40, 0, 0)).save(tmp_path / "one" / f"{i}.png")
    record = rt.inspect(tmp_path).record
    assert record.protocol is None
    assert record.cannot_fit


@pytest.mark.slow
def test_the_same_configuration_killed_at_any_moment_gives_the_same_numbers(
    small_run: Path, tmp_path: Path
) -> None:
    out, cache, chance = tmp_path / "run", tmp_path / "cache", np.random.default_rng()
    in_extraction = fit_again(small_run, cache, out)
    wait_for_features(cache, in_extraction)
    time.sleep(chance.uniform(0.0, 0.3))
    kill(in_extraction)
    assert not out.exists()
    anywhere = fit_again(small_run, cache, out)
    time.sleep(chance.uniform(1.0, 6.0))
    kill(anywhere)
    if not out.exists():
        last = fit_again(small_run, cache, out)
        _, complaint = last.communicate()
        assert last.returncode == 0, complaint
    found, undisturbed = (rt.load_run(r).record.as_json() for r in (out, small_run))
    assert found["test"] == undisturbed["test"]
    assert found["gain"] == undisturbed["gain"]
    assert found["chosen"]["source"] == undisturbed["chosen"]["source"]


def wait_for_features(cache: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until the first features are stored."""
    end = time.monotonic() + 300
    while not any(p.stat().st_size for p in (cache / "features" / "segments").glob("*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing was extracted"
        time.sleep(0.02)


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_damaged_record_is_refused_in_a_sentence(small_run: Path, tmp_path: Path) -> None:
    record = json.loads((small_run / "run.json").read_text())
    for change in (
        {"seed": "seven"},
        {"schema_version": 99},
        {"unknown": 1},
        {
            "mistakes": [
                {
                    **dict.fromkeys(("name", "target", "predicted"), "x"),
                    "confidence": 0.5,
                    "picture": "../../etc/passwd",
                }
            ]
        },
    ):
        folder = tmp_path / str(next(iter(change)))
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(StoreError, match=next(iter(change))):
            rt.load_run(folder)
    with pytest.raises(StoreError, match="not a run directory"):
        rt.load_run(tmp_path / "nowhere")
