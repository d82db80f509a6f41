"""Which rule chooses best on frozen features when labels are few: decides what `select` does.

A draw takes whole groups, stratified by class, until there are so many labels; every candidate of
`fit` (each layer, all layers together, probe and prototype, on the three bundled encoders and on
pixels) is judged out of fold on them, fitted on them and applied to all other examples. A rule
gives weights to candidates from what was seen out of fold; its average is judged by AUROC (several
classes: mean of one against rest) on the other examples.

Data: the tasks of `choice_tasks.py`, none of which the medical benchmark uses. The rules were
thought out and compared on draws 0 to 11; the draws from 1000 on, the default here, are others.

Columns: mean AUROC over tasks, its difference to the first rule ± standard error over draws (the
tasks being what they are), and in brackets the task where the difference is worst. Cost counts
multiply-adds of a prediction, EfficientNet-Lite0 alone being 1; loss is the difference of the mean
log-loss to the first rule's.

    python benchmarks/choice.py [--draws 8] [--first 1000] [--labels 10 20 50 200] [--workers 2]
        [--without digits …] [--quick]
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import mean, variance

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from choice_rules import RULES, WITH_PIXELS, Drawn, Score
from choice_tasks import TASKS
from medical import SOURCES, study_of
from retarget.features.material import Material, gather
from retarget.features.store import FeatureStore
from retarget.features.table import Table
from retarget.selection.candidates import Candidate, candidates, methods_for
from retarget.selection.select import attempt, refit
from retarget.sources.registry import resolve
from table import table

LABELS = (10, 20, 50, 200)

# By rule and number of labels: a score for every draw.
Scores = dict[tuple[str, int], list[Score]]


def one_draw(material: Material, tables: dict[str, Table], n: int, seed: int) -> Drawn:
    """Judge and fit every candidate on one draw of n labels."""
    study, truth = study_of(material, n, seed)
    protocol = study.protocol
    evidence = study.evidence(tables, protocol.choosing)
    judging = np.searchsorted(study.labelled, protocol.judging)
    others = {uri: held.take(judging) for uri, held in tables.items()}
    trials = [attempt(evidence, candidate) for candidate in _candidates(tables)]
    applied = [
        refit(evidence, trial, study.task.classes, "mean").predict([others[trial.source].layer])
        for trial in trials
    ]
    return Drawn(
        evidence.labels,
        evidence.units,
        tuple(trials),
        np.stack(applied),
        truth,
        tables,
    )


def one_task(name: str, labels: Sequence[int], seeds: Sequence[int]) -> Scores:
    """Return by rule and number of labels what every draw scored; nothing without the data."""
    task = TASKS[name]()
    found: Scores = {}
    if task is None:
        return found
    material = gather(task, [resolve(uri) for uri in SOURCES], store=FeatureStore())
    tables = material.tables(WITH_PIXELS)
    for n in labels:
        for seed in seeds:
            drawn = one_draw(material, tables, n, seed)
            for rule, weigh in RULES.items():
                found.setdefault((rule, n), []).append(drawn.score(weigh(drawn)))
        print(f"  {name}: {n} labels done", flush=True)
    return found


def row_of(rule: str, found: Mapping[str, Scores], labels: Sequence[int]) -> list[str]:
    """Return a rule's row, compared with the first rule."""
    first = next(iter(RULES))
    cells = []
    for n in labels:
        gains = {
            task: [a.auroc - b.auroc for a, b in zip(own[rule, n], own[first, n], strict=True)]
            for task, own in found.items()
        }
        level = mean(mean(s.auroc for s in own[rule, n]) for own in found.values())
        gain = mean(mean(each) for each in gains.values())
        error = sum(variance(each) / len(each) for each in gains.values()) ** 0.5 / len(gains)
        worst = min(gains, key=lambda task: mean(gains[task]))
        told = f"[{mean(gains[worst]):+.3f} {worst}]"
        cells.append(f"{level:.3f} {gain:+.4f} ± {error:.4f} {told}")
    pairs = [
        (ours, theirs)
        for own in found.values()
        for n in labels
        for ours, theirs in zip(own[rule, n], own[first, n], strict=True)
    ]
    loss = mean(ours.loss - theirs.loss for ours, theirs in pairs)
    return [rule, *cells, f"{mean(ours.cost for ours, _ in pairs):.1f}", f"{loss:+.3f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first draw")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without", nargs="+", default=[], help="tasks to leave out")
    parser.add_argument("--quick", action="store_true", help="two draws of 10 labels")
    asked = parser.parse_args()
    if asked.quick:
        asked.draws, asked.labels = 2, [10]
    names = [name for name in TASKS if name not in asked.without]
    run = partial(
        one_task, labels=asked.labels, seeds=range(asked.first, asked.first + asked.draws)
    )
    with ProcessPoolExecutor(asked.workers) as pool:
        found = {n: r for n, r in zip(names, pool.map(run, names), strict=True) if r}
    head = ["rule", *(f"{n} labels" for n in asked.labels), "cost", "loss"]
    print("\n" + table(head, [row_of(rule, found, asked.labels) for rule in RULES]))


def _candidates(tables: dict[str, Table]) -> list[Candidate]:
    """Return all that `fit` tries, and probes on halves of the layers."""
    usual = candidates(list(tables.values()), methods_for("classification", []))
    (probe,) = methods_for("classification", ["probe"])
    halves = [
        Candidate(uri, layers, probe)
        for uri in SOURCES
        for middle in [len(tables[uri].layers) // 2]
        for layers in (tables[uri].layers[:middle], tables[uri].layers[middle:])
    ]
    return [*usual, *halves]


if __name__ == "__main__":
    main()
