"""L-BFGS against closed forms and scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize

from retarget.methods.descent import minimise


def test_a_quadratic_is_solved():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 30))
    matrix, b = a @ a.T + np.eye(30), rng.normal(size=30)

    def function(x):
        return float(x @ matrix @ x / 2 - b @ x), matrix @ x - b

    found = minimise(function, np.zeros(30), 1 / np.diag(matrix), 1e-12, 500)
    assert found == pytest.approx(np.linalg.solve(matrix, b), abs=1e-5)


def test_a_logistic_loss_has_the_minimum_of_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 6)) * [1, 10, 0.1, 1, 3, 1], rng.integers(0, 2, 80) * 2 - 1

    def function(w):
        margin = y * (x @ w)
        p = 1 / (1 + np.exp(margin))
        value = np.logaddexp(0, -margin).mean() + 0.005 * w @ w
        return float(value), -(x.T @ (y * p)) / 80 + 0.01 * w

    found = minimise(function, np.zeros(6), np.ones(6), 1e-10)
    other = minimize(function, np.zeros(6), jac=True, tol=1e-10)
    assert function(found)[0] == pytest.approx(other.fun, abs=1e-8)


def test_it_stays_where_nothing_is_lower():
    found = minimise(lambda x: (0.0, np.zeros(3)), np.ones(3), np.ones(3))
    assert found.tolist() == [1, 1, 1]


def test_a_scale_far_off_is_survived():
    def function(x):
        return float((x**4).sum() + (x**2).sum()), 4 * x**3 + 2 * x

    for scale in (1e-4, 1e4):
        found = minimise(function, np.full(4, 3.0), np.full(4, scale), 1e-9)
        assert function(found)[0] < 1e-6


def test_float32_stays_float32():
    found = minimise(
        lambda x: (float(x @ x), 2 * x), np.ones(4, np.float32), np.ones(4, np.float32)
    )
    assert found.dtype == np.float32
    assert np.abs(found).max() < 1e-2
