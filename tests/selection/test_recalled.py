"""Denominators and learning curves are judged once, and told apart by all that decides them."""

from dataclasses import replace

import numpy as np
import pytest

from retarget.evaluation.protocol import plan
from retarget.features.table import Table
from retarget.methods.probe import Probe
from retarget.selection.baselines import Baseline, Effects
from retarget.selection.candidates import Candidate
from retarget.selection.judge import Study
from retarget.selection.recalled import recalled_baseline, recalled_curve
from retarget.selection.select import attempt
from retarget.tasks.open import open_task


def study(n: int = 40, seed: int = 0) -> Study:
    texts = [f"text number {i}" for i in range(n)]
    task = open_task(texts, ["ab"[i % 2] for i in range(n)], kind="classification")
    return Study(task, plan(task, seed=seed), "accuracy", "mean")


def table(n: int = 40, seed: int = 0) -> Table:
    matrix = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return Table("tiny:a", matrix, {"one": slice(0, 2), "pooled": slice(2, 4)}, 1.0, 0.1)


class Judging:
    """Judges, and knows how often."""

    def __init__(self, effects: bool = False) -> None:
        self.times, self.effects = 0, effects

    def __call__(self) -> Baseline:
        self.times += 1
        effects = Effects(np.array(["a", "ü"]), np.ones((2, 2)), np.array([3, 4]))
        return Baseline("bag", np.eye(2), 0.25, effects if self.effects else None)


@pytest.mark.parametrize("effects", [False, True])
def test_a_denominator_is_judged_once(effects: bool) -> None:
    judge = Judging(effects)
    first, second = (recalled_baseline("bag", study(), judge) for _ in range(2))
    assert judge.times == 1
    for found in (first, second):
        assert np.array_equal(found.predictions, np.eye(2))
        assert (found.name, found.choosing_score) == ("bag", 0.25)
        assert (found.effects is not None) == effects
    if effects:
        assert second.effects is not None
        assert second.effects.names.tolist() == ["a", "ü"]
        assert second.effects.inputs.tolist() == [3, 4]


def test_whatever_decides_it_makes_another() -> None:
    judge, own = Judging(), study()
    labels = own.task.examples.targets.copy()
    labels[:2] = labels[1::-1]
    relabelled = replace(own.task, examples=replace(own.task.examples, targets=labels))
    others = [
        own,
        study(n=42),
        replace(own, metric="log_loss"),
        replace(own, protocol=plan(own.task, seed=1)),
        replace(own, protocol=plan(own.task, folds=4)),
        replace(own, task=relabelled),
        replace(own, owners=np.arange(40)),
    ]
    for one in others:
        recalled_baseline("bag", one, judge)
    recalled_baseline("random", own, judge)
    recalled_baseline("bag", own, judge, settings="other methods")
    recalled_baseline("bag", own, judge, tables=[table()])
    recalled_baseline("bag", own, judge, tables=[table(seed=1)])
    assert judge.times == len(others) + 4
    recalled_baseline("bag", own, judge, tables=[table(seed=1)])
    assert judge.times == len(others) + 4


def test_a_curve_is_measured_once_and_comes_back_as_it_was() -> None:
    own, features = study(), table()
    evidence = own.evidence({"tiny:a": features}, own.protocol.choosing)
    trial = attempt(evidence, Candidate("tiny:a", ("pooled",), Probe()))
    asked = []

    def measure() -> tuple[list[int], list[list[float]]]:
        asked.append(1)
        return [5, 16, 32], [[0.1, 0.2, 0.3], [1 / 3], [0.7, 0.8]]

    found = [recalled_curve(evidence, trial, 0, measure) for _ in range(2)]
    assert len(asked) == 1
    assert found[0] == found[1] == ([5, 16, 32], [[0.1, 0.2, 0.3], [1 / 3], [0.7, 0.8]])
    other = replace(evidence, features={"tiny:a": table(seed=3)})
    recalled_curve(other, trial, 0, measure)
    recalled_curve(evidence, trial, 1, measure)
    probed = replace(trial, candidates=(Candidate("tiny:a", ("one",), Probe()),))
    recalled_curve(evidence, probed, 0, measure)
    assert len(asked) == 4


def test_a_curve_of_nothing_is_one() -> None:
    own = study()
    evidence = own.evidence({"tiny:a": table()}, own.protocol.choosing)
    trial = attempt(evidence, Candidate("tiny:a", ("pooled",), Probe()))
    for _ in range(2):
        assert recalled_curve(evidence, trial, 0, lambda: ([], [])) == ([], [])
