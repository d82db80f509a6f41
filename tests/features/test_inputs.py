"""Inputs that are no task: what is read of them, and what is said of the rest."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retarget.core.errors import DataError
from retarget.features.inputs import input_features, listed


def test_rows_are_those_of_the_encoder_and_the_rest_is_named(
    tiny: ModuleType, tmp_path: Path
) -> None:
    pictures = tiny.pictures(5)
    gone = tmp_path / "gone.png"
    given = [pictures[0], gone, *pictures[1:3], "", *pictures[3:]]
    source = tiny.TinySource()
    read = input_features(listed(given, "image"), source, "mean", "eager", "cpu")
    assert read.rows.tolist() == [0, 2, 3, 5, 6]
    assert sorted(read.lost) == [1, 4]
    assert f"{gone} is not there" in read.told()
    assert read.told().startswith("2 of 7 inputs can't be read: ")
    encoder = source.load()
    prepared = [encoder.prepare(Image.fromarray(picture)) for picture in pictures]
    expected = encoder.pooled(encoder.collate(prepared), "mean")
    for name in read.table.layers:
        assert np.allclose(read.table.layer(name), expected[name], atol=1e-5)


def test_the_same_picture_twice_is_one_to_the_encoder(tiny: ModuleType) -> None:
    picture = tiny.pictures(1)[0]
    read = input_features([picture, picture.copy()], tiny.TinySource(), "mean", "eager", "cpu")
    assert read.ids[0] == read.ids[1]
    assert np.array_equal(read.table.matrix[0], read.table.matrix[1])


def test_a_source_is_not_loaded_for_what_is_known(tiny: ModuleType) -> None:
    pictures = tiny.pictures(3)
    source = tiny.TinySource()
    first = input_features(pictures, source, "mean", "eager", "cpu")
    again = input_features(pictures[::-1], source, "mean", "eager", "cpu")
    assert source.loads == 1
    assert np.array_equal(again.table.matrix, first.table.matrix[::-1])


def test_whole_insists_on_every_input(tiny: ModuleType) -> None:
    read = input_features([*tiny.pictures(2), None], tiny.TinySource(), "mean", "eager", "cpu")
    with pytest.raises(DataError, match="1 of 3 inputs can't be read: row 2 "):
        read.whole()


@pytest.mark.parametrize("nothing", [[], (), np.empty((0, 4, 4, 3), np.uint8)])
def test_an_empty_list_is_refused(nothing: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        listed(nothing, "image")


@pytest.mark.parametrize("single", ["a.png", b"\x89PNG", Path("a.png"), 3, None])
def test_a_single_input_is_refused(single: Any) -> None:
    with pytest.raises(DataError, match=f"One {type(single).__name__} was given"):
        listed(single, "image")


def test_a_column_is_a_list_and_small_pictures_are_none() -> None:
    names = np.array([["a.png"], ["b.png"]])
    paths = [Path("a.png"), Path("b.png")]
    assert listed(names, "image") == listed(names.astype(object), "image") == paths
    assert [row.shape for row in listed(np.zeros((2, 1), np.uint8), "image")] == [(1,), (1,)]
