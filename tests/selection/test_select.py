"""The choice among candidates: lowest loss, and the cheaper source where that can't be told."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from retarget.core.errors import UsageError
from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.selection.candidates import candidates, methods_for
from retarget.selection.learning import measure_curve
from retarget.selection.select import attempt, choose, refit, select
from retarget.selection.trials import Evidence, standard_error

N = 90


@pytest.fixture
def truth() -> np.ndarray:
    """Return two classes, half and half."""
    return np.tile(np.array([0, 1], dtype=np.int64), N // 2)


def evidence_of(truth: np.ndarray, *tables: Table) -> Evidence:
    return Evidence(
        features={t.uri: t for t in tables},
        labels=Labels("classification", truth, 2, np.ones(len(truth))),
        folds=np.arange(len(truth)) // 2 % 5,
        units=np.arange(len(truth)),
        metric="accuracy",
    )


def features(truth: np.ndarray, signal: float, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(len(truth), 5))
    x[:, 0] += signal * (truth - 0.5)
    return x


def test_a_cheaper_source_wins_where_it_cannot_be_told_apart(
    truth: np.ndarray, table_of: Callable[..., Table]
) -> None:
    x = features(truth, 2.0, 0)
    dear = table_of("dear:", [x], cost=9.0)
    cheap = table_of("cheap:", [x + 0.01 * features(truth, 0.0, 1)], cost=1.0)
    evidence = evidence_of(truth, dear, cheap)
    selection = select(evidence, candidates((dear, cheap), methods_for("classification", ())))
    assert selection.chosen.source == "cheap:"


def test_a_clearly_better_source_wins_whatever_it_costs(
    truth: np.ndarray, table_of: Callable[..., Table]
) -> None:
    dear = table_of("dear:", [features(truth, 4.0, 0)], cost=9.0)
    cheap = table_of("cheap:", [features(truth, 0.5, 1)], cost=1.0)
    evidence = evidence_of(truth, dear, cheap)
    selection = select(evidence, candidates((dear, cheap), methods_for("classification", ())))
    assert selection.chosen.source == "dear:"
    assert selection.trials[0].source == "dear:"


def test_the_standard_error_counts_units_not_rows() -> None:
    values = np.random.default_rng(0).normal(size=50)
    alone = standard_error(values, np.arange(50))
    np.testing.assert_allclose(alone, values.std(ddof=1) / np.sqrt(50))
    doubled = standard_error(np.repeat(values, 2), np.repeat(np.arange(50), 2))
    np.testing.assert_allclose(doubled, alone)


def test_layers_are_named_alone_together_and_by_depth(table_of: Callable[..., Table]) -> None:
    table = table_of("s:", [np.zeros((3, 2))] * 3)
    methods = methods_for("classification", ["probe"])
    assert [c.layers for c in candidates((table,), methods)] == [
        ("layer0",),
        ("layer1",),
        ("layer2",),
        ("layer0", "layer1", "layer2"),
    ]
    assert [c.layers for c in candidates((table,), methods, ["last"])] == [("layer2",)]
    assert [c.layers for c in candidates((table,), methods, ["layer0+layer2", "all"])] == [
        ("layer0", "layer2"),
        ("layer0", "layer1", "layer2"),
    ]
    with pytest.raises(UsageError, match="layer0, layer1, layer2"):
        candidates((table,), methods, ["blocks.9"])


def test_methods_that_cannot_do_the_targets_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"prototype can't do regression.*probe"):
        methods_for("regression", ["prototype"])
    with pytest.raises(UsageError, match="no method 'magic'"):
        methods_for("classification", ["magic"])


def test_members_are_fitted_from_starts_of_their_own_whatever_came_before(
    truth: np.ndarray, table_of: Callable[..., Table]
) -> None:
    table = table_of("s:", [features(truth, 1.5, seed) for seed in range(3)])
    evidence = evidence_of(truth, table)
    found = select(evidence, candidates((table,), methods_for("classification", ())))
    average = next(t for t in found.trials if len(t.candidates) > 1)
    alone = {t.candidates[0]: t.starts for t in found.trials if len(t.candidates) == 1}
    assert [(s,) for s in average.starts] == [alone[c] for c in average.candidates]
    assert any(s is not None for s in average.starts)

    def arrays() -> list[bytes]:
        model = refit(evidence, average, ("ant", "bee"), "mean")
        return [a.tobytes() for m in model.members for a in m.head.arrays().values()]

    first = arrays()
    for candidate in average.candidates:
        attempt(evidence, candidate)
        assert arrays() == first
    started = [
        c.method.fit(m.scale(_columns(table, c.layers)), evidence.labels, setting, start).arrays()
        for c, m, setting, start in zip(
            average.candidates,
            refit(evidence, average, ("ant", "bee"), "mean").members,
            average.settings,
            average.starts,
            strict=True,
        )
    ]
    assert [a.tobytes() for arrays in started for a in arrays.values()] == first


def _columns(table: Table, layers: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([table.layer(name) for name in layers], axis=1)


def test_the_learning_curve_rises_with_labels(
    truth: np.ndarray, table_of: Callable[..., Table]
) -> None:
    table = table_of("s:", [features(truth, 1.5, 3)])
    evidence = evidence_of(truth, table)
    chosen = select(evidence, candidates((table,), methods_for("classification", ["probe"]))).chosen
    sizes, scores = measure_curve(evidence, chosen, seed=0)
    assert sizes == sorted(sizes)
    assert len(sizes) == len(scores)
    assert np.mean(scores[-1]) > np.mean(scores[0]) - 0.02
    assert max(sizes) <= N
    assert measure_curve(evidence, chosen, seed=0) == (sizes, scores)


@pytest.mark.parametrize(("better", "alone"), [(0.5, True), (0.02, False)])
def test_one_trial_is_taken_alone_only_if_luck_does_not_explain_it(
    truth: np.ndarray, table_of: Callable[..., Table], better: float, alone: bool
) -> None:
    table = table_of("s:", [features(truth, 1.5, seed) for seed in range(3)])
    evidence = evidence_of(truth, table)
    found = select(evidence, candidates((table,), methods_for("classification", ())))
    average = next(t for t in found.trials if len(t.candidates) > 1)
    noise = np.random.default_rng(0).normal(0.0, 0.3, N)
    single = replace(found.trials[0], losses=average.losses - better + noise - noise.mean())
    chosen = choose(evidence, [single, *found.trials[1:]]).chosen
    assert (chosen is single) == alone


def test_alike_layers_are_averaged(truth: np.ndarray, table_of: Callable[..., Table]) -> None:
    alike = [features(truth, 1.5, seed) for seed in range(4)]
    evidence = evidence_of(truth, table_of("s:", alike))
    chosen = select(
        evidence, candidates(tuple(evidence.features.values()), methods_for("classification", ()))
    ).chosen
    members = [c.layers for c in chosen.candidates]
    assert len(members) > 1
    assert ("layer3",) in members
    assert ("layer0", "layer1", "layer2", "layer3") in members
