"""The recipe against timm's transforms, for every way of resizing and any size of picture."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retarget.core.errors import SourceError
from retarget.sources.recipe import Recipe
from retarget.sources.timm_config import recipe_of


@settings(deadline=None, max_examples=80)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    square=st.booleans(),
    crop_pct=st.sampled_from([0.7, 0.875, 0.9, 0.96, 1.0]),
    crop_mode=st.sampled_from(["center", "squash", "border"]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"]),
)
def test_the_recipe_is_timms_transform(shape, size, square, crop_pct, crop_mode, interpolation):
    from timm.data import create_transform

    size = (size[0], size[0]) if square else size
    config = {
        "input_size": (3, *size),
        "interpolation": interpolation,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    recipe = recipe_of(config)
    try:
        theirs = create_transform(**config, is_training=False)(picture).numpy()
    except (ValueError, ZeroDivisionError, RuntimeError):
        assert recipe.apply(picture).shape == (3, *size)
        return
    np.testing.assert_allclose(recipe.apply(picture), theirs, rtol=0, atol=1e-6)
    again = Recipe.from_record(json.loads(json.dumps(recipe.record())))
    assert again == recipe


def test_timms_defaults_are_ours():
    from timm.data import resolve_data_config

    theirs = resolve_data_config({}, pretrained_cfg={"license": "mit"})
    assert recipe_of({}) == recipe_of(theirs)


@pytest.mark.parametrize(("side", "detail"), [(32, 640), (320, 640), (321, 1280), (640, 1280)])
def test_detail_doubles_in_steps(side, detail):
    assert recipe_of({"input_size": (3, side, side)}).detail == detail


def test_grey_pictures_are_taken_as_rgb():
    picture = Image.new("L", (30, 30), 100)
    assert recipe_of({}).apply(picture).shape == (3, 224, 224)


GOOD = recipe_of({}).record()


@pytest.mark.parametrize(
    "changes",
    [
        {"size": [0, 4]},
        {"size": [10**9, 10**9]},
        {"size": [True, True]},
        {"size": "22"},
        {"size": [4, 4, 4]},
        {"resize": {"how": "magic", "to": [4, 4]}},
        {"resize": {"to": [4, 4]}},
        {"resize": None},
        {"crop": {"offset": "up", "fill": [0, 0, 0]}},
        {"crop": {"offset": "round", "fill": [0, 0, 300]}},
        {"interpolation": ["bicubic"]},
        {"mean": [0.1, 0.2]},
        {"mean": [float("nan")] * 3},
        {"std": [0, 0, 0]},
        {"std": ["1", "1", "1"]},
        {"more": 1},
    ],
)
def test_a_record_that_is_no_recipe_is_refused(changes):
    assert Recipe.from_record(GOOD) == recipe_of({})
    with pytest.raises(SourceError, match="preprocessing"):
        Recipe.from_record(GOOD | changes)


def gradient_picture(height=90, width=130):
    """Red grows to the right, green downwards; blue is even."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 128)], 2)
    return Image.fromarray(pixels.astype(np.uint8))


WAYS = ["center", "squash", "border"]


def view_recipe(mode, side=24):
    return recipe_of(
        {"input_size": (3, side, side), "crop_mode": mode, "interpolation": "bilinear"}
    )


@pytest.mark.parametrize("mode", WAYS)
def test_views_without_strength_are_those_of_evaluation(mode):
    picture, recipe = gradient_picture(), view_recipe(mode)
    view = recipe.augment(picture, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(view, recipe.apply(picture))


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    mode=st.sampled_from(WAYS),
    strength=st.floats(0.01, 1),
    seed=st.integers(0, 1000),
)
def test_views_of_any_picture_are_inputs_and_the_state_alone_decides_them(
    height, width, mode, strength, seed
):
    picture, recipe = gradient_picture(height, width), view_recipe(mode)
    first, second = (
        recipe.augment(picture, np.random.default_rng(seed), strength) for _ in range(2)
    )
    assert first.shape == (3, 24, 24)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    table = recipe._table()
    assert (first.min(axis=(1, 2)) >= table[:, 0]).all()
    assert (first.max(axis=(1, 2)) <= table[:, 255]).all()


def test_views_are_parts_of_the_stated_size_flipped_half_of_the_time():
    """Read off the gradients: how much of the picture a view spans, and which way it runs."""
    side = 240
    picture = gradient_picture(side, side)
    recipe = Recipe((24, 24), "exact", (24, 24), "bilinear", (0.0,) * 3, (1.0,) * 3)
    random = np.random.default_rng(5)
    shares, flips, aspects = [], [], []
    for _ in range(400):
        box = recipe._part(side, side, random.random(4), 1.0)
        wide, high = box[2] - box[0], box[3] - box[1]
        assert 0 <= box[0] < box[2] <= side
        assert 0 <= box[1] < box[3] <= side
        shares.append(wide * high / side**2)
        aspects.append(wide / high)
        view = recipe.augment(picture, random, 1.0)
        flips.append(view[0, :, 0].mean() > view[0, :, -1].mean())
    assert 0.34 < min(shares) < 0.45
    assert 0.9 < max(shares) <= 1
    assert 0.74 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.34
    assert 0.42 < np.mean(flips) < 0.58


def test_colours_change_about_the_mean_as_the_formula_says():
    from retarget.sources.recipe import GREY, _recoloured

    pixels = np.random.default_rng(0).integers(90, 160, (20, 20, 3)).astype(np.uint8)
    factors = np.array([0.9, 1.2, 0.7])
    found = np.asarray(_recoloured(Image.fromarray(pixels), factors), dtype=float)
    grey = (pixels @ np.array(GREY))[..., None]
    expected = grey + factors[2] * (pixels - grey)
    expected = factors[0] * (grey.mean() + factors[1] * (expected - grey.mean()))
    np.testing.assert_allclose(found, expected, atol=1.0)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 300), st.sampled_from(WAYS))
def test_a_scaled_recipe_keeps_its_proportions(side, mode):
    recipe = view_recipe(mode, 224)
    scaled = recipe.scaled(side)
    assert scaled.size == (side, side)
    assert abs(scaled.to[0] - recipe.to[0] * side / 224) <= 0.5
    assert recipe.scaled(224) == recipe
    assert scaled.apply(gradient_picture()).shape == (3, side, side)
