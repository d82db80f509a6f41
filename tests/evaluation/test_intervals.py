"""Intervals equal closed forms where there are some, hold the truth, and never break."""

import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from retarget.evaluation.intervals import interval, intervals, number_groups, paired
from retarget.evaluation.jackknife import design_of
from retarget.evaluation.metrics import METRICS, metrics_for
from retarget.evaluation.quantiles import t_quantile, t_tail
from retarget.evaluation.sample import sample_of

KINDS = ("classification", "multilabel", "regression")


def answers(right, wrong):
    """Two-class predictions of which so many are right and so many wrong."""
    y = np.zeros(right + wrong, int)
    p = np.tile([0.8, 0.2], (right + wrong, 1))
    p[right:] = [0.3, 0.7]
    return y, p


def random_sample(kind, n, k, seed):
    rng = np.random.default_rng(seed)
    if kind == "regression":
        y = np.round(rng.normal(size=n), 1)
        return y, np.round(y + rng.normal(size=n), 1)
    raw = np.round(rng.uniform(0.01, 1, (n, k)), 1) + 0.05
    if kind == "multilabel":
        return (rng.uniform(size=(n, k)) < 0.4).astype(float), raw / 1.1
    return rng.integers(0, k, n), raw / raw.sum(axis=1, keepdims=True)


def wilson(share, n, z):
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return center - half, center + half


@pytest.mark.parametrize("df", [1, 1.4, 2, 3.7, 9, 30, 99.5, 1000, 1e5, 1e9])
@pytest.mark.parametrize("p", [0.55, 0.9, 0.975, 0.9995])
def test_t_quantile_equals_scipy(df, p):
    assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-7)


def test_t_tail_equals_scipy():
    for df, t in ((1.0, 0.3), (2.5, 4.0), (40.0, 1.0), (1e4, 2.0)):
        assert t_tail(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-9)


@pytest.mark.parametrize(("right", "wrong"), [(15, 5), (18, 2), (70, 30), (812, 188)])
def test_accuracy_of_single_examples_is_wilsons_interval(right, wrong):
    n = right + wrong
    e = interval("accuracy", "classification", *answers(right, wrong))
    # One example less in the variance, and t instead of the normal quantile.
    seen = (n - 1) * 2 * math.sqrt(right * wrong) / n
    effect = (seen * n / (n - 1) + 4) / (seen + 4)
    low, high = wilson(right / n, n / effect, stats.t.ppf(0.975, n + 3))
    assert (e.low, e.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_large_accuracy_is_the_textbook_wilson():
    e = interval("accuracy", "classification", *answers(4000, 1000))
    low, high = wilson(0.8, 5000, 1.959964)
    assert (e.low, e.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_all_right_leaves_room_below_and_none_above():
    e = interval("accuracy", "classification", *answers(20, 0))
    assert e.high == e.value == 1.0
    assert 0.75 < e.low < 0.9  # the rule of three says 0.85


def test_auroc_variance_is_delongs():
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [30, 50])
    scores = rng.normal(size=80) + y
    p = 1 / (1 + np.exp(-np.stack([-scores, scores], axis=1)))
    wins = np.array(
        [[(a > b) + 0.5 * (a == b) for b in scores[y == 0]] for a in scores[y == 1]], float
    )
    delong = wins.mean(axis=1).var(ddof=1) / 30 + wins.mean(axis=0).var(ddof=1) / 50
    sample = sample_of("classification", y, p)
    statistic, groups = METRICS["auroc"].statistic, np.arange(80)
    design = design_of(statistic.leverage(sample), groups, None, within=True)
    found = design.variance(statistic.without(sample, groups) - statistic.value(sample))
    assert found == pytest.approx(delong, rel=0.02)


def test_rmse_of_normal_errors_is_near_the_chi_square_interval():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(200):
        error = rng.normal(size=30)
        e = interval("rmse", "regression", np.zeros(30), error)
        exact = np.sqrt((error**2).sum() / stats.chi2.ppf([0.975, 0.025], 30))
        ratios.append([e.low / exact[0], e.high / exact[1]])
    assert np.median(ratios, axis=0) == pytest.approx([1, 1], abs=0.06)


def test_groups_that_agree_count_as_one_example_each():
    y, p = answers(70, 30)
    alone = interval("accuracy", "classification", y, p)
    groups = np.array([f"g{i // 5}" for i in range(100)])
    grouped = interval("accuracy", "classification", y, p, groups=groups)
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert 1.8 < ratio < 2.6  # √5, and what twenty groups leave unsure
    assert grouped.how.endswith("over groups")


def test_groups_of_one_change_nothing():
    y, p = random_sample("classification", 40, 3, 0)
    names = np.array([f"g{i}" for i in range(40)])
    for name in metrics_for("classification"):
        alone = interval(name, "classification", y, p)
        assert interval(name, "classification", y, p, groups=names) == alone
        assert interval(name, "classification", y, p, groups=np.full(40, "")) == alone


def test_number_groups_gives_the_nameless_a_group_of_their_own():
    assert len(set(number_groups(np.array(["a", "", "a", "", "b"]), 5).tolist())) == 4
    assert number_groups(None, 3).tolist() == [0, 1, 2]


def test_cross_fitting_widens_and_says_what_it_compared():
    y, p = random_sample("classification", 50, 2, 3)
    folds = np.arange(50) % 5
    held_out = interval("accuracy", "classification", y, p)
    crossed = interval("accuracy", "classification", y, p, folds=folds)
    assert crossed.high - crossed.low > 1.1 * (held_out.high - held_out.low)
    assert "within folds" in interval("auroc", "classification", y, p, folds=folds).how


def test_one_group_says_almost_nothing():
    y, p = answers(45, 5)
    groups = np.full(50, "ward")
    e = interval("accuracy", "classification", y, p, groups=groups)
    assert e.high - e.low > 0.6
    d = paired("accuracy", "classification", y, p, p[::-1], groups=groups)
    assert (d.low, d.high) == (-1.0, 1.0)
    values = np.arange(10.0)
    d = paired("rmse", "regression", values, values + 1, values - 2, groups=np.full(10, "a"))
    assert d.low < -5 and d.high > 5


def test_the_same_predictions_differ_by_nothing_but_not_surely():
    y, p = answers(16, 4)
    d = paired("accuracy", "classification", y, p, p)
    assert d.value == 0.0
    assert -0.2 < d.low < -0.05 and d.high == -d.low


def test_paired_is_narrower_than_two_intervals_where_predictions_agree():
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 300)
    shared = y + rng.normal(size=300)
    a, b = (shared + 0.2 * rng.normal(size=300) for _ in "ab")
    a, b = (np.stack([-z, z], axis=1) for z in (a, b))
    for name in ("accuracy", "auroc"):
        alone = interval(name, "classification", y, a)
        both = paired(name, "classification", y, a, b)
        assert both.high - both.low < 0.8 * (alone.high - alone.low)
        assert paired(name, "classification", y, b, a).value == pytest.approx(-both.value)


def test_paired_difference_is_of_the_metric_as_it_is():
    y = np.arange(20.0)
    d = paired("rmse", "regression", y, y + 1, y + np.where(y % 2, 3.0, -3.5))
    assert d.value < 0
    assert d.low < d.value < d.high < 0


def test_undefined_is_nan_throughout():
    y, p = np.zeros(5, int), np.full((5, 2), 0.5)
    for e in (
        interval("auroc", "classification", y, p),
        paired("auroc", "classification", y, p, p),
    ):
        assert np.isnan([e.value, e.low, e.high]).all()
        assert e.how == "not defined"


def test_several_at_once_are_the_same_as_one_by_one():
    y, p = random_sample("multilabel", 30, 4, 1)
    names = metrics_for("multilabel")
    together = intervals(names, "multilabel", y, p)
    assert together == {name: interval(name, "multilabel", y, p) for name in names}


def test_a_higher_level_is_wider():
    for kind in KINDS:
        y, p = random_sample(kind, 40, 3, 2)
        for name in metrics_for(kind):
            narrow, wide = (interval(name, kind, y, p, level=q) for q in (0.8, 0.99))
            assert wide.low <= narrow.low and narrow.high <= wide.high


@settings(deadline=None, max_examples=80)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 14),
    k=st.integers(2, 4),
    seed=st.integers(0, 10_000),
    groups=st.integers(0, 4),
    folds=st.integers(1, 4),
    perfect=st.booleans(),
)
def test_intervals_hold_their_value_and_are_never_half_nan(
    kind, n, k, seed, groups, folds, perfect
):
    y, p = random_sample(kind, n, k, seed)
    if perfect:
        p = np.eye(k)[y] if kind == "classification" else y.astype(float)
    rng = np.random.default_rng(seed)
    how = {
        "groups": np.array(["", "a", "b", "c"])[rng.integers(0, groups, n)] if groups else None,
        "folds": rng.integers(0, folds, n) if folds > 1 else None,
        "weights": rng.uniform(0.1, 5, n),
    }
    for name in metrics_for(kind):
        bounds = METRICS[name].bounds
        for e, low, high in (
            (interval(name, kind, y, p, **how), *bounds),
            (paired(name, kind, y, p, p[::-1], **how), bounds[0] - bounds[1], math.inf),
        ):
            if np.isnan(e.value):
                assert np.isnan([e.low, e.high]).all()
            else:
                assert low - 1e-9 <= e.low <= e.value <= e.high <= high + 1e-9, (name, e)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
@example(seed=1082)  # an example whose rank moves nothing still counts
def test_neither_order_nor_names_of_groups_matter(seed):
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        y, p = random_sample(kind, 24, 3, seed)
        groups, folds = rng.integers(0, 8, 24), rng.integers(0, 3, 24)
        order, names = rng.permutation(24), rng.permutation(8)
        folds = folds[groups % len(folds)]  # groups are never divided
        for name in metrics_for(kind):
            a = interval(name, kind, y, p, groups=groups.astype(str), folds=folds)
            b = interval(
                name,
                kind,
                y[order],
                p[order],
                groups=names[groups[order]].astype(str),
                folds=2 - folds[order],
            )
            assert [a.value, a.low, a.high] == pytest.approx(
                [b.value, b.low, b.high], abs=1e-7, rel=1e-7, nan_ok=True
            )


def test_all_metrics_of_five_thousand_examples_are_quick():
    y, p = random_sample("classification", 5000, 12, 0)
    start = time.process_time()
    intervals(metrics_for("classification"), "classification", y, p)
    assert time.process_time() - start < 2.0


def benchmark():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "grouped", "folds"), [(20, False, 5), (20, True, 0), (100, False, 0), (100, True, 5)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(n, grouped, folds):
    b = benchmark()
    tasks = 400
    results = b.simulate(b.Cell(n, grouped, folds, 0.5, 0.8), tasks, seed=1)
    share, _, _ = b.coverage(results)
    error = math.sqrt(0.93 * 0.07 / tasks)
    assert share.min() > 0.93 - 3 * error, dict(zip(b.METRICS, share, strict=True))


def test_the_benchmarks_closed_form_truth_is_that_of_a_large_sample():
    b = benchmark()
    cell = b.Cell(200_000, False, 0, 0.8, 0.8)
    rng = np.random.default_rng(0)
    small, large = b.draw(rng, b.Cell(50, False, 0, 0.8, 0.8), 50), b.draw(rng, cell, 200_000)
    w, c = b.discriminant(small, np.arange(50), slice(0, 4))
    scores = large.x @ w + c
    accuracy, area = b.true_class_scores(w, c, cell)
    assert np.mean((scores > 0) == large.y) == pytest.approx(accuracy, abs=0.005)
    p = np.stack([-scores, scores], axis=1)
    assert interval("auroc", "classification", large.y, p).value == pytest.approx(area, abs=0.006)
    w, c = b.ridge(small, np.arange(50), slice(0, 2))
    error = np.mean((large.x @ w + c - large.value) ** 2)
    assert error == pytest.approx(b.true_square_error(w, c, cell), rel=0.02)
