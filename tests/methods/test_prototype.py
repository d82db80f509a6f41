"""`Prototype` against its formula in plain loops, and its probabilities against the truth."""

import numpy as np
import pytest

from retarget.methods.base import Labels, log_softmax
from retarget.methods.prototype import Prototype


def labels(values, outputs, weights=None):
    values = np.asarray(values)
    return Labels("classification", values, outputs, weights or np.ones(len(values)))


def plain(x, y, classes, shrinkage, query):
    m = x.mean(axis=0)
    u = np.array([x[y == k].mean(axis=0) - m for k in range(classes)])
    within = sum(((xi - x[y == k].mean(axis=0)) @ uk) ** 2
                 for xi, k in zip(x, y, strict=True) for uk in u)  # fmt: skip
    total = sum(((xi - m) @ uk) ** 2 for xi in x for uk in u)
    v = (within + total / len(x)) / (len(x) - classes + 1) / (u**2).sum()
    z = np.empty((len(query), classes))
    for k in range(classes):
        n_k = (y == k).sum()
        p = n_k / (n_k + shrinkage) * u[k]
        prior = np.log((n_k + 0.5) / (len(x) + 0.5 * classes))
        z[:, k] = (query - m) @ p / v - p @ p / (2 * v) + prior
    return z


@pytest.mark.parametrize("shrinkage", [0.0, 1.0, 10.0])
def test_logits_follow_the_formula(shrinkage):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(30) % 3)
    x = rng.normal(size=(30, 5)) + rng.normal(size=(3, 5))[y] + 2
    head = Prototype().fit(x.astype(np.float32), labels(y, 3), shrinkage)
    query = rng.normal(size=(7, 5))
    np.testing.assert_allclose(head.outputs(query), plain(x, y, 3, shrinkage, query), rtol=1e-3)


def test_one_label_a_class_finds_the_nearest():
    x = np.eye(4, dtype=np.float32)
    for setting in Prototype().settings(labels(range(4), 4)):
        z = Prototype().fit(x, labels(range(4), 4), setting).outputs(x + 0.1)
        np.testing.assert_array_equal(z.argmax(axis=1), range(4))


def test_probabilities_fit_gaussian_classes_of_one_variance():
    rng = np.random.default_rng(1)
    means = rng.normal(size=(3, 20)) * 0.4
    y = np.arange(3000) % 3
    x = (means[y] + rng.normal(size=(3000, 20))).astype(np.float32)
    z = Prototype().fit(x[:1500], labels(y[:1500], 3), 0.0).outputs(x[1500:])
    truth = log_softmax(x[1500:] @ means.T - (means**2).sum(axis=1) / 2)
    rows = np.arange(1500)
    ours, best = -log_softmax(z)[rows, y[1500:]].mean(), -truth[rows, y[1500:]].mean()
    assert ours < best + 0.02
