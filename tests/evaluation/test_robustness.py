"""Shares kept under corruption, against loops and closed forms."""

from collections.abc import Callable
from dataclasses import asdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import stats
from sklearn import metrics as sk

from retarget.core.errors import UsageError
from retarget.evaluation.intervals import interval, paired
from retarget.evaluation.results import Estimate
from retarget.evaluation.robustness import (
    Outputs,
    Robustness,
    RobustnessGain,
    robustness,
    robustness_gain,
)

CELLS = tuple((name, severity) for name in ("blur", "noise") for severity in (1, 2, 3))


def classes(n: int, seed: int = 0, fade: float = 0.25, k: int = 2) -> tuple[np.ndarray, Outputs]:
    """Targets, and a model whose signal fades with severity."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    own = rng.standard_normal((n, k))

    def predict(signal: float, extra: float) -> np.ndarray:
        scores = signal * np.eye(k)[y] + 0.6 * own + extra * rng.standard_normal((n, k))
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    return y, Outputs(predict(1.5, 0), {c: predict(1.5 - fade * c[1], 0.2 * c[1]) for c in CELLS})


def values(n: int, seed: int = 0) -> tuple[np.ndarray, Outputs]:
    """Numbers, and a model whose error grows with severity."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n)
    error = rng.standard_normal(n)
    return y, Outputs(y + 0.3 * error, {c: y + (0.3 + 0.15 * c[1]) * error for c in CELLS})


def brier(y: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean([((p[i] - np.eye(2)[y[i]]) ** 2).sum() / 2 for i in range(len(y))]))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("accuracy", lambda y, p: sk.accuracy_score(y, p.argmax(1))),
        ("balanced_accuracy", lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1))),
        ("auroc", lambda y, p: sk.roc_auc_score(y, p[:, 1])),
        ("average_precision", lambda y, p: sk.average_precision_score(y, p[:, 1])),
        ("log_loss", lambda y, p: sk.log_loss(y, p)),
        ("brier", brier),
    ],
)
def test_kept_is_the_share_of_the_lead_over_guessing(
    name: str, function: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    y, outputs = classes(130)
    y[:20] = 0  # so that the classes are not equal
    share = np.bincount(y) / len(y)
    guessing = function(y, np.tile(share, (len(y), 1)))
    clean = function(y, outputs.clean)
    found = robustness(name, "classification", y, outputs)
    assert found.guessing == pytest.approx(guessing)
    assert found.clean.value == pytest.approx(clean)
    kept = []
    for cell, (key, predictions) in zip(found.cells, outputs.corrupted.items(), strict=True):
        score = function(y, predictions)
        kept.append((score - guessing) / (clean - guessing))
        assert (cell.corruption, cell.severity) == key
        assert cell.score.value == pytest.approx(score)
        assert cell.kept is not None
        assert cell.kept.value == pytest.approx(kept[-1])
    assert found.kept is not None
    assert found.kept.value == pytest.approx(np.mean(kept))


@pytest.mark.parametrize(
    ("name", "guessing"), [("rmse", np.std), ("r2", lambda _: 0.0), ("spearman", lambda _: 0.0)]
)
def test_guessing_a_number_is_its_mean(name: str, guessing: Callable[[np.ndarray], float]) -> None:
    y, outputs = values(80)
    found = robustness(name, "regression", y, outputs)
    assert found.guessing == pytest.approx(guessing(y), abs=1e-12)
    assert found.kept is not None
    assert 0 < found.kept.low < found.kept.value < found.kept.high < 1


def test_of_square_errors_kept_has_a_closed_form() -> None:
    y, outputs = values(60)
    found = robustness("rmse", "regression", y, outputs)
    rmse = [sqrt(np.mean((p - y) ** 2)) for p in (outputs.clean, outputs.corrupted["blur", 2])]
    assert found.cells[1].kept is not None
    assert found.cells[1].kept.value == pytest.approx((y.std() - rmse[1]) / (y.std() - rmse[0]))


def test_chance_is_the_positives_share_of_each_label() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((90, 3)) < (0.2, 0.5, 0.7)).astype(np.float32)
    noisy = {c: np.clip(y * 0.4 + rng.random(y.shape) * 0.6, 0, 1) for c in CELLS}
    found = robustness("average_precision", "multilabel", y, Outputs(0.1 + 0.8 * y, noisy))
    assert found.guessing == pytest.approx(y.mean())
    assert found.clean.value == 1
    assert found.kept is not None
    assert 0 < found.kept.low < found.kept.high < 1


def test_scores_have_the_intervals_of_a_single_score() -> None:
    y, outputs = classes(60)
    groups = np.array([f"g{i // 3}" for i in range(60)])
    weights = np.linspace(0.5, 2, 60)
    found = robustness("auroc", "classification", y, outputs, groups=groups, weights=weights)
    for estimate, predictions in (
        (found.clean, outputs.clean),
        (found.cells[4].score, outputs.corrupted["noise", 2]),
    ):
        one = interval("auroc", "classification", y, predictions, groups=groups, weights=weights)
        assert (estimate.value, estimate.low, estimate.high) == (one.value, one.low, one.high)


def fieller(y: np.ndarray, outputs: Outputs) -> tuple[float, float]:
    """The interval of the mean share of accuracy kept, by leaving out one example at a time."""
    n = len(y)

    def scores(rows: np.ndarray) -> tuple[float, float]:
        share = np.bincount(y) / n  # known once: the guess does not change with the rows
        guess = np.mean(y[rows] == share.argmax())
        right = [np.mean(p[rows].argmax(1) == y[rows]) for p in outputs.corrupted.values()]
        clean = np.mean(outputs.clean[rows].argmax(1) == y[rows])
        return float(np.mean(right) - guess), float(clean - guess)

    a, b = scores(np.arange(n))
    left = np.array([scores(np.delete(np.arange(n), i)) for i in range(n)]) - (a, b)
    (aa, ab), (_, bb) = (n - 1) / n * left.T @ left
    imagined = 1.5 / n**2  # disagreements, as for differences of accuracies
    q = stats.t.ppf(0.975, n - 1) ** 2
    # (a − r b)² = q (aa − 2 r ab + r² bb + imagined)
    roots = np.roots([b * b - q * bb, -2 * (a * b - q * ab), a * a - q * (aa + imagined)])
    return tuple(sorted(roots.real))


def test_the_interval_of_a_share_is_fiellers() -> None:
    y, outputs = classes(70, seed=3)
    y[:6] = 0
    found = robustness("accuracy", "classification", y, outputs).kept
    assert found is not None
    assert (found.low, found.high) == pytest.approx(fieller(y, outputs), abs=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "auroc", "log_loss"])
def test_what_corruption_does_not_change_is_kept(name: str) -> None:
    y, outputs = classes(100)
    same = Outputs(outputs.clean, dict.fromkeys(CELLS, outputs.clean))
    found = robustness(name, "classification", y, same).kept
    assert found is not None
    assert found.value == pytest.approx(1)
    assert 0.7 < found.low <= 1 <= found.high < 1.3


def test_no_change_among_few_is_not_proof_of_none() -> None:
    widths = []
    for n in (20, 200):
        y, _ = classes(n)
        same = Outputs(np.eye(2)[y] * 0.8 + 0.1, dict.fromkeys(CELLS, np.eye(2)[y]))
        found = robustness("accuracy", "classification", y, same).kept
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[0] > 5 * widths[1] > 0


def test_guessing_under_corruption_keeps_nothing() -> None:
    y, outputs = classes(200)
    rng = np.random.default_rng(1)
    coin = Outputs(outputs.clean, {c: rng.permutation(outputs.clean) for c in CELLS})
    found = robustness("auroc", "classification", y, coin).kept
    assert found is not None
    assert found.low < 0 < found.high < 0.3


def test_a_model_that_only_guesses_has_nothing_to_keep() -> None:
    y, outputs = classes(100)
    rng = np.random.default_rng(1)
    coin = Outputs(rng.permutation(outputs.clean), outputs.corrupted)
    for name in ("accuracy", "auroc", "log_loss"):
        found = robustness(name, "classification", y, coin)
        assert found.kept is None
        assert all(cell.kept is None for cell in found.cells)
        assert found.cells[0].score.value > 0


def test_one_group_tells_nothing_of_others() -> None:
    y, outputs = classes(40)
    found = robustness("accuracy", "classification", y, outputs, groups=np.full(40, "one"))
    assert found.kept is None


def test_examples_of_a_group_count_as_they_depend_on_each_other() -> None:
    y, outputs = classes(150)
    five = Outputs(
        np.repeat(outputs.clean, 5, axis=0),
        {c: np.repeat(p, 5, axis=0) for c, p in outputs.corrupted.items()},
    )
    groups = np.repeat([f"g{i}" for i in range(150)], 5)
    grouped = robustness("auroc", "classification", np.repeat(y, 5), five, groups=groups).kept
    single = robustness("auroc", "classification", y, outputs).kept
    apart = robustness("auroc", "classification", np.repeat(y, 5), five).kept
    assert grouped is not None
    assert single is not None
    assert apart is not None
    widths = [one.high - one.low for one in (grouped, single, apart)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)
    assert widths[2] < 0.7 * widths[0]
    assert grouped.how == "Fieller, jackknife over groups"


def test_constant_answers_correlate_with_nothing() -> None:
    y, outputs = values(50)
    stuck = Outputs(outputs.clean, {("blur", 1): np.full(50, 3.0)})
    found = robustness("spearman", "regression", y, stuck)
    assert found.cells[0].score == Estimate(0, 0, 0, "predictions are constant")
    assert found.kept is not None
    assert found.kept.value == 0


def test_predictions_of_numbers_may_be_a_column() -> None:
    y, outputs = values(30)
    columns = Outputs(outputs.clean[:, None], {c: p[:, None] for c, p in outputs.corrupted.items()})
    assert robustness("mae", "regression", y, columns) == robustness(
        "mae", "regression", y, outputs
    )


@pytest.mark.parametrize("name", ["accuracy", "log_loss"])
def test_gains_are_paired_and_above_zero_where_ours_is_better(name: str) -> None:
    y, ours = classes(300, fade=0.1)
    _, theirs = classes(300, fade=0.5)
    found = robustness_gain(name, "classification", y, ours, theirs)
    back = robustness_gain(name, "classification", y, theirs, ours)
    single = [robustness(name, "classification", y, one).kept for one in (ours, theirs)]
    assert found.kept is not None
    assert back.kept is not None
    assert single[0] is not None
    assert single[1] is not None
    assert found.kept.value == pytest.approx(single[0].value - single[1].value)
    assert 0 < found.kept.low < found.kept.high
    assert 0 < found.corrupted.low < found.corrupted.high
    assert found.clean.low <= 0 <= found.clean.high
    assert (back.kept.value, back.kept.low) == pytest.approx((-found.kept.value, -found.kept.high))


def test_the_clean_gain_is_the_paired_difference() -> None:
    y, ours = classes(90, seed=1)
    theirs = Outputs(np.random.default_rng(0).permutation(ours.clean), ours.corrupted)
    found = robustness_gain("log_loss", "classification", y, ours, theirs).clean
    plain = paired("log_loss", "classification", y, ours.clean, theirs.clean)
    assert (found.value, found.low, found.high) == (-plain.value, -plain.high, -plain.low)


def test_a_model_gains_nothing_over_itself() -> None:
    y, ours = classes(90)
    found = robustness_gain("accuracy", "classification", y, ours, ours)
    for one in (found.clean, found.corrupted, found.kept):
        assert one is not None
        assert one.value == 0
        assert one.low < 0 < one.high


def test_nothing_is_said_of_shares_where_one_of_the_two_has_no_lead() -> None:
    y, ours = classes(90)
    coin = Outputs(np.random.default_rng(5).permutation(ours.clean), ours.corrupted)
    assert robustness_gain("auroc", "classification", y, ours, coin).kept is None


@given(
    n=st.integers(4, 40),
    seed=st.integers(0, 10_000),
    name=st.sampled_from(["accuracy", "balanced_accuracy", "auroc", "macro_f1", "log_loss"]),
    folds=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_intervals_hold_their_value_and_are_finite(
    n: int, seed: int, name: str, folds: bool
) -> None:
    y, outputs = classes(n, seed)
    some = Outputs(outputs.clean, {c: outputs.corrupted[c] for c in CELLS[:2]})
    in_folds = np.arange(n) // ((n + 1) // 2) if folds else None
    try:
        found = robustness(name, "classification", y, some, folds=in_folds)
    except ValueError as error:
        assert "not defined" in str(error)
        return
    for one in (found.clean, found.kept, *(c.kept for c in found.cells)):
        if one is not None:
            assert np.isfinite([one.low, one.high]).all()
            assert one.low <= one.value <= one.high


def test_records_survive_json() -> None:
    y, outputs = classes(60)
    found = robustness("accuracy", "classification", y, outputs)
    adapter = TypeAdapter(Robustness)
    assert adapter.validate_json(adapter.dump_json(found)) == found
    gained = robustness_gain("accuracy", "classification", y, outputs, outputs)
    other = TypeAdapter(RobustnessGain)
    assert other.validate_json(other.dump_json(gained)) == gained
    assert asdict(found)["cells"][0]["corruption"] == "blur"


def test_what_cannot_be_judged_is_refused() -> None:
    y, outputs = classes(30)
    short = {("blur", 1): outputs.clean[:-1]}
    broken = outputs.clean.copy()
    broken[3] = np.nan
    for wrong, told in (
        (Outputs(outputs.clean, {}), "nothing corrupted"),
        (Outputs(outputs.clean, short), "expected"),
        (Outputs(outputs.clean, {("blur", 1): broken}), "NaN"),
    ):
        with pytest.raises(ValueError, match=told):
            robustness("accuracy", "classification", y, wrong)
    with pytest.raises(ValueError, match="not defined"):
        robustness("auroc", "classification", np.zeros(30, int), outputs)
    with pytest.raises(ValueError, match="same corruptions"):
        other = Outputs(outputs.clean, {("fog", 1): outputs.clean})
        robustness_gain("accuracy", "classification", y, outputs, other)
    with pytest.raises(UsageError, match="rmse"):
        robustness("rmse", "classification", y, outputs)
