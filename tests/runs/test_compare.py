"""Runs compared: each scored as its own report scores it, gains as a plain loop finds them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import retarget as rt
from retarget.core.errors import StoreError, UsageError
from retarget.runs.directory import PREDICTIONS
from retarget.runs.predictions import JudgedTable, read_predictions, write_predictions

LABELS = ["dark", "light"] * 12
WEIGHTS = np.linspace(0.2, 3.0, 24)
ASKED: dict[str, Any] = {
    "baselines": [],
    "metric": "auroc",
    "learning_curve": False,
    "engine": "eager",
    "folds": 3,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a run that reads pixels and one of random weights; of another seed; held out.

    All are of the same 24 noisy pictures, weighted, of which two are the same.
    """
    rng = np.random.default_rng(4)
    level = np.where(np.array(LABELS) == "dark", 100, 130)[:, None, None, None]
    level = level + rng.normal(0, 25, (24, 1, 1, 1))
    pixels = np.clip(rng.normal(level, 30, (24, 24, 24, 3)), 0, 255).astype(np.uint8)
    pixels[2] = pixels[0]
    crossed = rt.open_task(pixels, LABELS, weights=WEIGHTS)
    held_out = replace(
        crossed, examples=replace(crossed.examples, splits=np.array(["train"] * 12 + ["test"] * 12))
    )
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETARGET_CACHE", str(folder / "cache"))
        for name, task, source, seed in (
            ("pixels", crossed, "pixels:", 0),
            ("random", crossed, "random:resnet10t", 0),
            ("seeded", crossed, "random:resnet10t", 1),
            ("held", held_out, "pixels:", 0),
        ):
            rt.fit(task, sources=[source], out=str(folder / name), seed=seed, **ASKED)
    return [folder / name for name in ("pixels", "random", "seeded", "held")]


def within_folds(table: JudgedTable) -> float:
    """Return the weighted share of pairs of one fold that are in the right order."""
    right = whole = 0.0
    for i in np.flatnonzero(table.targets == 1):
        for j in np.flatnonzero(table.targets == 0):
            if table.folds[i] == table.folds[j]:
                pair = table.weights[i] * table.weights[j]
                a, b = table.predictions[i, 1], table.predictions[j, 1]
                right += pair * (1.0 if a > b else 0.5 if a == b else 0.0)
                whole += pair
    return right / whole


def test_each_run_has_the_score_of_its_own_report(runs: list[Path]) -> None:
    found = rt.compare(runs[:3])
    assert found.metric == "auroc"
    assert found.examples == 24
    for folder, one in zip(runs, found.runs, strict=False):
        assert one.score == rt.load_run(folder).record.test.metrics["auroc"]
        assert "within folds" in one.score.how
        assert one.score.value == pytest.approx(
            within_folds(read_predictions(folder / PREDICTIONS))
        )


def test_gains_are_differences_of_the_scores_and_point_the_right_way(runs: list[Path]) -> None:
    scores = [within_folds(read_predictions(folder / PREDICTIONS)) for folder in runs[:3]]
    assert len(set(scores)) == 3
    _, *others = rt.compare(runs[:3]).runs
    for one, score in zip(others, scores[1:], strict=True):
        assert one.gain is not None
        assert one.gain.value == pytest.approx(score - scores[0])
        assert one.gain.denominator_score == pytest.approx(scores[0])
        assert one.gain.low <= one.gain.value <= one.gain.high
    back = rt.compare([runs[1], runs[0]]).runs[1].gain
    assert back is not None
    assert back.value == pytest.approx(scores[0] - scores[1])


@pytest.mark.parametrize("order", [(0, 3), (3, 0)])
def test_a_cross_fitted_run_and_one_held_out_keep_their_own_folds(
    runs: list[Path], order: tuple[int, int]
) -> None:
    first, second = (runs[i] for i in order)
    crossed, held = (read_predictions(runs[i] / PREDICTIONS) for i in (0, 3))
    found = rt.compare([first, second])
    assert found.examples == len(held.ids) == 12
    judged = crossed.take(np.array([crossed.names.index(name) for name in held.names]))
    scores = {0: within_folds(judged), 3: within_folds(held)}
    gain = found.runs[1].gain
    assert gain is not None
    assert [r.score.value for r in found.runs] == pytest.approx([scores[i] for i in order])
    assert gain.value == pytest.approx(scores[order[1]] - scores[order[0]])
    assert "within folds" in gain.how


def test_rows_are_paired_by_id_whatever_their_order(runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    shutil.copytree(runs[1], folder)
    table = read_predictions(folder / PREDICTIONS)
    # The two copies keep their order: nothing else tells them apart.
    order = np.roll(np.arange(24), 5)
    write_predictions(table.take(order), folder / PREDICTIONS)
    straight, turned = (rt.compare([runs[0], other]).runs[1] for other in (runs[1], folder))
    assert straight.gain is not None
    assert turned.gain is not None
    assert turned.gain.value == pytest.approx(straight.gain.value)
    assert turned.gain.low == pytest.approx(straight.gain.low)
    assert turned.score.value == pytest.approx(straight.score.value)


def test_runs_judged_on_other_examples_are_refused(runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "others"
    shutil.copytree(runs[0], folder)
    table = read_predictions(folder / PREDICTIONS)
    strange = np.array([one[::-1] for one in table.ids.tolist()])
    write_predictions(replace(table, ids=strange), folder / PREDICTIONS)
    with pytest.raises(UsageError, match="judged on different examples"):
        rt.compare([runs[0], folder])


def test_predictions_without_weights_weigh_one_and_odd_weights_are_refused(
    runs: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "earlier"
    shutil.copytree(runs[0], folder)
    path = folder / PREDICTIONS
    pq.write_table(pq.read_table(path).drop_columns(["weight"]), path)
    table = read_predictions(path)
    assert table.weights.tolist() == [1.0] * 24
    (_, other) = rt.compare([runs[1], folder]).runs
    assert other.score.value == pytest.approx(within_folds(table))
    write_predictions(replace(table, weights=np.zeros(24)), path)
    with pytest.raises(StoreError, match="does not fit"):
        rt.compare([runs[1], folder])
