"""How much each kind of method should count when their predictions are averaged: decides `tune`.

A draw takes whole groups, stratified by class, until there are so many labels, as in `choice.py`,
and all other examples judge. The kinds are those of `retarget fit --method
probe,prototype,finetune,scratch,small-cnn` on EfficientNet-Lite0 at 128 pixels. A rule weighs them
by what was seen on the rows that judged the trainings; its average is judged by AUROC (several
classes: mean of one against rest) on the other examples.

Data: tasks of `choice_tasks.py`, none of which the medical benchmark uses.

Columns: mean AUROC and log-loss over tasks and draws, the difference of AUROC to the plain mean ±
standard error over draws, and to the better of fine-tuning and scratch, with the worst task.

    python benchmarks/kinds.py [--draws 3] [--first 0] [--labels 50] [--tasks NAME …]
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, variance

import numpy as np
import numpy.typing as npt

from choice_tasks import TASKS
from medical import Ints, auroc, study_of
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.methods.tuning import Tuning
from retarget.selection.candidates import candidates, methods_for, tunings_for
from retarget.selection.judge import Judged, judge
from retarget.selection.trials import luck, standard_error
from retarget.selection.tune import MEAN, Pool, Workshop
from retarget.sources.registry import resolve
from table import table
from tuning import SMALL, TUNINGS

Floats = npt.NDArray[np.floating]

USED = ("photos", "chest views", "chest sites", "cells", "emoji")


@dataclass(frozen=True)
class Seen:
    """What a rule may see of K kinds.

    Attributes:
        losses: (K, m) of the rows that judged all kinds.
        units: (m,) rows of one unit are not independent of each other.
        predictions: (K, m, classes) of the same rows.
        truth: (m,) their classes.
    """

    losses: Floats
    units: Ints
    predictions: Floats
    truth: Ints

    @property
    def count(self) -> int:
        """How many independent units there are."""
        return len(np.unique(self.units))


def alike(seen: Seen) -> Floats:
    """Weigh all alike."""
    return np.full(len(seen.losses), 1 / len(seen.losses))


def by_loss(seen: Seen, power: float = 1.0) -> Floats:
    """Weigh by exp(-units x mean loss): pseudo-BMA (Yao et al. 2018)."""
    total = seen.losses.mean(axis=1) * seen.count * power
    weights = np.exp(total.min() - total)
    return np.asarray(weights / weights.sum())


def by_bootstrap(seen: Seen, draws: int = 400) -> Floats:
    """The mean of `by_loss` over Bayesian bootstraps of units: pseudo-BMA+ (Yao et al. 2018)."""
    _, unit = np.unique(seen.units, return_inverse=True)
    sums = np.stack([np.bincount(unit, one) for one in seen.losses])
    sizes = np.bincount(unit)
    shares = np.random.default_rng(0).dirichlet(np.ones(len(sizes)), draws)
    total = len(sizes) * (shares @ sums.T) / (shares @ sizes)[:, None]
    weights = np.exp(total.min(axis=1, keepdims=True) - total)
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)).mean(axis=0))


def stacked(seen: Seen, prior: float = 0.0) -> Floats:
    """Minimise the log-loss of the average, with a prior of so many units towards all alike."""
    given = seen.predictions[:, np.arange(len(seen.truth)), seen.truth]
    weights = alike(seen)
    alpha = prior / len(weights)
    for _ in range(500):
        mixed = weights @ given
        counted = (weights[:, None] * given / mixed).sum(axis=1) * seen.count / len(seen.truth)
        weights = (counted + alpha) / (seen.count + prior)
    return weights


def unless_lost(seen: Seen, errors: float | None = None) -> Floats:
    """All alike, but for those that lost to the best by more than luck, or so many errors."""
    best = int(np.argmin(seen.losses.mean(axis=1)))
    most = luck(len(seen.losses), seen.units) if errors is None else errors
    weights = np.ones(len(seen.losses))
    for kind, losses in enumerate(seen.losses):
        difference = losses - seen.losses[best]
        if kind != best and difference.mean() > most * standard_error(difference, seen.units):
            weights[kind] = 0.0
    return weights / weights.sum()


RULES: dict[str, Callable[[Seen], Floats]] = {
    "all alike": alike,
    "exp(-units x loss)": by_loss,
    "the same over bootstraps": by_bootstrap,
    "stacked": stacked,
    "stacked, 5 units alike": lambda seen: stacked(seen, 5.0),
    "within two standard errors": lambda seen: unless_lost(seen, 2.0),
    "within luck": unless_lost,
}


@dataclass(frozen=True)
class Scored:
    """AUROC and log-loss of everything on one draw."""

    auroc: Mapping[str, float]
    loss: Mapping[str, float]

    @property
    def better(self) -> float:
        """AUROC of the better of fine-tuning and scratch."""
        return max(self.auroc["finetune"], self.auroc["scratch"])


def one_draw(
    material: Material, own: Mapping[str, Table], tunings: Sequence[Tuning], n: int, seed: int
) -> Scored:
    """Judge all kinds and rules on one draw of n labels."""
    study, truth = study_of(material, n, seed)
    workshop = Workshop(material.inputs(), material.read, "mean", seed, "auto")
    frozen = candidates(tuple(own.values()), methods_for("classification", []))
    judged = judge(study, own, Pool(frozen, tunings, workshop))
    return scored(judged, truth)


def scored(judged: Judged, truth: Ints) -> Scored:
    """Return how well kinds and rules predict."""
    names = [name for name in judged.kinds if name != MEAN]
    trials = [judged.selection.kinds[name] for name in names]
    both = np.logical_and.reduce([trial.judged for trial in trials])
    seen = Seen(
        np.stack([trial.losses[both] for trial in trials]),
        judged.evidence.units[both],
        np.stack([trial.predictions[both] for trial in trials]),
        judged.evidence.labels.values[both].astype(np.int64),
    )
    found = {name: judged.kinds[name] for name in names}
    found["handed over"] = judged.predictions
    each = np.stack([judged.kinds[name] for name in names])
    told = []
    for rule, weigh in RULES.items():
        weights = weigh(seen)
        found[rule] = np.tensordot(weights, each, axes=1)
        told.append(" ".join(f"{w:.2f}" for w in weights))
    print("    " + ", ".join(names) + ": " + "; ".join(told), flush=True)
    rows = np.arange(len(truth))
    return Scored(
        {name: auroc(truth, p) for name, p in found.items()},
        {
            name: float(-np.log(np.maximum(p[rows, truth], 1e-12)).mean())
            for name, p in found.items()
        },
    )


def row_of(name: str, found: Mapping[str, Sequence[Scored]]) -> list[str]:
    """Return the row of a kind or a rule."""
    plain = next(iter(RULES))

    def against(other: Callable[[Scored], float]) -> str:
        gains = {t: [s.auroc[name] - other(s) for s in own] for t, own in found.items()}
        error = sum(variance(g) / len(g) if len(g) > 1 else np.nan for g in gains.values()) ** 0.5
        worst = min(gains, key=lambda t: mean(gains[t]))
        level = mean(mean(g) for g in gains.values())
        return f"{level:+.4f} ± {error / len(gains):.4f} [{mean(gains[worst]):+.3f} {worst}]"

    return [
        name,
        f"{mean(mean(s.auroc[name] for s in own) for own in found.values()):.4f}",
        f"{mean(mean(s.loss[name] for s in own) for own in found.values()):.3f}",
        against(lambda s: s.auroc[plain]),
        against(lambda s: s.better),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--tasks", nargs="+", default=list(USED), choices=list(TASKS))
    parser.add_argument("--quick", action="store_true", help="one draw, two epochs")
    asked = parser.parse_args()
    if asked.quick:
        asked.draws = 1
    tunings = tunings_for("classification", TUNINGS, {"epochs": 2} if asked.quick else {})
    found: dict[str, list[Scored]] = {}
    opened = {name: task for name in asked.tasks if (task := TASKS[name]())}
    held = {}
    for name, task in opened.items():
        held[name] = gather(task, [resolve(SMALL)], store=FeatureStore())
    for seed in range(asked.first, asked.first + asked.draws):
        for name, material in held.items():
            made = one_draw(material, material.tables([SMALL]), tunings, asked.labels, seed)
            found.setdefault(name, []).append(made)
            told = ", ".join(f"{k} {v:.3f}" for k, v in made.auroc.items())
            print(f"  {name}, draw {seed}: {told}", flush=True)
    names = list(next(iter(found.values()))[0].auroc)
    head = ["AUROC", "mean", "log-loss", "over all alike", "over the better"]
    print("\n" + table(head, [row_of(name, found) for name in names]))


if __name__ == "__main__":
    main()
