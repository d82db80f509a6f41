"""The example beside an exported graph prepares pictures as the package does, pixel by pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.types import FloatArray
from retarget.sources.picture_intake import EXAMPLE
from retarget.sources.recipe import Recipe
from retarget.tasks.modalities import load


def example_prepares(path: Path, recipe: Recipe) -> FloatArray:
    """Return what the example's own code makes of a file, by the recipe as its card holds it."""
    names: dict[str, object] = {}
    exec(EXAMPLE.partition("\ncard = ")[0], names)
    return names["prepare"](path, json.loads(json.dumps(recipe.record())))  # type: ignore[operator]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@settings(deadline=None, max_examples=120)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(3, 30), st.integers(3, 30)),
    to=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    resize=st.sampled_from(["exact", "shorter", "cover", "contain"]),
    offset=st.sampled_from(["round", "floor"]),
    fill=st.tuples(*[st.integers(0, 255)] * 3),
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_the_example_prepares_as_the_recipe(
    folder, shape, size, to, resize, offset, fill, interpolation
):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = folder / "picture.png"
    Image.fromarray(pixels).save(path)
    recipe = Recipe(size, resize, to, interpolation, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), offset, fill)
    expected = recipe.apply(Image.fromarray(pixels))
    np.testing.assert_allclose(example_prepares(path, recipe), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "turned"])
def test_the_example_opens_files_as_the_package_does(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (31, 45, 4), dtype=np.uint8))
    path = tmp_path / ("picture.jpg" if mode in ("CMYK", "turned") else "picture.png")
    if mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.convert("RGB").save(path, exif=exif)
    else:
        picture.convert(mode).save(path)
    recipe = Recipe((16, 16), "shorter", (20, 20), "bilinear", (0.4,) * 3, (0.2,) * 3)
    expected = recipe.apply(load("image", path))
    np.testing.assert_allclose(example_prepares(path, recipe), expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "name"), [(np.uint16, "deep.png"), (np.float32, "deep.tiff")])
def test_the_example_refuses_what_it_would_read_as_white(
    tmp_path: Path, kind: type, name: str
) -> None:
    # The package scales these by the range they use, which is more than an example shows.
    path, recipe = (
        tmp_path / name,
        Recipe((4, 4), "exact", (4, 4), "bilinear", (0.4,) * 3, (1,) * 3),
    )
    Image.fromarray(np.linspace(0, 4095, 64).reshape(8, 8).astype(kind)).save(path)
    assert recipe.apply(load("image", path)).std() > 0.1
    with pytest.raises(AssertionError, match="8 bits"):
        example_prepares(path, recipe)
