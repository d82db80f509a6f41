"""AUROC on medical pictures at 10, 50 and 200 labels: what `fit` would choose against the rest.

A draw takes whole groups (patients, near-copies), stratified by class, until there are so many
labels; all other examples judge. What `fit` chooses by default, from all bundled encoders, is
compared with a probe on the last layer of EfficientNet-Lite0 alone; further columns show what
parts of the default bring. Several classes: mean AUROC of one against rest.

Choosing sees the draw only. Gains are means over draws with the 95% interval of a paired t-test.

    python benchmarks/medical.py [--draws 5] [--first 0] [--labels 10 50 200] [--quick]
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from data import real_data
from retarget.evaluation.metrics import headline
from retarget.evaluation.protocol import plan
from retarget.evaluation.quantiles import t_quantile
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.selection.candidates import Candidate, candidates, methods_for
from retarget.selection.judge import Study, judge
from retarget.selection.tune import Pool
from retarget.sources.pixels import PixelSource
from retarget.sources.registry import resolve
from retarget.tasks.open import open_task
from retarget.tasks.task import Task
from table import met, table

SOURCES = tuple(f"bundled:efficientnet-lite{i}" for i in range(3))
LITE0 = SOURCES[0]
SETS = {
    "cxr-nih-pneumonia": "chest X-rays",
    "breast-ultrasound": "breast ultrasound",
    "wbc-labs": "white blood cells",
}
LABELS = (10, 50, 200)
TARGETS = {
    ("cxr-nih-pneumonia", 10): 0.12,
    ("cxr-nih-pneumonia", 200): 0.03,
    ("breast-ultrasound", 200): 0.015,
    ("wbc-labs", 200): 0.015,
}

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """One column: what may be chosen from, and whether averages are among it."""

    name: str
    candidates: tuple[Candidate, ...]
    average: bool


@dataclass(frozen=True)
class Result:
    """AUROC of one way on one draw, and what it chose."""

    auroc: float
    chosen: str


def ways(tables: Mapping[str, Table]) -> tuple[Way, ...]:
    """Return the columns: the default of `fit`, then parts of it, the last layer first."""
    probe, default = methods_for("classification", ["probe"]), methods_for("classification", [])
    lite0, pixels = [tables[LITE0]], [tables[PixelSource.uri]]
    every = candidates([tables[uri] for uri in SOURCES], default)
    layers = candidates(lite0, probe)
    return (
        Way("fit", every, True),
        Way("last", tuple(c for c in layers if c.layers == ("pooled",)), False),
        Way("pixels", candidates(pixels, default), True),
        Way("one layer", tuple(c for c in layers if len(c.layers) == 1), False),
        Way("all layers", tuple(c for c in layers if len(c.layers) > 1), False),
        Way("lite0", candidates(lite0, default), True),
        Way("no average", every, False),
    )


def draw(classes: Ints, units: Ints, wanted: int, rng: np.random.Generator) -> Ints:
    """Return rows of whole units, at most `wanted` and about as many of each class as its share.

    Every class has at least one row where a unit of it fits in.
    """
    counts = np.bincount(classes)
    due = np.maximum(1, np.round(wanted * counts / counts.sum())).astype(np.int64)
    due[np.argmax(due)] += wanted - due.sum()
    taken: list[Ints] = []
    left = wanted
    for unit in rng.permutation(int(units.max()) + 1):
        rows = np.flatnonzero(units == unit)
        held = np.bincount(classes[rows], minlength=len(counts))
        if len(rows) <= left and due[np.argmax(held)] > 0:
            taken.append(rows)
            due -= held
            left -= len(rows)
    return np.sort(np.concatenate(taken))


def divided(task: Task, rows: Ints) -> Task:
    """Return the task with `rows` as its training split and all else as its test split."""
    splits = np.full(len(task), "test", dtype="<U5")
    splits[rows] = "train"
    return replace(task, examples=replace(task.examples, splits=splits))


def study_of(material: Material, n: int, seed: int) -> tuple[Study, Ints]:
    """Return one draw of n labels, which everything else judges, and the classes that judge."""
    task = material.task
    classes = task.examples.targets.astype(np.int64)
    free = plan(task, seed=seed, near=material.near)
    units = np.unique(free.units, return_inverse=True)[1].astype(np.int64)
    apart = divided(task, draw(classes, units, n, np.random.default_rng([seed, n])))
    protocol = plan(apart, seed=seed, near=material.near)
    metric = headline("classification", classes[protocol.choosing])
    return Study(apart, protocol, metric, "mean"), classes[protocol.judging]


def one_draw(material: Material, tables: Mapping[str, Table], n: int, seed: int) -> list[Result]:
    """Judge every way on one draw of n labels."""
    study, truth = study_of(material, n, seed)
    found = []
    for way in ways(tables):
        judged = judge(study, tables, Pool(way.candidates, average=way.average))
        members = judged.model.members
        what = f"{judged.model.source.split('-')[-1]} {'+'.join(m.method for m in members)}"
        found.append(Result(auroc(truth, judged.predictions), what))
    return found


def auroc(truth: Ints, predictions: npt.NDArray[np.floating]) -> float:
    """Return the AUROC, of several classes the mean of one against rest."""
    shown = predictions[:, 1] if predictions.shape[1] == 2 else predictions
    return float(roc_auc_score(truth, shown, multi_class="ovr"))


def paired(differences: Sequence[float]) -> tuple[float, float]:
    """Return the mean difference and the half-width of its 95% interval."""
    n = len(differences)
    if n < 2:
        return mean(differences), float("nan")
    return mean(differences), t_quantile(0.975, n - 1) * stdev(differences) / n**0.5


def rows_of(name: str, folder: Path, labels: Sequence[int], seeds: range) -> Iterator[list[str]]:
    """Yield a row for every number of labels, and tell what `fit` chose."""
    task = open_task(folder / "manifest.csv")
    material = gather(task, [resolve(uri) for uri in SOURCES], store=FeatureStore())
    tables = material.tables([*SOURCES, PixelSource.uri])
    for n in labels:
        results = [one_draw(material, tables, n, seed) for seed in seeds]
        by_way = list(zip(*results, strict=True))
        fit, last = by_way[0], by_way[1]
        gain, half = paired([a.auroc - b.auroc for a, b in zip(fit, last, strict=True)])
        chosen = Counter(r.chosen for r in fit).most_common()
        told = ", ".join(f"{times} × {what}" for what, times in chosen)
        print(f"  {SETS[name]}, {n} labels: fit chose {told}", flush=True)
        yield [
            f"{SETS[name]}, {n}",
            f"{gain:+.3f} ± {half:.3f}",
            met(gain, TARGETS.get((name, n))),
            *(f"{mean(r.auroc for r in way):.3f}" for way in by_way),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--quick", action="store_true", help="two draws of 10 labels")
    asked = parser.parse_args()
    if asked.quick:
        asked.draws, asked.labels = 2, [10]
    rows = [
        row
        for name in SETS
        if (folder := real_data(f"medical/{name}"))
        for row in rows_of(
            name, folder, asked.labels, range(asked.first, asked.first + asked.draws)
        )
    ]
    head = ["AUROC", "fit − last", "target", "fit", "last", "pixels", "one layer", "all layers"]
    print("\n" + table([*head, "lite0, average", "no average"], rows))


if __name__ == "__main__":
    main()
