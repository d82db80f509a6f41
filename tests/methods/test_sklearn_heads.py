"""The scikit-learn faces keep scikit-learn's contract, and choose well."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from retarget.methods.sklearn_heads import (
    KnnProbeClassifier,
    ProbeClassifier,
    ProbeRegressor,
    PrototypeClassifier,
)

CLASSIFIERS = [ProbeClassifier(), PrototypeClassifier(), KnnProbeClassifier()]


@parametrize_with_checks([*CLASSIFIERS, ProbeRegressor(), ProbeClassifier(strength=1e-3)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_digits_are_told_apart(estimator):
    x, y = load_digits(return_X_y=True)
    scores = cross_val_score(estimator, x[:400], y[:400].astype(str), cv=2)
    assert scores.mean() > 0.8


def test_regression_recovers_a_plane():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) * 10 + 3
    y = x @ np.arange(5) + 2
    assert ProbeRegressor().fit(x[:100], y[:100]).score(x[100:], y[100:]) > 0.999


def test_a_given_setting_is_kept_and_balance_helps_the_rare_class():
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 20 == 0).astype(int)
    x = rng.normal(size=(200, 3)) + y[:, None]
    plain, balanced = ProbeClassifier(strength=1e-2), ProbeClassifier(1e-2, balanced=True)
    assert plain.fit(x, y).setting_ == 1e-2
    assert clone(balanced).fit(x, y).predict(x).sum() > plain.predict(x).sum()
