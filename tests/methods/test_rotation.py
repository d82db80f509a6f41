"""A rotation keeps lengths and angles, and weights come back."""

import numpy as np
import pytest

from retarget.methods.rotation import rotate


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (600, 700), (700, 600)])
def test_rotation_keeps_inner_products_and_predictions(shape):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=shape) @ np.diag(1 / np.arange(1, shape[1] + 1) ** 0.5)).astype("f")
    rotation = rotate(rows)
    z = rotation.coordinates.astype(float)
    expected = rows.astype(float) @ rows.T
    np.testing.assert_allclose(z @ z.T, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose((z**2).mean(axis=0), rotation.variances, rtol=1e-2, atol=1e-6)
    weight = (rng.normal(size=(3, len(rows))) @ z) / len(rows)
    back = rotation.back(weight)
    assert back.shape == (3, shape[1])
    np.testing.assert_allclose(rows @ back.T, z @ weight.T, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose((back**2).sum(), (weight**2).sum(), rtol=1e-2)
    again = rows @ rotation.back(rotation.into(back)).T
    np.testing.assert_allclose(again, rows @ back.T, rtol=1e-2, atol=1e-3)


def test_directions_without_variance_are_left_out():
    rows = np.zeros((9, 4), np.float32)
    rows[:, 1] = np.arange(9) - 4
    assert rotate(rows).coordinates.shape == (9, 1)
    assert rotate(np.zeros((9, 4), np.float32)).coordinates.shape == (9, 0)
