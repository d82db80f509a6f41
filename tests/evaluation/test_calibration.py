"""Temperatures and calibration, against plain recomputation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from retarget.evaluation.calibration import apply_temperature, calibration, fit_temperature
from retarget.evaluation.metrics import score


def drawn(n: int, k: int, truth: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and targets drawn from softmax(logits / truth)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((n, k))
    p = softmax(logits / truth, axis=1)
    return logits, np.array([rng.choice(k, p=row) for row in p])


@pytest.mark.parametrize("truth", [0.3, 1.0, 2.5, 8.0])
def test_known_temperature_is_recovered(truth: float) -> None:
    logits, targets = drawn(4_000, 5, truth)
    assert fit_temperature(log_softmax(logits, axis=1), targets) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("truth", [0.5, 3.0])
def test_known_temperature_of_labels_is_recovered(truth: float) -> None:
    rng = np.random.default_rng(1)
    logits = 3 * rng.standard_normal((2_000, 4))
    targets = (rng.random(logits.shape) < expit(logits / truth)).astype(np.float32)
    found = fit_temperature(logits, targets, kind="multilabel")
    assert found == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_temperature_minimises_the_stated_loss(seed: int) -> None:
    logits, targets = drawn(60, 3, 2.0, seed)
    weights = np.random.default_rng(seed).uniform(0.2, 3, 60)

    def loss(log_t: float) -> float:
        t = np.exp(log_t)
        total = 0.0
        for row, target, weight in zip(logits, targets, weights / weights.mean(), strict=True):
            total -= weight * log_softmax(row / t)[target]
        return total + 1 / t + np.log(t)

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    found = fit_temperature(logits, targets, weights)
    assert loss(np.log(found)) <= best.fun + 1e-6
    assert np.log(found) == pytest.approx(best.x, abs=1e-3)


def test_weights_count_as_repeated_examples() -> None:
    logits, targets = drawn(40, 3, 2.0)
    counts = np.random.default_rng(0).integers(1, 4, 40)
    repeated = fit_temperature(np.repeat(logits, counts, axis=0), np.repeat(targets, counts))
    # The weights' mean is made one, so only the prior's share of the whole differs.
    assert fit_temperature(logits, targets, counts * 1.0) == pytest.approx(repeated, rel=0.05)


def test_all_right_stays_finite_and_does_not_sharpen_without_end() -> None:
    targets = np.arange(200) % 2
    logits = np.where(np.eye(2)[targets] > 0, 1.0, -1.0)
    found = fit_temperature(logits, targets)
    assert 0.2 < found < 1.0


def test_all_wrong_is_flattened_to_the_bound() -> None:
    targets = np.arange(200) % 2
    logits = np.where(np.eye(2)[targets] > 0, -30.0, 30.0)
    assert fit_temperature(logits, targets) == pytest.approx(20.0, rel=1e-3)


def test_impossible_truths_do_not_break_the_fit() -> None:
    logits, targets = drawn(100, 3, 1.0)
    log_probs = log_softmax(logits, axis=1)
    log_probs[0, targets[0]] = -np.inf
    assert 0.05 <= fit_temperature(log_probs, targets) <= 20


def test_regression_and_no_examples_have_temperature_one() -> None:
    assert fit_temperature(np.zeros(3), np.zeros(3), kind="regression") == 1.0
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1.0


@pytest.mark.parametrize("bad", [np.full((2, 2), np.nan), np.full((2, 2), np.inf), np.zeros(2)])
def test_bad_log_probabilities_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="log-probabilities"):
        fit_temperature(bad, np.array([0, 1]))


@given(st.integers(0, 10_000), st.floats(0.05, 20))
@settings(deadline=None, max_examples=40)
def test_applied_temperature_is_softmax_of_divided_logits(seed: int, t: float) -> None:
    logits = 5 * np.random.default_rng(seed).standard_normal((6, 4))
    applied = apply_temperature(softmax(logits, axis=1), t, "classification")
    np.testing.assert_allclose(applied, softmax(logits / t, axis=1), atol=1e-9)
    applied = apply_temperature(expit(logits), t, "multilabel")
    np.testing.assert_allclose(applied, expit(logits / t), atol=1e-7)


def test_certain_probabilities_stay_certain() -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(apply_temperature(certain, 3.0, "classification"), certain)
    np.testing.assert_array_equal(apply_temperature(certain, 3.0, "multilabel"), certain)


def test_values_have_no_temperature() -> None:
    values = np.array([1.0, -5.0])
    assert apply_temperature(values, 2.0, "regression") is values
    with pytest.raises(ValueError, match="above zero"):
        apply_temperature(values, 0.0, "regression")


def test_curve_and_error_agree_with_loops() -> None:
    logits, targets = drawn(300, 4, 2.0)
    weights = np.random.default_rng(3).uniform(0.5, 2, 300)
    before = softmax(logits, axis=1)
    after = apply_temperature(before, 2.0, "classification")
    found = calibration("classification", targets, before, after, 2.0, weights=weights)
    assert found.after.value < found.before.value
    assert found.after.low <= found.after.value <= found.after.high
    total = 0.0
    for one in found.bins:
        inside = [i for i in range(300) if one.low <= after[i].max() < one.high]
        assert one.examples == len(inside)
        w = weights[inside]
        assert one.confidence == pytest.approx(sum(w * after[inside].max(axis=1)) / sum(w))
        right = [after[i].argmax() == targets[i] for i in inside]
        assert one.accuracy == pytest.approx(sum(w * np.array(right)) / sum(w))
        total += w.sum() / weights.sum() * abs(one.confidence - one.accuracy)
    assert sum(one.examples for one in found.bins) == 300
    assert found.after.value == pytest.approx(total)
    assert found.before.value == pytest.approx(
        score("calibration_error", "classification", targets, before, weights)
    )


def test_certainty_falls_in_the_last_bin() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = calibration("classification", np.array([0, 1]), sure, sure, 1.0)
    assert [(one.high, one.confidence, one.accuracy) for one in found.bins] == [(1.0, 1.0, 0.5)]


def test_every_label_is_a_decision_of_its_own() -> None:
    rng = np.random.default_rng(0)
    probs = rng.uniform(0, 1, (100, 3))
    targets = (rng.random((100, 3)) < probs).astype(np.float32)
    found = calibration("multilabel", targets, probs, probs, 1.0)
    assert sum(one.examples for one in found.bins) == 300
    confidence = np.maximum(probs, 1 - probs).ravel()
    right = ((probs >= 0.5) == (targets > 0.5)).ravel()
    top = confidence >= found.bins[-1].low
    assert found.bins[-1].accuracy == pytest.approx(right[top].mean())


def test_labels_of_one_example_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    probs = np.repeat(rng.uniform(0.05, 0.95, (150, 1)), 8, axis=1)
    targets = np.repeat((rng.random((150, 1)) < 0.5).astype(float), 8, axis=1)
    together = calibration("multilabel", targets, probs, probs, 1.0).after
    apart = calibration("multilabel", targets[:, :1], probs[:, :1], probs[:, :1], 1.0).after
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low == pytest.approx(apart.high - apart.low, rel=0.1)
    some = np.array(["a", ""] * 75)
    grouped = calibration("multilabel", targets, probs, probs, 1.0, groups=some).after
    assert grouped.high - grouped.low != together.high - together.low


def test_logits_of_probabilities_give_the_same_temperature() -> None:
    rng = np.random.default_rng(2)
    probs = rng.uniform(0.01, 0.99, (200, 2))
    targets = (rng.random((200, 2)) < probs).astype(float)
    found = fit_temperature(logit(probs), targets, kind="multilabel")
    assert found == pytest.approx(1.0, abs=0.25)
