"""Metrics equal scikit-learn's and scipy's, and say NaN where they say nothing."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from retarget.core.errors import UsageError
from retarget.evaluation.metrics import METRICS, headline, metric, metrics_for, score
from retarget.evaluation.sample import sample_of

KINDS = ("classification", "multilabel", "regression")


def random_sample(kind, n, k, seed, ties=True):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 3, n)
    if kind == "regression":
        y = rng.normal(size=n)
        p = y + rng.normal(size=n)
        return (np.round(y, 1), np.round(p, 1), weights) if ties else (y, p, weights)
    raw = rng.uniform(0.01, 1, (n, k))
    if ties:
        raw = np.round(raw, 1) + 0.1
    if kind == "multilabel":
        return (rng.uniform(size=(n, k)) < 0.4).astype(float), raw / 1.2, weights
    return rng.integers(0, k, n), raw / raw.sum(axis=1, keepdims=True), weights


def oracle(name, kind, y, p, w):
    """The same by scikit-learn."""
    if kind == "regression":
        return {
            "rmse": lambda: np.sqrt(sk.mean_squared_error(y, p, sample_weight=w)),
            "mae": lambda: sk.mean_absolute_error(y, p, sample_weight=w),
            "r2": lambda: sk.r2_score(y, p, sample_weight=w),
        }[name]()
    if kind == "multilabel":
        decided = (p >= 0.5).astype(float)
        f1 = {"zero_division": np.nan, "sample_weight": w}
        columns = range(y.shape[1])
        return {
            "subset_accuracy": lambda: sk.accuracy_score(y, decided, sample_weight=w),
            "hamming_loss": lambda: sk.hamming_loss(y, decided, sample_weight=w),
            "macro_f1": lambda: sk.f1_score(y, decided, average="macro", **f1),
            "micro_f1": lambda: sk.f1_score(y, decided, average="micro", **f1),
            "auroc": lambda: sk.roc_auc_score(y, p, average="macro", sample_weight=w),
            "average_precision": lambda: sk.average_precision_score(y, p, sample_weight=w),
            "log_loss": lambda: np.mean(
                [sk.log_loss(y[:, j], p[:, j], sample_weight=w, labels=[0, 1]) for j in columns]
            ),
            "brier": lambda: np.mean(
                [sk.brier_score_loss(y[:, j], p[:, j], sample_weight=w) for j in columns]
            ),
        }[name]()
    decided, k = p.argmax(axis=1), p.shape[1]
    binary = k == 2
    truth = (y == 1) if binary else np.eye(k)[y]
    scores = p[:, 1] if binary else p
    return {
        "accuracy": lambda: sk.accuracy_score(y, decided, sample_weight=w),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(y, decided, sample_weight=w),
        "macro_f1": lambda: sk.f1_score(y, decided, average="macro", sample_weight=w),
        "auroc": lambda: sk.roc_auc_score(truth, scores, average="macro", sample_weight=w),
        "average_precision": lambda: sk.average_precision_score(truth, scores, sample_weight=w),
        "log_loss": lambda: sk.log_loss(y, p, sample_weight=w, labels=list(range(k))),
        "brier": lambda: (
            sk.brier_score_loss(y, p, sample_weight=w, labels=list(range(k)), scale_by_half=True)
            if not binary
            else sk.brier_score_loss(y, scores, sample_weight=w)
        ),
    }[name]()


SUPPORTED = [
    (kind, name)
    for kind in KINDS
    for name in metrics_for(kind)
    if name not in ("calibration_error", "spearman")
]


@pytest.mark.parametrize(("kind", "name"), SUPPORTED)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 5])
def test_equals_scikit_learn_with_ties_and_weights(kind, name, weighted, k):
    for seed, ties in ((0, True), (1, False)):
        y, p, w = random_sample(kind, 60, k, seed, ties)
        w = w if weighted else None
        assert score(name, kind, y, p, w) == pytest.approx(oracle(name, kind, y, p, w), abs=1e-9)


def test_spearman_equals_scipy_with_ties():
    for seed, ties in ((0, True), (1, False)):
        y, p, _ = random_sample("regression", 50, 1, seed, ties)
        assert score("spearman", "regression", y, p) == pytest.approx(
            stats.spearmanr(y, p).statistic, abs=1e-9
        )


def test_weights_of_two_are_examples_twice():
    for kind in KINDS:
        y, p, _ = random_sample(kind, 40, 3, 5)
        counts = np.random.default_rng(0).integers(1, 4, 40)
        for name in metrics_for(kind):
            once = score(name, kind, y, p, counts.astype(float))
            many = score(name, kind, np.repeat(y, counts, axis=0), np.repeat(p, counts, axis=0))
            assert once == pytest.approx(many, abs=1e-9), name


def test_calibration_error_equals_the_plain_loop_over_bins():
    y, p, w = random_sample("classification", 300, 4, 3, ties=False)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    total = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if inside.any():
            total += abs(np.sum(w[inside] * (confidence[inside] - right[inside])))
    assert score("calibration_error", "classification", y, p, w) == pytest.approx(total / w.sum())


def test_auroc_under_folds_counts_only_pairs_of_one_fold():
    y, p, _ = random_sample("classification", 40, 2, 1)
    folds = np.arange(40) % 4
    right = total = 0.0
    for i in range(40):
        for j in range(40):
            if y[i] == 1 and y[j] == 0 and folds[i] == folds[j]:
                total += 1
                right += (p[i, 1] > p[j, 1]) + 0.5 * (p[i, 1] == p[j, 1])
    assert score("auroc", "classification", y, p, folds=folds) == pytest.approx(right / total)


def test_spearman_under_folds_is_the_mean_of_the_folds():
    y, p, _ = random_sample("regression", 30, 1, 2)
    folds = np.repeat([0, 1], [10, 20])
    parts = [stats.spearmanr(y[folds == f], p[folds == f]).statistic for f in (0, 1)]
    assert score("spearman", "regression", y, p, folds=folds) == pytest.approx(
        np.average(parts, weights=[10, 20])
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in metrics_for(kind)]
)
@pytest.mark.parametrize("grouped", [False, True])
def test_leaving_out_a_group_is_scoring_the_rest(kind, name, grouped):
    n = 60 if name not in ("average_precision", "spearman") else 400
    y, p, w = random_sample(kind, n, 3, 11)
    groups = np.arange(n) // 3 if grouped else np.arange(n)
    folds = np.arange(n) % 2 if name == "auroc" and not grouped else None
    left = METRICS[name].statistic.without(sample_of(kind, y, p, w, folds), groups)
    value = score(name, kind, y, p, w, folds)
    exact = np.array(
        [
            score(name, kind, y[keep], p[keep], w[keep], None if folds is None else folds[keep])
            for keep in (groups != g for g in range(groups.max() + 1))
        ]
    )
    if name in ("average_precision", "spearman"):  # to first order
        assert np.linalg.norm(left - exact) < 0.15 * np.linalg.norm(exact - value)
        assert np.linalg.norm(left - value) == pytest.approx(
            np.linalg.norm(exact - value), rel=0.05
        )
    else:
        assert left == pytest.approx(exact, abs=1e-9)


def test_one_class_has_no_auroc_and_nothing_warns():
    y, p = np.zeros(5, int), np.full((5, 2), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(score("auroc", "classification", y, p))
        assert np.isnan(score("average_precision", "classification", y, p))
        assert np.isnan(score("r2", "regression", np.ones(4), np.ones(4)))
        assert np.isnan(score("spearman", "regression", np.ones(4), np.arange(4.0)))
        assert np.isnan(score("rmse", "regression", np.ones(0), np.ones(0)))


def test_labels_with_one_value_are_left_out_of_the_mean():
    y = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], float)
    p = np.array([[0.9, 0.1, 0.2], [0.2, 0.6, 0.1], [0.4, 0.3, 0.7], [0.6, 0.3, 0.7]])
    assert score("auroc", "multilabel", y, p) == pytest.approx(sk.roc_auc_score(y[:, 0], p[:, 0]))


def test_a_metric_of_another_kind_is_refused_with_the_ones_that_fit():
    with pytest.raises(UsageError, match="rmse, mae"):
        metric("accuracy", "regression")
    with pytest.raises(ValueError, match="fit together"):
        score("accuracy", "classification", np.zeros(3, int), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        ([0, 1] * 10, "accuracy"),
        ([0, 0, 1], "accuracy"),
        ([0] * 9 + [1], "auroc"),
        ([0] * 9 + [1, 2], "balanced_accuracy"),
        ([0, 0], "accuracy"),
    ],
)
def test_headline_of_classes_depends_on_their_balance(targets, name):
    assert headline("classification", np.array(targets)) == name


def test_headline_of_other_kinds():
    assert headline("regression", np.ones(3)) == "rmse"
    assert headline("multilabel", np.ones((3, 2))) == "average_precision"


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 12),
    k=st.integers(2, 4),
    seed=st.integers(0, 10_000),
    ties=st.booleans(),
)
def test_values_stay_within_bounds(kind, n, k, seed, ties):
    y, p, w = random_sample(kind, n, k, seed, ties)
    for name in metrics_for(kind):
        value = score(name, kind, y, p, w)
        low, high = METRICS[name].bounds
        assert np.isnan(value) or low - 1e-12 <= value <= high + 1e-12


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_order_of_examples_does_not_matter(seed):
    for kind in KINDS:
        y, p, w = random_sample(kind, 20, 3, seed)
        order = np.random.default_rng(seed).permutation(20)
        for name in metrics_for(kind):
            assert score(name, kind, y, p, w) == pytest.approx(
                score(name, kind, y[order], p[order], w[order]), abs=1e-9, nan_ok=True
            )
