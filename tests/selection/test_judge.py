"""Choosing is judged, and sees nothing of what judges it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from retarget.features.table import Table
from retarget.selection.baselines import judge_majority
from retarget.selection.candidates import candidates, methods_for
from retarget.selection.judge import Judged, Study, judge
from retarget.selection.tune import Pool
from retarget.tasks.task import Task

Maker = Callable[..., tuple[Study, dict[str, Table]]]


def run(study: Study, tables: dict[str, Table], average: bool = True) -> Judged:
    pool = candidates(tuple(tables.values()), methods_for(study.task.kind, ()))
    return judge(study, tables, Pool(pool, average=average))


def with_targets(study: Study, targets: np.ndarray) -> Study:
    examples = replace(study.task.examples, targets=targets)
    return Study(replace(study.task, examples=examples), study.protocol, study.metric, "mean")


def test_the_informative_layer_is_found_and_predicts(study_of: Maker) -> None:
    study, tables = study_of(n=120, held_out=40)
    judged = run(study, tables)
    assert any("layer3" in c.layers for c in judged.selection.chosen.candidates)
    hits = judged.predictions.argmax(axis=1) == study.task.examples.targets[study.protocol.judging]
    assert hits.mean() > 0.85


@pytest.mark.parametrize("held_out", [0, 30])
def test_a_canary_label_in_judging_data_changes_no_choice(study_of: Maker, held_out: int) -> None:
    study, tables = study_of(n=90, held_out=held_out)
    rows, places = study.protocol.rounds()[0]
    before = run(study, tables)
    changed = study.task.examples.targets.copy()
    judged_rows = study.protocol.judging[places]
    changed[judged_rows] = 1 - changed[judged_rows]
    after = run(with_targets(study, changed), tables)
    assert not np.isin(judged_rows, rows).any()
    np.testing.assert_array_equal(before.predictions[places], after.predictions[places])
    np.testing.assert_array_equal(before.uncalibrated[places], after.uncalibrated[places])
    if held_out:
        chosen_before, chosen_after = before.selection.chosen, after.selection.chosen
        assert chosen_before.candidates == chosen_after.candidates
        assert chosen_before.settings == chosen_after.settings
        assert chosen_before.loss == chosen_after.loss


@pytest.mark.parametrize(("layers", "sources"), [(1, 1), (5, 2)])
def test_random_labels_give_chance_however_much_is_tried(
    task_of: Callable[..., Task], table_of: Callable[..., Table], layers: int, sources: int
) -> None:
    from retarget.evaluation.protocol import plan

    shares = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        task = task_of(generator.integers(0, 2, 60))
        made = [[generator.normal(size=(60, 5)) for _ in range(layers)] for _ in range(sources)]
        tables = {f"s:{i}": table_of(f"s:{i}", m, cost=i + 1.0) for i, m in enumerate(made)}
        study = Study(task, plan(task, seed=seed), "accuracy", "mean")
        judged = run(study, tables)
        shares.append(np.mean(judged.predictions.argmax(axis=1) == task.examples.targets))
    # 480 fair coins: their mean leaves 0.5 ± 0.09 once in ten thousand times.
    assert abs(np.mean(shares) - 0.5) < 0.09
    assert np.mean(shares) < 0.5 + 0.07


def test_validation_scores_of_many_candidates_are_optimistic_and_judging_is_not(
    task_of: Callable[..., Task], table_of: Callable[..., Table]
) -> None:
    from retarget.evaluation.protocol import plan

    chosen, judged_scores = [], []
    for seed in range(6):
        generator = np.random.default_rng(100 + seed)
        task = task_of(generator.integers(0, 2, 40))
        tables = {"s:": table_of("s:", [generator.normal(size=(40, 4)) for _ in range(15)])}
        study = Study(task, plan(task, seed=seed), "accuracy", "mean")
        judged = run(study, tables)
        chosen.append(judged.selection.chosen.score)
        hits = judged.predictions.argmax(axis=1) == task.examples.targets
        judged_scores.append(hits.mean())
    assert np.mean(chosen) > 0.6 > np.mean(judged_scores)


def test_order_of_rows_changes_no_prediction(study_of: Maker) -> None:
    from retarget.evaluation.protocol import plan

    study, tables = study_of(n=60)
    order = np.random.default_rng(1).permutation(60)
    task = study.task.take(order)
    moved = Study(task, plan(task), study.metric, "mean")
    table = tables["made:up"]
    there = run(moved, {"made:up": table.take(order)}).predictions
    here = run(study, tables).predictions
    np.testing.assert_allclose(there, here[order], atol=2e-3)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_other_kinds_of_target_are_chosen_and_predicted(study_of: Maker, kind: str) -> None:
    study, tables = study_of(n=100, held_out=30, kind=kind)
    judged = run(study, tables)
    targets = study.task.examples.targets[study.protocol.judging]
    assert judged.predictions.shape == targets.shape
    error = np.mean((judged.predictions - targets) ** 2)
    assert error < 0.3 * np.mean((judge_majority(study).predictions - targets) ** 2)


def test_the_model_handed_over_predicts_as_its_members_do(study_of: Maker) -> None:
    study, tables = study_of(n=60)
    model = run(study, tables).model
    table = tables["made:up"]
    by_hand = []
    for m in model.members:
        x = np.concatenate([table.layer(name) for name in m.layers], axis=1)
        z = m.head.outputs((x - m.scale.centre) * m.scale.factor) / m.temperature
        e = np.exp(z - z.max(axis=1, keepdims=True))
        by_hand.append(e / e.sum(axis=1, keepdims=True))
    p = np.mean(by_hand, axis=0) ** (1 / model.temperature)
    np.testing.assert_allclose(
        model.predict([table.layer]), p / p.sum(axis=1, keepdims=True), atol=1e-6
    )
