"""Corruption: always alike, apart in the store, worse with severity, and never a crash."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.errors import UnreadableInput, UsageError
from retarget.tasks import modalities, picture_corruptions
from retarget.tasks.corruption import SEVERITIES, Corrupted, corrupted_task, corruptions
from retarget.tasks.modalities import LOADERS, Loader, identify, keep, load, measure, picture
from retarget.tasks.open import open_task
from retarget.tasks.picture_corruptions import PICTURE_CORRUPTIONS

NAMES = corruptions("image")


def scene(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A picture with large and small parts, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size)
    fine = rng.normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8))


def pixels(reference: object, detail: int = 0) -> np.ndarray:
    return np.asarray(load("image", reference, detail), np.float64)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def test_every_picture_corruption_has_a_name() -> None:
    assert set(NAMES) == {"blur", "noise", "jpeg", "brightness", "contrast", "occlusion"}
    assert corruptions("audio") == ()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_content_is_corrupted_alike_whatever_holds_it(name: str, tmp_path: Path) -> None:
    path, copy = tmp_path / "a.png", tmp_path / "b.bin"
    scene((60, 40)).save(path)
    copy.write_bytes(path.read_bytes())
    first = pixels(Corrupted(path, name, 2))
    assert np.array_equal(first, pixels(Corrupted(path, name, 2)))
    assert np.array_equal(first, pixels(Corrupted(copy, name, 2)))
    assert np.array_equal(first, pixels(Corrupted(path.read_bytes(), name, 2)))


@pytest.mark.parametrize("name", ["noise", "occlusion"])
def test_other_content_is_corrupted_in_another_way(name: str) -> None:
    grey, nearly = (Image.new("RGB", (64, 64), (level,) * 3) for level in (90, 91))
    changes = [pixels(Corrupted(one, name, 2)) - pixels(one) for one in (grey, nearly)]
    assert ((changes[0] != 0) != (changes[1] != 0)).any()


@pytest.mark.parametrize("name", NAMES)
def test_more_severe_is_further_from_the_picture(name: str) -> None:
    scenes = [scene((96, 72), seed) for seed in range(12)]
    far = [
        np.mean([distance(pixels(Corrupted(one, name, s)), pixels(one)) for one in scenes])
        for s in SEVERITIES
    ]
    assert 0.5 < far[0] < far[1] < far[2] < 80


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_corrupted_picture_keeps_its_shape_and_is_rgb(name: str, severity: int) -> None:
    before = scene((300, 290))
    after = load("image", Corrupted(before, name, severity))
    assert (after.mode, after.size) == ("RGB", before.size)


@given(
    size=st.tuples(st.sampled_from([1, 2, 7, 31]), st.sampled_from([1, 3, 40, 3000])),
    level=st.sampled_from([0, 128, 255]),
    flip=st.booleans(),
    grey=st.booleans(),
    severity=st.sampled_from(SEVERITIES),
)
@settings(deadline=None, max_examples=40)
def test_no_picture_is_too_strange(
    size: tuple[int, int], level: int, flip: bool, grey: bool, severity: int
) -> None:
    size = size[::-1] if flip else size
    before = Image.new("RGB", size, (level,) * 3) if grey else scene(size, level)
    for name in NAMES:
        after = load("image", Corrupted(before, name, severity))
        assert (after.mode, after.size) == ("RGB", size)


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg", "brightness", "contrast", "occlusion"])
def test_a_grey_picture_stays_grey(name: str) -> None:
    grey = scene((80, 64)).convert("L").convert("RGB")
    after = pixels(Corrupted(grey, name, 3))
    assert np.ptp(after, axis=2).max() == 0


@pytest.mark.parametrize("name", ["noise", "jpeg", "blur"])
def test_a_large_picture_suffers_as_much_as_a_small_one_at_the_size_that_models_see(
    name: str,
) -> None:
    large = scene((320, 320)).resize((1280, 1280), Image.Resampling.BICUBIC)
    small = large.resize((320, 320), Image.Resampling.BOX)
    seen = []
    for one in (large, small):
        pair = [load("image", r).resize((128, 128)) for r in (one, Corrupted(one, name, 3))]
        seen.append(distance(*(np.asarray(p, np.float64) for p in pair)))
    assert seen[0] == pytest.approx(seen[1], rel=0.25)


def test_every_encoder_sees_the_same_square_whatever_detail_it_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (800, 640), (250, 20, 20)).save(path)
    hidden = Corrupted(path, "occlusion", 2)
    whole, reduced = load("image", hidden), load("image", hidden, 80)
    assert reduced.width < whole.width
    centres = []
    for one in (whole, reduced):
        rows, columns = np.nonzero(np.asarray(one)[:, :, 1] > 100)
        centres.append((rows.mean() / one.height, columns.mean() / one.width))
    assert np.allclose(*centres, atol=0.02)


def test_the_hidden_square_has_the_stated_side_and_level() -> None:
    after = pixels(Corrupted(Image.new("RGB", (300, 100)), "occlusion", 3))
    assert (after == 128).all(axis=2).sum() == 50 * 50
    assert set(np.unique(after)) == {0, 128}


def test_contrast_draws_levels_towards_their_mean() -> None:
    half = np.zeros((10, 10, 3), np.uint8)
    half[:5] = 200
    after = pixels(Corrupted(half, "contrast", 1))
    assert set(np.unique(after)) == {100 - 60, 100 + 60}


def test_exposure_errs_on_both_sides() -> None:
    grey = [Image.new("RGB", (2, 2), (level,) * 3) for level in range(60, 200, 4)]
    moved = [np.sign(pixels(Corrupted(one, "brightness", 1)).mean() - pixels(one).mean())
             for one in grey]  # fmt: skip
    assert {-1.0, 1.0} == set(moved)


def test_noise_has_the_stated_strength() -> None:
    noisy = pixels(Corrupted(np.full((200, 200, 3), 128, np.uint8), "noise", 2))
    assert noisy.std() == pytest.approx(30, rel=0.03)


def test_a_very_large_picture_is_shrunk_before_it_is_corrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(picture_corruptions, "MOST_PIXELS", 4000)
    large = Image.new("RGB", (400, 150), (9, 99, 199))
    for corrupt in PICTURE_CORRUPTIONS.values():
        after = corrupt(large, 1, np.random.default_rng(0))
        assert after.width * after.height == pytest.approx(4000, rel=0.01)
        assert after.width / after.height == pytest.approx(400 / 150, rel=0.02)


def test_a_corruption_leaves_the_callers_picture_alone() -> None:
    mine = scene((40, 40))
    before = mine.tobytes()
    for name in NAMES:
        load("image", Corrupted(mine, name, 3))
    assert mine.tobytes() == before


def test_ids_differ_by_content_name_and_severity() -> None:
    ids = {
        identify("image", Corrupted(one, name, severity))
        for one in (scene((8, 8)), scene((8, 8), 1))
        for name in NAMES
        for severity in SEVERITIES
    }
    assert len(ids) == 2 * len(NAMES) * 3
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)


def test_a_corrupted_picture_is_kept_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scene((30, 20)).save(path)
    noisy = Corrupted(path, "noise", 3)
    kept = keep("image", noisy, tmp_path / "kept")
    assert kept == tmp_path / "kept.png"
    assert np.array_equal(pixels(kept), pixels(noisy))
    assert keep("image", path, tmp_path / "other") == path


def test_a_report_shows_the_corrupted_picture() -> None:
    hidden = Corrupted(Image.new("RGB", (64, 64)), "occlusion", 3)
    shown = picture("image", hidden, 32)
    assert shown is not None
    with Image.open(io.BytesIO(shown)) as small:
        assert small.size == (32, 32)
        assert float(np.asarray(small).max()) == pytest.approx(128, abs=20)


def test_sizes_are_those_of_the_input() -> None:
    assert measure("image", Corrupted(scene((30, 20)), "blur", 1)) == {
        "width, pixels": 30,
        "height, pixels": 20,
    }


def test_corruptions_can_be_laid_over_each_other() -> None:
    one = scene((40, 40))
    foggy = Corrupted(one, "contrast", 1)
    both = Corrupted(foggy, "blur", 3)
    assert len({identify("image", r) for r in (one, foggy, both)}) == 3
    assert pixels(both).std() < pixels(foggy).std() < pixels(one).std()


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="is not there"):
        load("image", Corrupted(tmp_path / "gone.png", "blur", 1))


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("blur", 0), ("blur", 4)])
def test_a_corruption_that_is_not_there_is_refused(
    name: str, severity: int, two_classes: Path
) -> None:
    with pytest.raises(UsageError, match=r"blur|1, 2 or 3"):
        load("image", Corrupted(scene((8, 8)), name, severity))
    with pytest.raises(UsageError, match=r"blur|1, 2 or 3"):
        corrupted_task(open_task(two_classes), name, severity)


def test_a_corrupted_task_has_other_ids_and_inputs_and_nothing_else_new(two_classes: Path) -> None:
    task = open_task(two_classes)
    noisy = corrupted_task(task, "noise", 2)
    before, after = task.examples, noisy.examples
    assert not set(before.ids) & set(after.ids)
    for row, reference in enumerate(after.inputs["image"]):
        assert reference == Corrupted(before.inputs["image"][row], "noise", 2)
        assert identify("image", reference) == after.ids[row]
    assert np.array_equal(before.targets, after.targets)
    assert (before.names, task.classes, task.kind) == (after.names, noisy.classes, noisy.kind)
    for column in ("splits", "groups", "domains", "weights"):
        assert np.array_equal(getattr(before, column), getattr(after, column))
    assert list(noisy.take(np.array([3])).examples.ids) == [after.ids[3]]


@pytest.mark.slow
def test_features_of_clean_and_corrupted_pictures_are_kept_apart(two_classes: Path) -> None:
    from retarget.features.extract import extract
    from retarget.features.store import FeatureStore
    from retarget.features.table import Table
    from retarget.sources.registry import resolve

    task, source, store = open_task(two_classes), resolve("pixels:"), FeatureStore()
    rows = np.arange(len(task))
    tables = []
    for one in (task, corrupted_task(task, "contrast", 3), task):
        made = extract(one, [source], store=store)
        tables.append(Table.read(made.features[source.uri], rows).matrix)
    assert not np.allclose(tables[0], tables[1])
    assert np.array_equal(tables[0], tables[2])


def test_another_modality_registers_its_corruptions_as_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def typos(text: str, severity: int, random: np.random.Generator) -> str:
        letters = list(text)
        for place in random.choice(len(letters), severity, replace=False):
            letters[place] = "*"
        return "".join(letters)

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731 - stands in for a loader's parts
    words = Loader(
        load=lambda text, _: text,
        identify=lambda text: f"{sum(text.encode()):032x}",
        keep=lambda text, place: Path(place, text),
        picture=nothing,
        measure=lambda text: {"letters": len(text)},
        corruptions={"typos": typos},
    )
    monkeypatch.setitem(LOADERS, "text", words)
    assert corruptions("text") == ("typos",)
    wrong = Corrupted("retarget", "typos", 2)
    assert load("text", wrong).count("*") == 2
    assert load("text", wrong) == load("text", wrong)
    assert modalities.keep("text", wrong, Path("x")) == Path("x", load("text", wrong))
    assert picture("text", wrong, 10) is None
    with pytest.raises(UsageError, match="typos"):
        load("text", Corrupted("retarget", "blur", 2))
