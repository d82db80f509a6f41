"""Gains turned the right way round, and verdicts that read right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.gain import denominator_name, gain, labels_needed, verdict
from retarget.evaluation.results import Gain, Verdict


def two_models(n: int, ours: float, theirs: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Targets and two models' probabilities for two classes, right with given chances."""
    y = rng.integers(0, 2, n)
    models = []
    for right in (ours, theirs):
        called = np.where(rng.random(n) < right, y, 1 - y)
        models.append(np.where(np.eye(2)[called] > 0, 0.9, 0.1))
    return [y, *models]


def say(value: float, low: float, high: float, their: float, metric: str = "accuracy") -> Verdict:
    gains = {
        "majority": Gain(value + 1, low + 1, high + 1, their),
        "pixels": Gain(value, low, high, their),
    }
    return verdict(gains, metric, "pixels", judged=200, labelled=200)


def test_gain_is_the_difference_of_accuracies() -> None:
    y, ours, theirs = two_models(300, 0.8, 0.6, np.random.default_rng(0))
    found = gain("accuracy", "classification", y, ours, theirs)
    right = [sum(p[i].argmax() == y[i] for i in range(300)) / 300 for p in (ours, theirs)]
    assert found.value == pytest.approx(right[0] - right[1])
    assert found.denominator_score == pytest.approx(right[1])
    assert found.low < found.value < found.high
    assert found.how


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "spearman"])
def test_better_values_gain_whatever_the_metric_s_direction(metric: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300)
    near, far = y + 0.3 * rng.standard_normal(300), y + 0.9 * rng.standard_normal(300)
    better = gain(metric, "regression", y, near, far)
    worse = gain(metric, "regression", y, far, near)
    assert 0 < better.low <= better.value <= better.high
    assert worse.low <= worse.value <= worse.high < 0
    assert worse.value == pytest.approx(-better.value)
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


def test_error_gain_is_their_error_less_ours() -> None:
    y = np.zeros(4)
    ours, theirs = np.array([1.0, -1, 1, -1]), np.array([3.0, -3, 3, -3])
    found = gain("rmse", "regression", y, ours, theirs)
    assert (found.value, found.denominator_score) == (2.0, 3.0)


def test_weights_groups_and_folds_reach_the_gain() -> None:
    rng = np.random.default_rng(0)
    y, ours, theirs = two_models(200, 0.8, 0.6, rng)
    weights = rng.uniform(0.1, 3, 200)
    found = gain("accuracy", "classification", y, ours, theirs, weights=weights)
    right = (ours.argmax(1) == y) * 1.0 - (theirs.argmax(1) == y)
    assert found.value == pytest.approx((weights * right).sum() / weights.sum())
    plain = gain("accuracy", "classification", y, ours, theirs)
    groups = np.repeat([f"patient {i}" for i in range(20)], 10)
    doubled = [np.repeat(part[:20], 10, axis=0) for part in (y, ours, theirs)]
    grouped = gain("accuracy", "classification", *doubled, groups=groups)
    apart = gain("accuracy", "classification", *doubled)
    assert grouped.high - grouped.low > 2 * (apart.high - apart.low)
    folds = np.arange(200) % 5
    folded = gain("accuracy", "classification", y, ours, theirs, folds=folds)
    assert folded.value == pytest.approx(plain.value)


def test_helps_says_how_much_over_whom_and_how_sure() -> None:
    found = say(0.28, 0.23, 0.33, 0.33)
    assert found.word == "helps"
    assert found.sentence == (
        "Transfer helps: accuracy 0.61, +0.28 over the best without pretraining "
        "(pixels and edges alone), 95% interval +0.23 to +0.33."
    )
    assert (found.against, found.metric, found.labels_needed) == ("pixels", "accuracy", None)


def test_denominators_that_were_not_beaten_are_named_where_transfer_helps() -> None:
    sure, unsure, worse = (
        Gain(0.2, 0.1, 0.3, 0.5, "t"), Gain(0.01, -0.04, 0.06, 0.69, "t"),
        Gain(-0.1, -0.2, -0.05, 0.8, "t"),
    )  # fmt: skip
    said = verdict({"random": sure, "tfidf": unsure}, "accuracy", "random", 100, 100)
    assert said.word == "helps"
    assert said.sentence.endswith("It was not shown to beat TF-IDF and a linear model.")
    gains = {"random": sure, "tfidf": unsure, "scratch": worse, "majority": sure}
    said = verdict(gains, "accuracy", "random", 100, 100)
    assert said.sentence.endswith(
        "It was not shown to beat TF-IDF and a linear model or the same architecture trained from "
        "scratch."
    )
    beaten = verdict({"random": sure, "tfidf": sure}, "accuracy", "random", 100, 100)
    assert "not shown" not in beaten.sentence


def test_hurts_says_so_first() -> None:
    found = say(-0.1, -0.15, -0.05, 0.7)
    assert found.word == "hurts"
    assert found.sentence == (
        "Transfer hurts: accuracy 0.60, −0.10 against the best without pretraining "
        "(pixels and edges alone), 95% interval −0.15 to −0.05."
    )


def test_cannot_be_told_apart_says_how_many_labels_would_tell() -> None:
    found = say(0.02, -0.02, 0.06, 0.6)
    assert found.word == "cannot be told apart"
    # (1.43 · 0.04 / 0.02)² = 8.2 times the 200 labels judged.
    assert found.labels_needed == 1_500
    assert found.sentence == (
        "Transfer cannot be told apart from the best without pretraining (pixels and edges "
        "alone): accuracy +0.02 (−0.02 to +0.06). About 1,500 more labels would tell, if the "
        "difference is what it seems."
    )


def test_under_hold_out_the_labels_that_tell_are_judged_ones() -> None:
    gains = {"majority": Gain(0.02, -0.02, 0.06, 0.6)}
    found = verdict(gains, "accuracy", "majority", judged=200, labelled=800)
    assert "from always guessing the commonest class:" in found.sentence
    assert "About 1,500 more judged labels would tell" in found.sentence


def test_no_number_of_labels_tells_two_equal_models_apart() -> None:
    for value in (0.0, 0.001, -0.001):
        found = say(value, value - 0.05, value + 0.05, 0.6)
        assert found.word == "cannot be told apart"
        assert found.labels_needed is None
        assert found.sentence.endswith("They are so close that more labels would hardly tell.")


def test_an_interval_that_ends_at_zero_does_not_help() -> None:
    assert say(0.1, 0.0, 0.2, 0.5).word == "cannot be told apart"
    assert say(-0.1, -0.2, 0.0, 0.5).word == "cannot be told apart"


def test_errors_read_lower_and_higher() -> None:
    assert say(1.2, 0.8, 1.6, 4.3, "rmse").sentence == (
        "Transfer helps: RMSE 3.1, 1.2 lower than the best without pretraining "
        "(pixels and edges alone), 95% interval 0.8 to 1.6 lower."
    )
    assert say(-1.2, -1.6, -0.8, 4.3, "rmse").sentence == (
        "Transfer hurts: RMSE 5.5, 1.2 higher than the best without pretraining "
        "(pixels and edges alone), 95% interval 0.8 to 1.6 higher."
    )
    told = say(0.3, -0.5, 1.1, 4.3, "rmse").sentence
    assert "alone): RMSE 0.3 lower (0.5 higher to 1.1 lower)." in told
    assert "RMSE the same (0.8 higher to 0.8 lower)" in say(0.01, -0.8, 0.82, 4.3, "rmse").sentence


def test_error_in_thousands_has_no_false_digits() -> None:
    told = say(12_345, 7_890, 16_800, 98_765, "rmse").sentence
    assert "RMSE 86,000, 12,000 lower than" in told
    assert "95% interval 8,000 to 17,000 lower" in told


def test_a_small_sure_gain_shows_that_it_is_above_zero() -> None:
    assert "+0.002 to +0.098." in say(0.05, 0.002, 0.098, 0.5).sentence


def test_the_best_is_only_claimed_where_it_is() -> None:
    alone = verdict({"pixels": Gain(0.3, 0.2, 0.4, 0.5)}, "accuracy", "pixels", 50, 50)
    assert "over pixels and edges alone, 95%" in alone.sentence
    gains = {"pixels": Gain(0.3, 0.2, 0.4, 0.5), "majority": Gain(0.1, 0.05, 0.15, 0.7)}
    assert "the best" not in verdict(gains, "accuracy", "pixels", 50, 50).sentence


def test_what_could_not_be_measured_is_not_a_verdict() -> None:
    found = say(math.nan, math.nan, math.nan, math.nan, "auroc")
    assert found.word == "cannot be told apart"
    assert found.labels_needed is None
    assert "too little was judged (200 examples)" in found.sentence


def test_denominators_have_names_for_people() -> None:
    assert denominator_name("majority", "accuracy") == "always guessing the commonest class"
    assert denominator_name("majority", "rmse") == "always guessing the mean"
    assert denominator_name("pixels", "rmse") == "pixels and edges alone"
    random = "the same architecture with random weights"
    assert denominator_name("random", "auroc") == random
    assert denominator_name("random:resnet18", "auroc") == random
    assert denominator_name("scratch CNN", "auroc") == "scratch CNN"


def test_unknown_denominator_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        verdict({"majority": Gain(0.1, 0.0, 0.2, 0.5)}, "accuracy", "pixels", 10, 10)


def test_without_denominators_there_is_nothing_to_tell() -> None:
    found = verdict({}, "accuracy", "", 10, 10)
    assert found.word == "cannot be told apart"
    assert "no baseline was asked for" in found.sentence
    assert found.labels_needed is None


@given(st.floats(-1, 1), st.floats(0.001, 1), st.integers(1, 10**6))
@settings(deadline=None, max_examples=100)
def test_the_number_of_labels_is_bounded(value: float, half: float, judged: int) -> None:
    found = labels_needed(Gain(value, value - half, value + half, 0.5), judged)
    assert found is None or 1 <= found <= 130 * judged


def test_that_many_labels_tell_four_times_in_five() -> None:
    judged, ours, theirs = 150, 0.70, 0.65
    deviation = math.sqrt(ours * (1 - ours) + theirs * (1 - theirs) - 0)
    half = 1.96 * deviation / math.sqrt(judged)
    seems = Gain(ours - theirs, ours - theirs - half, ours - theirs + half, theirs)
    more = labels_needed(seems, judged)
    assert more is not None
    rng = np.random.default_rng(0)
    told = [
        gain("accuracy", "classification", *two_models(judged + more, ours, theirs, rng)).low > 0
        for _ in range(300)
    ]
    assert np.mean(told) == pytest.approx(0.8, abs=0.08)
