"""Heads alone: `probe` against scikit-learn's `LogisticRegressionCV`, in one process.

Both choose one of the same strengths by log-loss on the same folds and fit on all rows with it.
The peer gets its quickest setting that converges: its two quick solvers for multinomial models are
tried on features at two scales, and one process a core. Features look like those of a pretrained
network: many, positive, correlated. Every repetition draws anew, and
both are judged on rows that neither saw.

    python benchmarks/heads.py [--repeat 3] [--examples 200 1000 4000] [--cpu]

`--cpu` counts CPU time of this process instead of wall-clock time, for a machine that is busy
with other things; set OMP_NUM_THREADS=1 with it.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV

from retarget.methods.base import Labels, log_softmax
from retarget.methods.probe import Probe
from retarget.methods.scale import BlockScale

WIDTH, CLASSES, FOLDS, JUDGES = 1280, 12, 5, 4000
TARGETS = {200: 10.0, 1000: 5.0, 4000: 2.0}
CONVERGED = 1.02

Array = npt.NDArray[np.float64]


clock = time.process_time if "--cpu" in sys.argv else time.perf_counter


@dataclass(frozen=True)
class Draw:
    """Examples to fit on (x, y), in folds, and to judge on."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    judge_x: npt.NDArray[np.float32]
    judge_y: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """What one fit took, chose and scored."""

    seconds: float
    strength: float
    log_loss: float
    accuracy: float


def draw(n: int, rng: np.random.Generator) -> Draw:
    """Return n examples: rectified mixtures of factors whose variance decays, as networks' are."""
    factors = 200
    decay = np.arange(1, factors + 1) ** -0.6
    y = rng.integers(CLASSES, size=n + JUDGES)
    hidden = rng.normal(size=(len(y), factors)) + 0.35 * rng.normal(size=(CLASSES, factors))[y]
    mixing = rng.normal(size=(factors, WIDTH)) / np.sqrt(factors)
    noise = 0.3 * rng.normal(size=(len(y), WIDTH))
    x = np.maximum(3 * (hidden * decay) @ mixing + noise - 0.2, 0).astype(np.float32)
    x = BlockScale.fit(x[:n], [WIDTH])(x)
    folds = np.empty(n, np.int64)
    for k in range(CLASSES):
        rows = np.flatnonzero(y[:n] == k)
        folds[rows] = rng.permutation(len(rows)) % FOLDS
    return Draw(x[:n], y[:n], folds, x[n:], y[n:])


def ours(data: Draw) -> Result:
    """Fit a probe and judge it."""
    labels = Labels("classification", data.y, CLASSES, np.ones(len(data.y)))
    probe = Probe()
    started = clock()
    found = probe.cross_fit(data.x, labels, data.folds)
    best = int(np.argmin([_log_loss(z, data.y) for z in found.outputs]))
    strength = probe.settings(labels)[best]
    head = probe.fit(data.x, labels, strength, found.heads[best])
    seconds = clock() - started
    return _judged(seconds, strength, head.outputs(data.judge_x), data)


def peer(data: Draw, unit: float = 1.0, **parameters: Any) -> Result:
    """Fit scikit-learn's on features times `unit`, and judge it."""
    labels = Labels("classification", data.y, CLASSES, np.ones(len(data.y)))
    fitted_on = len(data.y) * (FOLDS - 1) / FOLDS
    cs = [1 / (strength * fitted_on * unit**2) for strength in Probe().settings(labels)]
    cv = [(np.flatnonzero(data.folds != f), np.flatnonzero(data.folds == f)) for f in range(FOLDS)]
    model = LogisticRegressionCV(
        Cs=cs, cv=cv, scoring="neg_log_loss", max_iter=2000, use_legacy_attributes=False,
        l1_ratios=(0.0,), **parameters,
    )  # fmt: skip
    started = clock()
    model.fit(data.x * np.float32(unit), data.y)
    seconds = clock() - started
    outputs = model.decision_function(data.judge_x * np.float32(unit)).astype(np.float64)
    return _judged(seconds, 1 / (float(model.C_) * fitted_on * unit**2), outputs, data)


def _judged(seconds: float, strength: float, outputs: Array, data: Draw) -> Result:
    accuracy = float((outputs.argmax(axis=1) == data.judge_y).mean())
    return Result(seconds, strength, _log_loss(outputs, data.judge_y), accuracy)


def _log_loss(outputs: Array, y: npt.NDArray[np.int64]) -> float:
    return float(-log_softmax(outputs)[np.arange(len(y)), y].mean())


def peers() -> dict[str, dict[str, Any]]:
    """Return the peer's settings to try, by name.

    Multiplying all features by one number changes nothing but how soon a solver stops.
    """
    root = float(np.sqrt(WIDTH))
    tried: dict[str, dict[str, Any]] = {
        "lbfgs": {"solver": "lbfgs"},
        "lbfgs, unit variance": {"solver": "lbfgs", "unit": root},
        "newton-cg": {"solver": "newton-cg"},
        "newton-cg, unit variance": {"solver": "newton-cg", "unit": root},
    }
    if clock is time.perf_counter:
        tried["lbfgs, 2 processes"] = {"solver": "lbfgs", "n_jobs": 2}
        tried["lbfgs, unit variance, 2 processes"] = {"solver": "lbfgs", "unit": root, "n_jobs": 2}
    return tried


def quickest(data: Draw) -> dict[str, Any]:
    """Return the peer's quickest setting that converges, printing all.

    Those have not converged that say so, or whose log-loss on the judging rows is more than 2%
    above the best of them.
    """
    found: dict[str, Result] = {}
    for name, parameters in peers().items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = peer(data, **parameters)
        failed = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        print(
            f"    {name:<34} {result.seconds:8.2f} s, log-loss {result.log_loss:.4f}"
            f"{', did not converge' if failed else ''}",
            flush=True,
        )
        if not failed:
            found[name] = result
    best = min(result.log_loss for result in found.values())
    good = {name: r.seconds for name, r in found.items() if r.log_loss <= CONVERGED * best}
    return peers()[min(good, key=lambda name: good[name])]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--examples", type=int, nargs="+", default=[200, 1000, 4000])
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    warm = draw(100, np.random.default_rng(1))
    ours(warm), peer(warm, solver="lbfgs")
    lines = []
    for n in asked.examples:
        print(f"{n:,} examples: the peer's settings", flush=True)
        parameters = quickest(draw(n, np.random.default_rng(n)))
        draws = [draw(n, np.random.default_rng([n, i])) for i in range(asked.repeat)]
        pairs = [(ours(data), peer(data, **parameters)) for data in draws]
        ratio = float(np.median([b.seconds / a.seconds for a, b in pairs]))
        lines += _lines(n, ratio, *pairs[-1])
    print("\n  examples  who      seconds  strength  log-loss  accuracy  faster  target")
    print("\n".join(lines))


def _lines(n: int, ratio: float, a: Result, b: Result) -> list[str]:
    def line(who: str, r: Result) -> str:
        return (
            f"  {n:>8,}  {who:<7}  {r.seconds:7.3f}  {r.strength:8.1e}  {r.log_loss:8.4f}"
            f"  {r.accuracy:8.3f}"
        )

    target = TARGETS.get(n)
    return [
        line("ours", a) + f"  {ratio:5.1f}×" + (f"  {target:5.0f}×" if target else ""),
        line("sklearn", b),
    ]


if __name__ == "__main__":
    main()
