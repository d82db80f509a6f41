from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retarget.core.errors import DataError
from retarget.tasks.modalities import load
from retarget.tasks.open import open_task
from retarget.tasks.task import Task


def pixels_of(task: Task, row: int) -> np.ndarray:
    return np.asarray(load("image", task.examples.inputs["image"][row]))


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
PIXELS[0, 0, 0] = 255


def test_arrays_of_any_layout_and_range_are_pictures() -> None:
    import torch

    for data in (
        PIXELS,
        PIXELS / 255.0,
        PIXELS.astype(np.float32),
        PIXELS.transpose(0, 3, 1, 2),
        torch.tensor(PIXELS).permute(0, 3, 1, 2),
    ):
        task = open_task(data, list("aabbc"))
        assert task.examples.names == ("row 0", "row 1", "row 2", "row 3", "row 4")
        for row in range(5):
            assert np.array_equal(pixels_of(task, row), PIXELS[row])


def test_the_range_is_that_of_the_whole_array() -> None:
    data = np.zeros((2, 4, 4))
    data[0] = 0.25
    data[1] = 200.0
    assert open_task(data).layout.endswith("0 read as black and 255 as white.")
    assert pixels_of(open_task(data), 0).max() == 0
    truth = open_task(np.eye(4, dtype=bool)[None])
    assert pixels_of(truth, 0)[:, :, 0].tolist() == (np.eye(4) * 255).tolist()


@pytest.mark.parametrize("shape", [(5,), (5, 4), (0, 4, 4), (2, 3, 4, 5, 6)])
def test_arrays_that_are_no_pictures_say_so(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="not pictures"):
        open_task(np.zeros(shape))
    with pytest.raises(DataError, match="not pictures"):
        open_task(np.full((2, 4, 4), "x"))


def test_a_picture_of_an_odd_shape_is_left_out_by_row() -> None:
    with pytest.raises(DataError, match="shape"):
        open_task([np.zeros((5, 5, 5))], strict=True)


def test_lists_mix_what_loaders_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[0]).save(path)
    data = [path, str(path), path.read_bytes(), Image.fromarray(PIXELS[1]), PIXELS[2]]
    task = open_task([*data, tmp_path / "gone.png", object()], [0, 0, 0, 1, 1, 1, 1])
    assert task.examples.names[:3] == (str(path), str(path), "row 2")
    assert len(set(task.examples.ids[:3])) == 1
    assert task.examples.targets.tolist() == [0, 0, 0, 1, 1]
    assert [problem.where for problem in task.problems] == [
        (str(tmp_path / "gone.png"),),
        ("row 6",),
    ]
    assert np.array_equal(pixels_of(task, 4), PIXELS[2])


def test_one_picture_is_a_task(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[0]).save(path)
    assert open_task(path).examples.names == (str(path),)
    assert open_task(str(path)).examples.inputs["image"] == [path]


def test_an_empty_list_says_what_to_give() -> None:
    with pytest.raises(DataError, match="list is empty"):
        open_task([])


def test_targets_may_be_arrays_tensors_and_series() -> None:
    import pandas
    import torch

    for targets in (
        np.array([0, 1, 0, 1, 1]),
        torch.tensor([0, 1, 0, 1, 1]),
        pandas.Series([0, 1, 0, 1, 1], index=[9, 8, 7, 6, 5]),
        ["0", "1", "0", "1", "1"],
    ):
        task = open_task(PIXELS, targets)
        assert task.classes == ("0", "1")
        assert task.examples.targets.tolist() == [0, 1, 0, 1, 1]


def test_a_matrix_of_zeros_and_ones_is_multilabel() -> None:
    matrix = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1], [np.nan] * 3])
    task = open_task(PIXELS, matrix)
    assert (task.kind, task.classes) == ("multilabel", ("0", "1", "2"))
    assert np.array_equal(task.examples.targets, matrix, equal_nan=True)


def test_columns_beside_the_data_are_used_and_must_fit() -> None:
    task = open_task(
        PIXELS,
        [1, 2, 1, 2, None],
        groups=["a", "a", "b", None, 3],
        splits=["train", "train", "test", "test", ""],
        domain_names=list("xxyyy"),
        weights=[1, 2, 3, 4, 5],
        name="mine",
    )
    assert task.name == "mine"
    assert task.examples.groups.tolist() == ["a", "a", "b", "", "3"]
    assert task.examples.splits.tolist() == ["train", "train", "test", "test", ""]
    assert task.examples.domains.tolist() == list("xxyyy")
    assert task.examples.weights.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(DataError, match="4 values in targets for 5 examples"):
        open_task(PIXELS, [1, 2, 3, 4])
    with pytest.raises(DataError, match="1 value in groups"):
        open_task(PIXELS, groups=["a"])
