"""Heads compute what they say, and refuse arrays that are not theirs."""

import numpy as np
import pytest

from retarget.methods.heads import KnnHead, LinearHead


def linear():
    return LinearHead(np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]), np.array([0.1, 0.2, 0.3]))


def knn():
    bank = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    return KnnHead(bank, np.eye(2)[[0, 1, 1]], np.ones(3), 2.0, "classification")


def test_linear_outputs_are_weighted_sums():
    np.testing.assert_allclose(
        linear().outputs(np.array([[1.0, 10.0]])), [[1 + 20 + 0.1, -10 + 0.2, 3 + 5 + 0.3]]
    )


def test_outputs_are_float64_for_float32_features():
    x = np.ones((2, 2), np.float32)
    assert linear().outputs(x).dtype == np.float64
    assert knn().outputs(x).dtype == np.float64


@pytest.mark.parametrize("head", [linear(), knn()])
def test_features_of_another_width_are_refused(head):
    with pytest.raises(ValueError, match=r"takes \(n, 2\)"):
        head.outputs(np.ones((4, 3), np.float32))


@pytest.mark.parametrize("head", [linear(), knn()])
def test_missing_arrays_are_named(head):
    for name in head.arrays():
        rest = {k: a for k, a in head.arrays().items() if k != name}
        with pytest.raises(KeyError, match=name):
            type(head).from_arrays(rest)


@pytest.mark.parametrize("head", [linear(), knn()])
def test_arrays_that_are_not_part_of_a_head_are_refused(head):
    with pytest.raises(ValueError, match="code"):
        type(head).from_arrays(head.arrays() | {"code": np.ones(1)})


@pytest.mark.parametrize("head", [linear(), knn()])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a[..., None],
        lambda a: a[:0],
        lambda a: np.concatenate([a, a, a]),
        lambda a: a.astype(np.int64),
        lambda a: a.astype(object),
        lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.nan, a),
        lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.inf, a),
        lambda a: a.tolist(),
    ],
)
def test_arrays_that_do_not_fit_are_refused(head, spoil):
    for name, array in head.arrays().items():
        with pytest.raises(ValueError):
            type(head).from_arrays(head.arrays() | {name: spoil(array)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("of", 7.0),
        ("of", 0.5),
        ("of", -1.0),
        ("neighbours", 0.0),
        ("neighbours", -3.0),
        ("weights", 0.0),
        ("votes", 2.0),
        ("votes", -1.0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name, value):
    arrays = knn().arrays()
    with pytest.raises(ValueError):
        KnnHead.from_arrays(arrays | {name: np.full_like(arrays[name], value)})
