"""`Probe` against scikit-learn's models, fold by fold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from retarget.core.errors import UsageError
from retarget.methods import logistic
from retarget.methods.base import Labels, log_softmax, method
from retarget.methods.heads import LinearHead
from retarget.methods.probe import Probe


def loss(outputs, y):
    return -log_softmax(outputs)[np.arange(len(y)), y].mean()


def draw(rng, n, width, classes, signal):
    y = rng.permutation(np.arange(n) % classes)
    decay = np.arange(1, width + 1) ** -rng.uniform(0, 1)
    x = (rng.normal(size=(n, width)) + signal * rng.normal(size=(classes, width))[y]) * decay
    x = np.maximum(x, -1)
    x -= x.mean(axis=0)
    return (x / np.sqrt((x**2).sum(axis=1).mean())).astype(np.float32), y


def peer_outputs(x, y, classes, strength, query, weights, class_weight=None):
    """Logits of scikit-learn's optimum; classes absent from y get what `Probe` says they get."""
    shown = np.unique(y)
    found = np.full((len(query), classes), -np.log(2 * max(weights.sum(), 1)))
    if len(shown) == 1:
        found[:, shown[0]] = 0
        return found
    columns = 1 if len(shown) == 2 and classes == 2 else 0
    total = len(shown) if class_weight else weights.sum()
    c = (2 if columns else 1) / (strength * total)
    if class_weight:
        weights = weights / np.array([weights[y == k].sum() for k in range(classes)])[y]
    model = LogisticRegression(C=c, tol=1e-8, max_iter=20_000)
    z = model.fit(x.astype(float), y, sample_weight=weights).decision_function(query)
    if z.ndim == 1:
        z = np.stack([-z / 2, z / 2], axis=1)
    found[:, shown] = z
    return found


@given(
    seed=st.integers(0, 10_000),
    # Of fewer rows, separable as they are, held-out losses follow the last digits of the fit.
    n=st.integers(20, 80),
    width=st.integers(1, 60),
    classes=st.sampled_from([2, 3, 5]),
    signal=st.floats(0, 2),
    weighted=st.booleans(),
    balanced=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_out_of_fold_loss_is_that_of_the_exact_optimum(
    seed, n, width, classes, signal, weighted, balanced
):
    rng = np.random.default_rng(seed)
    x, y = draw(rng, n, width, classes, signal)
    weights = rng.uniform(0.5, 2, size=n) if weighted else np.ones(n)
    folds = rng.integers(3, size=n)
    labels = Labels("classification", y, classes, weights)
    class_weight = "balanced" if balanced else None
    strengths = (3e-2, 1e-3, 1e-4)
    got = Probe(class_weight, strengths).cross_fit(x, labels, folds).outputs
    for s, strength in enumerate(strengths):
        for fold in np.unique(folds):
            kept, out = folds != fold, folds == fold
            shown = np.unique(y[kept])
            judged = np.isin(y[out], shown)
            if len(shown) < 2 or not judged.any() or (classes > 2 and len(shown) == 2):
                continue
            exact = peer_outputs(
                x[kept], y[kept], classes, strength, x[out], weights[kept], class_weight
            )
            ours, best = (
                loss(got[s, out][judged], y[out][judged]),
                loss(exact[judged], y[out][judged]),
            )
            # A single fold of a few rows: its error is several times that over all rows.
            assert abs(ours - best) <= 0.03 * best + 0.01


@pytest.mark.parametrize(
    ("n", "width", "classes", "signal"), [(300, 40, 2, 0.5), (250, 400, 12, 0.8), (400, 30, 4, 3.0)]
)
def test_out_of_fold_loss_is_within_a_thousandth_on_whole_tasks(n, width, classes, signal):
    rng = np.random.default_rng(n)
    x, y = draw(rng, n, width, classes, signal)
    folds = np.arange(n) % 5
    labels = Labels("classification", y, classes, np.ones(n))
    strengths = (1e-2, 1e-3, 1e-4, 1e-5)
    got = Probe(strengths=strengths).cross_fit(x, labels, folds).outputs
    for s, strength in enumerate(strengths):
        exact = np.empty((n, classes))
        for fold in range(5):
            kept, out = folds != fold, folds == fold
            exact[out] = peer_outputs(x[kept], y[kept], classes, strength, x[out], np.ones(n)[kept])
        assert loss(got[s], y) == pytest.approx(loss(exact, y), rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_a_hundred_classes_are_solved():
    rng = np.random.default_rng(0)
    x, y = draw(rng, 600, 64, 100, 1.0)
    head = Probe().fit(x, Labels("classification", y, 100, np.ones(600)), 1e-3)
    exact = peer_outputs(x, y, 100, 1e-3, x, np.ones(600))
    assert loss(head.outputs(x), y) == pytest.approx(loss(exact, y), rel=1e-3)


def test_wide_features_that_are_not_rotated_give_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    x, y = draw(rng, 80, 50, 3, 0.5)
    labels, folds = Labels("classification", y, 3, np.ones(80)), np.arange(80) % 4
    rotated = Probe().cross_fit(x, labels, folds).outputs, Probe().fit(x, labels, 1e-3).outputs(x)
    monkeypatch.setattr("retarget.methods.probe.ROTATE_UP_TO", 10)
    monkeypatch.setattr("retarget.methods.probe.NUMBERS_AT_ONCE", 1)
    plain = Probe().cross_fit(x, labels, folds).outputs, Probe().fit(x, labels, 1e-3).outputs(x)
    for a, b in zip(rotated[0], plain[0], strict=True):
        assert loss(a, y) == pytest.approx(loss(b, y), rel=2e-3)
    np.testing.assert_allclose(log_softmax(rotated[1]), log_softmax(plain[1]), atol=0.02)


@pytest.mark.parametrize(
    ("kind", "classes"),
    [("classification", 2), ("classification", 4), ("classification", 5), ("multilabel", 3)],
)
def test_a_choice_gives_its_fit_a_start_that_saves_steps(kind, classes, monkeypatch):
    rng = np.random.default_rng(classes)
    x, y = draw(rng, 150, 20, min(classes, 4), 0.7)
    values = np.eye(3)[y % 3] if kind == "multilabel" else y
    labels = Labels(kind, values, classes, rng.uniform(0.5, 2, 150))
    probe, setting = Probe("balanced", (1e-2, 1e-3)), 1e-3
    start = probe.cross_fit(x, labels, np.arange(150) % 5).heads[1]
    steps = []
    advance = logistic._Solver._advance
    monkeypatch.setattr(logistic._Solver, "_advance", lambda *a: steps.append(1) or advance(*a))
    alone, needed = probe.fit(x, labels, setting).outputs(x), len(steps)
    after = probe.fit(x, labels, setting, start).outputs(x)
    assert len(steps) - needed < 0.7 * needed
    np.testing.assert_allclose(log_softmax(start.outputs(x)), log_softmax(alone), atol=0.5)
    np.testing.assert_allclose(log_softmax(after), log_softmax(alone), atol=0.02)
    far = LinearHead(-5 * start.weight, start.bias + 9)
    np.testing.assert_allclose(
        log_softmax(probe.fit(x, labels, setting, far).outputs(x)), log_softmax(alone), atol=0.02
    )


@pytest.mark.parametrize("balanced", [False, True])
def test_labels_are_told_one_against_the_rest(balanced):
    rng = np.random.default_rng(0)
    x, y = draw(rng, 120, 20, 3, 1.0)
    held = np.stack([y == 0, y != 1, rng.random(120) < 0.2], axis=1).astype(float)
    class_weight = "balanced" if balanced else None
    head = Probe(class_weight).fit(x, Labels("multilabel", held, 3, np.ones(120)), 1e-2)
    for k in range(3):
        model = LogisticRegression(C=1 / (1e-2 * 120), tol=1e-8, class_weight=class_weight)
        exact = model.fit(x.astype(float), held[:, k]).decision_function(x)
        np.testing.assert_allclose(head.outputs(x)[:, k], exact, atol=0.02)


def test_regression_is_ridge():
    rng = np.random.default_rng(0)
    x, _ = draw(rng, 50, 10, 2, 0)
    values = x[:, 0] * 4 + rng.normal(size=50) * 0.1 + 7
    labels, folds = Labels("regression", values, 1, np.ones(50)), np.arange(50) % 5
    probe = Probe()
    got = probe.cross_fit(x, labels, folds).outputs
    for s, strength in enumerate(probe.settings(labels)):
        for fold in range(5):
            kept, out = folds != fold, folds == fold
            model = Ridge(alpha=strength * kept.sum()).fit(x[kept].astype(float), values[kept])
            np.testing.assert_allclose(got[s, out, 0], model.predict(x[out]), rtol=1e-3)


def test_one_class_alone_is_certain():
    x, labels = (
        np.eye(4, 3, dtype=np.float32),
        Labels("classification", np.zeros(4, int), 1, np.ones(4)),
    )
    assert Probe().fit(x, labels, 1e-3).outputs(x).shape == (4, 1)


def test_unknown_methods_are_named_with_those_that_exist():
    with pytest.raises(UsageError, match="probe"):
        method("prob")
