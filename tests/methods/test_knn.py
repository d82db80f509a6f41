"""`Knn` on examples where the neighbours are plain to see."""

import numpy as np

from retarget.methods.base import Labels
from retarget.methods.knn import Knn


def labels(values, outputs=2):
    return Labels("classification", np.asarray(values), outputs, np.ones(len(values)))


def test_nearest_neighbour_has_the_say():
    x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    z = Knn((1,)).cross_fit(x, labels([0, 0, 1, 1]), np.array([0, 1, 0, 1])).outputs
    np.testing.assert_array_equal(z[0].argmax(axis=1), [0, 0, 1, 1])


def test_more_neighbours_than_examples_are_not_offered():
    assert Knn().settings(labels([0, 1] * 4)) == (5.0, 3.0, 1.0)
    assert Knn((20,)).settings(labels([0, 1])) == (20.0,)


def test_many_rows_are_done_in_blocks_with_the_same_outcome(monkeypatch):
    rng = np.random.default_rng(0)
    x, y, folds = rng.normal(size=(50, 6)).astype(np.float32), np.arange(50) % 2, np.arange(50) % 5
    whole = Knn().cross_fit(x, labels(y), folds).outputs
    monkeypatch.setattr("retarget.methods.knn.ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(Knn().cross_fit(x, labels(y), folds).outputs, whole, rtol=1e-4)
