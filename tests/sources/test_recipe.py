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
