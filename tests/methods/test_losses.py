"""What choices are made by."""

import numpy as np

from retarget.methods.base import Labels
from retarget.methods.losses import example_losses

N = 90


def test_losses_are_those_of_the_definition() -> None:
    truth = np.tile(np.array([0, 1], dtype=np.int64), N // 2)
    p = np.random.default_rng(0).dirichlet([1, 1], size=N)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, N)
    labels = Labels("classification", truth, 2, weights)
    expected = [
        -w / weights.mean() * np.log(row[t]) for w, row, t in zip(weights, p, truth, strict=True)
    ]
    np.testing.assert_allclose(example_losses(labels, p), expected)
    values = Labels("regression", np.arange(3.0), 1, np.ones(3))
    np.testing.assert_allclose(example_losses(values, np.zeros((3, 1))), [0.0, 1.0, 4.0])
