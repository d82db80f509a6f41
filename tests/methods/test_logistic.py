"""The path solver against SciPy's minimiser in double precision."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from retarget.methods.logistic import Problems, solve_path


def exact(x, target, weights, strength):
    """Minimise in float64; returns the objective at its minimum and the minimiser (K, r + 1)."""
    x1 = np.column_stack([x, np.ones(len(x))]).astype(float)
    k, free = len(target), np.append(np.ones(x.shape[1]), 0)

    def objective(flat):
        w = flat.reshape(k, -1)
        z = w @ x1.T
        if k == 1:
            loss, residual = np.logaddexp(0, z)[0] - z[0] * target[0], expit(z) - target
        else:
            log_sum = logsumexp(z, axis=0)
            loss, residual = log_sum - (z * target).sum(axis=0), np.exp(z - log_sum) - target
        value = weights @ loss + strength / 2 * (w**2 * free).sum()
        return value, ((residual * weights) @ x1 + strength * w * free).ravel()

    start = np.zeros(k * x1.shape[1])
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return found.fun, found.x.reshape(k, -1), objective


@pytest.mark.parametrize("columns", [1, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_solutions_reach_the_minimum_along_the_path(columns, seed):
    rng = np.random.default_rng(seed)
    n, width = [(40, 6), (12, 30), (60, 3), (25, 25)][seed]
    y = rng.integers(max(columns, 2), size=n)
    x = (rng.normal(size=(n, width)) + seed * 0.5 * np.eye(8, width)[y]).astype(np.float32)
    x /= np.sqrt(width)
    target = y[None] == 1 if columns == 1 else np.eye(columns)[y].T
    weights = rng.uniform(0.2, 1, size=(2, n)) * (rng.random((2, n)) < 0.8)
    weights /= weights.sum(axis=1, keepdims=True)
    present = np.stack([[(w @ t) > 0 for t in target] for w in weights])
    problems = Problems(x, target[None].astype(np.float32), weights.astype(np.float32), present)
    strengths = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
    for strength, solution in zip(strengths, solve_path(problems, strengths), strict=True):
        for b in range(2):
            if not present[b].all():
                continue
            best, _, objective = exact(x, target.astype(float), weights[b], strength)
            reached = objective(solution[b].astype(float).ravel())[0]
            assert reached <= best * (1 + 2e-5) + 1e-6


def test_columns_that_take_no_part_stay_at_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2
    target = np.eye(3, dtype=np.float32)[y].T[None]
    problems = Problems(
        x, target, np.full((1, 30), 1 / 30, np.float32), np.array([[True, True, False]])
    )
    (solution,) = solve_path(problems, (1e-2,))
    assert not solution[0, 2].any()
    best, _, _ = exact(x, target[0, :2].astype(float), np.full(30, 1 / 30), 1e-2)
    z = solution[0, :2, :-1] @ x.T + solution[0, :2, -1:]
    loss = (logsumexp(z, axis=0) - (z * target[0, :2]).sum(axis=0)).mean()
    assert loss + 1e-2 / 2 * (solution[0, :, :-1] ** 2).sum() <= best * 1.0001


@pytest.mark.parametrize("columns", [1, 2])
def test_separable_rows_stay_finite_at_strengths_that_hardly_bind(columns):
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    y = (x[:, 0] > 0).astype(int)
    target = y[None, None] if columns == 1 else np.eye(2)[y].T[None]
    problems = Problems(
        x,
        target.astype(np.float32),
        np.full((1, 20), 0.05, np.float32),
        np.ones((1, columns), bool),
    )
    for solution in solve_path(problems, (1e-2, 1e-5, 1e-8, 1e-12)):
        assert np.isfinite(solution).all()
        z = solution[0, -1, :-1] * x[:, 0] + solution[0, -1, -1]
        if columns == 2:
            z = z - solution[0, 0, :-1] * x[:, 0] - solution[0, 0, -1]
        assert ((z > 0) == y).all()


@pytest.mark.parametrize("columns", [1, 3])
def test_any_start_leads_to_the_same_minimum(columns):
    rng = np.random.default_rng(columns)
    x, y = rng.normal(size=(40, 6)).astype(np.float32), np.arange(40) % 3
    target = (y[None] == 1 if columns == 1 else np.eye(3)[y].T).astype(np.float32)
    weights = np.full((2, 40), 1 / 40, np.float32)
    problems = Problems(x, target[None], weights, np.ones((2, columns), bool))
    start = 5 * rng.normal(size=(2, columns, 7))
    best, _, objective = exact(x, target.astype(float), weights[0], 1e-2)
    for solution in (*solve_path(problems, (1e-2,), start), *solve_path(problems, (1e-2,))):
        for own in solution:
            assert objective(own.astype(float).ravel())[0] <= best * (1 + 2e-5) + 1e-6


def test_a_start_moves_no_column_that_takes_no_part():
    x, target = np.eye(4, 2, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 1, 0, 1]].T[None]
    weights, present = np.full((1, 4), 0.25, np.float32), np.array([[True, True, False]])
    problems = Problems(x, target, weights, present)
    (solution,) = solve_path(problems, (1e-2,), np.ones((1, 3, 3)))
    assert not solution[0, 2].any()
    assert solution[0, 0].any()
