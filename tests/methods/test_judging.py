from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from retarget.methods.base import Labels
from retarget.methods.gear import equip
from retarget.methods.judging import Judge, clearly_worse, difference, judged
from retarget.methods.settings import Training


def test_difference_has_the_interval_of_welch() -> None:
    random = np.random.default_rng(0)
    a, b = random.exponential(1.0, 12), random.exponential(0.4, 90)
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    expected = (a.mean() - b.mean(), interval.low, interval.high)
    assert difference(a, b) == pytest.approx(expected, rel=1e-6)


def test_difference_of_too_little() -> None:
    one, none, two = np.array([1.0]), np.zeros(0), np.array([2.0, 2.0])
    assert difference(one, two) == pytest.approx((-1.0, np.nan, np.nan), nan_ok=True)
    assert np.isnan(difference(none, two)).all()
    assert difference(two, two) == (0.0, 0.0, 0.0)


def test_judged_without_rows_is_no_number() -> None:
    labels = Labels("classification", np.zeros(0, np.int64), 2, np.ones(0))
    found = judged(labels, np.zeros((0, 2)), "accuracy")
    assert np.isnan(found.loss) and np.isnan(found.score)


def test_judged_at_the_temperature_that_suits() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 2, 400)
    sure = np.where(np.eye(2)[values] > 0, 20.0, 0.0) * random.choice(
        [1, -1], (400, 1), p=[0.8, 0.2]
    )
    labels = Labels("classification", values, 2, np.ones(400))
    found = judged(labels, sure, "accuracy")
    assert found.temperature > 10
    assert found.loss == pytest.approx(stats.bernoulli(0.8).entropy(), abs=0.05)
    assert found.score == pytest.approx(0.8, abs=0.05)


def test_few_of_many_rows_are_looked_at(trainable: ModuleType) -> None:
    made = trainable.subject(40, 10)
    model = trainable.trainee(made)
    judge = Judge(equip(model, trainable.everything(model), made, Training(views=0), None))
    whole, some = (judge.learning_losses(most, 2.0) for most in (100, 12))
    assert len(whole) == 30 and len(some) == 12
    assert all(np.isclose(whole, one, rtol=1e-5).any() for one in some)


def test_judged_numbers() -> None:
    labels = Labels("regression", np.array([1.0, 3.0]), 1, np.ones(2))
    found = judged(labels, np.array([[2.0], [2.0]]), "rmse")
    assert (found.loss, found.score, found.temperature) == (1.0, 1.0, 1.0)


def test_a_loss_is_clearly_worse_beyond_one_standard_error_of_the_paired_difference() -> None:
    generator = np.random.default_rng(0)
    verdicts = set()
    for _ in range(200):
        lowest = generator.gamma(1.0, size=10)
        losses = lowest + generator.normal(0.1, 0.3, 10)
        above = [b - a for a, b in zip(lowest, losses, strict=True)]
        mean = sum(above) / 10
        error = (sum((a - mean) ** 2 for a in above) / 9) ** 0.5 / 10**0.5
        assert clearly_worse(losses, lowest) is bool(mean > error)
        verdicts.add(bool(mean > error))
    assert verdicts == {True, False}
    assert not clearly_worse(lowest, lowest)
    assert clearly_worse(np.array([2.0]), np.array([1.0]))
    assert not clearly_worse(np.zeros(0), np.zeros(0))
