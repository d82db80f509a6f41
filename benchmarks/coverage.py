"""How often the 95% intervals hold the truth, over simulated tasks where the truth is known.

Every task draws labelled examples, fits two classifiers (linear discriminants, one of which sees
less of the signal) and two regressions, judges them on held-out examples or by cross-fitting, and
asks `intervals` and `paired` for intervals. The truth is the performance of the very models
that were judged on the whole population, in closed form; under cross-fitting the mean over the
models of the folds, weighted as the estimate weighs them.

    python benchmarks/coverage.py --tasks 2000 [--quick] [--workers 2]
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import erf, sqrt

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from retarget.evaluation.intervals import interval, intervals, paired
from retarget.evaluation.results import Estimate

Array = npt.NDArray[np.float64]

DIMENSIONS = 4
WEAK = slice(0, 2)  # what the worse model sees
GROUP_SHARE = 0.3  # of the variance within a class, and of the noise, that a group shares
PREVALENCE_SIZE = 3.0  # a group's share of positives is beta with this total
TRAINING = 100  # examples the held-out models learn from
METRICS = ("accuracy", "auroc", "rmse", "Δaccuracy", "Δauroc", "Δrmse")


@dataclass(frozen=True)
class Cell:
    """One setting. `auroc` is that of the best possible classifier, `positives` their share."""

    n: int
    grouped: bool
    folds: int
    positives: float
    auroc: float

    def __str__(self) -> str:
        how = f"{self.folds} folds" if self.folds else "hold-out"
        grouped = "groups" if self.grouped else "single"
        return f"{self.n:>5}  {grouped}  {how:<8}  {self.positives:.1f}  {self.auroc:.2f}"


@dataclass(frozen=True)
class Draw:
    """Examples: x (n, d), classes and values (n,), and the number of each one's group."""

    x: Array
    y: npt.NDArray[np.int64]
    value: Array
    group: npt.NDArray[np.int64]


def phi(z: float) -> float:
    """Return the normal distribution function."""
    return 0.5 * (1 + erf(z / sqrt(2)))


def separation(auroc: float) -> float:
    """Return the distance of the class means, in standard deviations, with this AUROC."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if phi(middle / sqrt(2)) < auroc else (low, middle)
    return low


@cache
def slopes(auroc: float) -> tuple[Array, Array]:
    """Return the difference of class means and the regression coefficients, (d,) each."""
    direction = np.array([0.5, 0.4, 0.6, 0.48])
    delta = direction / np.linalg.norm(direction) * separation(auroc)
    return delta, delta


def draw(rng: np.random.Generator, cell: Cell, n: int) -> Draw:
    """Draw n examples, in about n/5 groups of unequal sizes or in groups of one."""
    groups = max(2, n // 5) if cell.grouped else n
    group = np.arange(n)
    if cell.grouped:
        sizes = rng.multinomial(n - groups, rng.dirichlet(np.full(groups, 2.0))) + 1
        group = np.repeat(np.arange(groups), sizes)
    share = GROUP_SHARE if cell.grouped else 0.0
    a, b = PREVALENCE_SIZE * cell.positives, PREVALENCE_SIZE * (1 - cell.positives)
    chance = rng.beta(a, b, groups) if cell.grouped else np.full(groups, cell.positives)
    y = (rng.uniform(size=n) < chance[group]).astype(np.int64)
    delta, beta = slopes(cell.auroc)
    noise = rng.normal(size=(groups, DIMENSIONS + 1))[group] * sqrt(share)
    noise += rng.normal(size=(n, DIMENSIONS + 1)) * sqrt(1 - share)
    x = y[:, None] * delta + noise[:, :DIMENSIONS]
    return Draw(x, y, x @ beta + noise[:, DIMENSIONS], group)


def discriminant(d: Draw, rows: npt.NDArray[np.intp], seen: slice) -> tuple[Array, float]:
    """Return (w, b) of a linear discriminant; constant where a class is missing."""
    x, y = d.x[rows], d.y[rows]
    w = np.zeros(DIMENSIONS)
    share = min(max(y.mean(), 1 / (2 * len(y))), 1 - 1 / (2 * len(y)))
    prior = float(np.log(share / (1 - share)))
    if min(y.sum(), len(y) - y.sum()) == 0:
        return w, prior
    x = x[:, seen]
    means = np.stack([x[y == c].mean(axis=0) for c in (0, 1)])
    inside = x - means[y]
    covariance = (inside.T @ inside + 3 * np.eye(x.shape[1])) / (len(x) + 1)
    w[seen] = np.linalg.solve(covariance, means[1] - means[0])
    return w, prior - float(w[seen] @ (means[0] + means[1]) / 2)


def ridge(d: Draw, rows: npt.NDArray[np.intp], seen: slice) -> tuple[Array, float]:
    """Return (w, b) of a ridge regression."""
    x, t = d.x[rows], d.value[rows]
    center, mean = x.mean(axis=0), t.mean()
    z = (x - center)[:, seen]
    w = np.zeros(DIMENSIONS)
    w[seen] = np.linalg.solve(z.T @ z + np.eye(z.shape[1]), z.T @ (t - mean))
    return w, float(mean - center @ w)


def true_class_scores(w: Array, b: float, cell: Cell) -> tuple[float, float]:
    """Return accuracy and AUROC of a linear classifier on the population."""
    size = float(np.linalg.norm(w))
    if size == 0:
        return (cell.positives if b > 0 else 1 - cell.positives), 0.5
    delta = slopes(cell.auroc)[0]
    right = cell.positives * phi((float(w @ delta) + b) / size)
    right += (1 - cell.positives) * phi(-b / size)
    return right, phi(float(w @ delta) / size / sqrt(2))


def true_square_error(w: Array, b: float, cell: Cell) -> float:
    """Return the mean squared error of a linear regression on the population."""
    delta, beta = slopes(cell.auroc)
    off, p = beta - w, cell.positives
    mean = p * float(off @ delta) - b
    return 1 + float(off @ off) + p * (1 - p) * float(off @ delta) ** 2 + mean**2


def assign(rng: np.random.Generator, d: Draw, cell: Cell) -> npt.NDArray[np.int64]:
    """Return (n,) folds: stratified, or with whole groups, the largest first."""
    if not cell.grouped:
        order = np.lexsort((rng.uniform(size=cell.n), d.y))
        folds = np.empty(cell.n, np.int64)
        folds[order] = np.arange(cell.n) % cell.folds
        return folds
    sizes = np.bincount(d.group).astype(float)
    of_group = np.empty(len(sizes), np.int64)
    filled = np.zeros(min(cell.folds, len(sizes)))
    for g in np.argsort(-(sizes + rng.uniform(size=len(sizes)) * 0.5)):
        of_group[g] = filled.argmin()
        filled[of_group[g]] += sizes[g]
    return np.asarray(of_group[d.group])


def judge(
    rng: np.random.Generator, cell: Cell
) -> tuple[Draw, npt.NDArray[np.int64] | None, Array, Array]:
    """Return the judged examples, their folds, outputs (4, n), and truths (models' folds, 4, 2)."""
    judged = draw(rng, cell, cell.n)
    folds = assign(rng, judged, cell) if cell.folds else None
    numbers = np.zeros(cell.n, np.int64) if folds is None else folds
    outputs = np.empty((4, cell.n))
    truths = np.empty((int(numbers.max()) + 1, 4, 2))
    for f in range(len(truths)):
        learned = judged if cell.folds else draw(rng, cell, TRAINING)
        rows = np.flatnonzero(numbers != f) if cell.folds else np.arange(TRAINING)
        here = numbers == f
        for m, seen in enumerate((slice(0, DIMENSIONS), WEAK)):
            w, b = discriminant(learned, rows, seen)
            outputs[m, here] = judged.x[here] @ w + b
            truths[f, m] = true_class_scores(w, b, cell)
            w, b = ridge(learned, rows, seen)
            outputs[2 + m, here] = judged.x[here] @ w + b
            truths[f, 2 + m] = true_square_error(w, b, cell), np.nan
    return judged, folds, outputs, truths


def truth_of(truths: Array, judged: Draw, folds: npt.NDArray[np.int64] | None) -> dict[str, float]:
    """Return the true value of every metric, the folds weighted as the estimates weigh them."""
    numbers = np.zeros(len(judged.y), np.int64) if folds is None else folds
    sizes = np.bincount(numbers).astype(float)
    positives = np.bincount(numbers, judged.y)
    pairs = positives * (sizes - positives)
    if pairs.sum() == 0:
        pairs = sizes
    mean = np.einsum("f,fmt->mt", sizes / sizes.sum(), truths)
    area = pairs @ truths[:, :2, 1] / pairs.sum()
    rmse = np.sqrt(mean[2:, 0])
    return {
        "accuracy": mean[0, 0],
        "auroc": area[0],
        "rmse": rmse[0],
        "Δaccuracy": mean[0, 0] - mean[1, 0],
        "Δauroc": area[0] - area[1],
        "Δrmse": rmse[0] - rmse[1],
    }


def estimates(
    judged: Draw, folds: npt.NDArray[np.int64] | None, outputs: Array, grouped: bool
) -> dict[str, Estimate]:
    """Return the intervals of one task."""
    p = 1 / (1 + np.exp(-np.clip(outputs[:2], -500, 500)))
    a, b = (np.stack([1 - q, q], axis=1) for q in p)
    groups = judged.group.astype(np.str_) if grouped else None
    y, value = judged.y, judged.value
    found = intervals(("accuracy", "auroc"), "classification", y, a, groups=groups, folds=folds)
    found["rmse"] = interval("rmse", "regression", value, outputs[2], groups=groups, folds=folds)
    for name in ("accuracy", "auroc"):
        found[f"Δ{name}"] = paired(name, "classification", y, a, b, groups=groups, folds=folds)
    found["Δrmse"] = paired(
        "rmse", "regression", value, outputs[2], outputs[3], groups=groups, folds=folds
    )
    return found


def simulate(cell: Cell, tasks: int, seed: int) -> Array:
    """Return (tasks, metrics, 4): truth, value, low and high; NaN where a metric is undefined."""
    results = np.empty((tasks, len(METRICS), 4))
    for t in range(tasks):
        rng = np.random.default_rng((seed, cell.n, cell.folds, int(cell.grouped), t))
        judged, folds, outputs, truths = judge(rng, cell)
        truth = truth_of(truths, judged, folds)
        found = estimates(judged, folds, outputs, cell.grouped)
        for m, name in enumerate(METRICS):
            e = found[name]
            results[t, m] = truth[name], e.value, e.low, e.high
    return results


def coverage(results: Array) -> tuple[Array, Array, Array]:
    """Return (metrics,) the share of intervals that hold the truth, its error, the mean width."""
    defined = np.isfinite(results).all(axis=2)
    truth, _, low, high = np.moveaxis(results, 2, 0)
    held = (low - 1e-12 <= truth) & (truth <= high + 1e-12)
    counts = defined.sum(axis=0)
    share = (held & defined).sum(axis=0) / counts
    width = np.where(defined, high - low, 0).sum(axis=0) / counts
    return share, np.sqrt(share * (1 - share) / counts), width


def cells(quick: bool) -> list[Cell]:
    """Return the settings: all sizes, groups and protocols, by balance and difficulty."""
    tasks = [(0.5, 0.8), (0.8, 0.95)]
    if not quick:
        tasks += [(0.5, 0.6), (0.8, 0.6), (0.5, 0.95), (0.8, 0.8)]
    shapes = product((20, 100, 1000), (False, True), (0, 5))
    return [Cell(n, g, f, *task) for n, g, f in shapes for task in tasks]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=None, help="simulated tasks a cell")
    parser.add_argument("--quick", action="store_true", help="a third of the cells, 400 tasks")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    tasks = asked.tasks or (400 if asked.quick else 2000)
    todo = cells(asked.quick)
    print(f"{tasks} tasks a cell; coverage of nominal 95% intervals (mean width)")
    print(f"{'n':>5}  {'':6}  {'protocol':<8}  pos  AUROC" + "".join(f"{m:>16}" for m in METRICS))
    outside: list[str] = []
    lowest = 1.0
    with ProcessPoolExecutor(asked.workers) as pool:
        runs = pool.map(simulate, todo, [tasks] * len(todo), [asked.seed] * len(todo))
        for cell, results in zip(todo, runs, strict=True):
            share, _, width = coverage(results)
            marks = [flag(cell, s) for s in share]
            row = "".join(
                f"{100 * s:8.1f}{m}({w:.3f})" for s, m, w in zip(share, marks, width, strict=True)
            )
            print(f"{cell}{row}", flush=True)
            lowest = min(lowest, float(share.min()))
            outside += [
                f"{cell} {name} {100 * s:.1f}%"
                for name, s, m in zip(METRICS, share, marks, strict=True)
                if m.strip()
            ]
    error = 100 * sqrt(0.95 * 0.05 / tasks)
    print(f"standard error of a coverage near 95%: {error:.1f} points; lowest {100 * lowest:.1f}%")
    print("outside of 93% (from n = 100 on 93 to 98%):", *outside or ["none"], sep="\n  ")


def flag(cell: Cell, share: float) -> str:
    """Mark a coverage outside what is promised."""
    if share < 0.93:
        return "-"
    return "+" if share > 0.98 and cell.n >= 100 else " "


if __name__ == "__main__":
    main()
