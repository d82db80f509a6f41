"""Learning curves: a known power law is found again, and what can't be said isn't."""

from collections.abc import Callable

import numpy as np
import pytest

from retarget.evaluation.curve import fit_curve

SIZES = (20, 40, 80, 160)


def draw(
    curve: Callable[[float], float],
    noise: float,
    rng: np.random.Generator,
    sizes: tuple[int, ...] = SIZES,
    draws: int = 5,
) -> list[list[float]]:
    """Scores whose spread falls with the root of the number of labels."""
    return [
        [curve(n) + noise * (sizes[0] / n) ** 0.5 * rng.standard_normal() for _ in range(draws)]
        for n in sizes
    ]


def test_a_known_power_law_is_extrapolated() -> None:
    def curve(n: float) -> float:
        return 0.85 - 1.2 * n**-0.6

    found = fit_curve("accuracy", SIZES, draw(curve, 0.001, np.random.default_rng(0)), labels=200)
    further = [point for point in found.points if point.extrapolated]
    assert [point.labels for point in further] == [400, 800]
    for point in further:
        assert point.score.value == pytest.approx(curve(point.labels), abs=0.01)
        assert point.score.low < curve(point.labels) < point.score.high


def test_a_known_fall_of_errors_is_extrapolated() -> None:
    def curve(n: float) -> float:
        return 120 + 900 * n**-0.5

    found = fit_curve("rmse", SIZES, draw(curve, 0.5, np.random.default_rng(0)))
    assert [point.labels for point in found.points] == [20, 40, 80, 160, 320, 640]
    assert found.points[-1].score.value == pytest.approx(curve(640), rel=0.03)
    assert "% lower RMSE (95% interval" in found.sentence


@pytest.mark.parametrize(
    ("asymptote", "factor", "exponent", "noise", "least"),
    [
        (0.2, 1.2, 0.5, 0.02, 0.93),
        (0.1, 0.6, 0.2, 0.02, 0.93),
        (0.02, 0.9, 0.3, 0.03, 0.85),
        (0.3, 3.0, 0.9, 0.04, 0.93),
    ],
)
def test_the_extrapolated_interval_holds_the_truth(
    asymptote: float, factor: float, exponent: float, noise: float, least: float
) -> None:
    rng = np.random.default_rng(7)
    held, judged = 0, 0
    for seed in range(100):
        scores = draw(lambda n: 1 - asymptote - factor * n**-exponent, noise, rng)
        found = fit_curve("accuracy", SIZES, scores, seed=seed)
        for point in found.points:
            if point.extrapolated:
                truth = 1 - asymptote - factor * point.labels**-exponent
                held += point.score.low <= truth <= point.score.high
                judged += 1
    assert judged > 100
    assert held / judged >= least


def test_the_interval_is_not_so_wide_that_it_says_nothing() -> None:
    scores = draw(lambda n: 0.85 - 1.2 * n**-0.5, 0.02, np.random.default_rng(0))
    score = fit_curve("accuracy", SIZES, scores).points[4].score
    assert 0.01 < score.high - score.low < 0.08


def test_measured_points_are_means_with_intervals_of_their_draws() -> None:
    scores = draw(lambda n: 0.85 - 1.2 * n**-0.5, 0.02, np.random.default_rng(0))
    points = fit_curve("accuracy", SIZES, scores).points[:4]
    for point, drawn in zip(points, scores, strict=True):
        assert point.score.value == pytest.approx(sum(drawn) / 5)
        assert point.score.high - point.score.value == pytest.approx(
            point.score.value - point.score.low
        )
        assert not point.extrapolated
        assert point.score.how == "t over 5 draws"


def pooled(
    curve: Callable[[float], float], n: int, rng: np.random.Generator
) -> tuple[list[int], list[list[float]]]:
    """Shares of right answers of draws from n examples, each scored on the examples it holds.

    Most examples are as hard for every draw, so that large draws vary less than their error.
    """
    hardness = rng.random(n)
    sizes, scores = [], []
    for share, draws in ((0.125, 6), (0.25, 5), (0.5, 4), (1.0, 1)):
        size = round(share * n)
        sizes.append(size)
        scores.append([])
        for _ in range(draws):
            held = hardness[rng.choice(n, size, replace=False)]
            held = np.where(rng.random(size) < 0.3, rng.random(size), held)
            scores[-1].append(float(np.mean(held < curve(size))))
    return sizes, scores


def test_intervals_hold_the_truth_beyond_the_examples_scored_on() -> None:
    def curve(n: float) -> float:
        return 0.8 - 1.2 * n**-0.5

    rng = np.random.default_rng(3)
    held: dict[bool, list[bool]] = {False: [], True: []}
    for seed in range(100):
        for point in fit_curve("accuracy", *pooled(curve, 200, rng), seed=seed).points:
            holds = point.score.low <= curve(point.labels) <= point.score.high
            held[point.extrapolated].append(holds)
    assert np.mean(held[False]) >= 0.93
    assert len(held[True]) > 100
    assert np.mean(held[True]) >= 0.93


def test_the_labels_said_bring_the_points_said() -> None:
    def curve(n: float) -> float:
        return 0.9 - 2.0 * n**-0.5

    scores = draw(curve, 0.0005, np.random.default_rng(0))
    sentence = fit_curve("accuracy", SIZES, scores).sentence
    assert sentence.startswith("About ")
    labels = int(sentence.split()[1].replace(",", ""))
    points = int(sentence.split("+")[1].split()[0])
    assert 100 * (curve(160 + labels) - curve(160)) == pytest.approx(points, abs=0.8)
    assert "of accuracy (95% interval" in sentence


def test_a_flat_curve_says_that_more_brings_little() -> None:
    scores = draw(lambda n: 0.8, 0.005, np.random.default_rng(1))
    sentence = fit_curve("accuracy", SIZES, scores).sentence
    assert sentence.startswith("More labels of this kind would bring little: twice as many (320)")


def test_a_falling_curve_can_not_be_extrapolated() -> None:
    scores = draw(lambda n: 0.9 - 0.001 * n, 0.005, np.random.default_rng(0))
    found = fit_curve("auroc", SIZES, scores)
    assert found.sentence.startswith("The learning curve can't be extrapolated")
    assert not any(point.extrapolated for point in found.points)


def test_a_noisy_curve_can_not_be_extrapolated() -> None:
    rng = np.random.default_rng(0)
    scores = [[0.6 + 0.15 * rng.standard_normal() for _ in range(3)] for _ in SIZES]
    found = fit_curve("accuracy", SIZES, scores)
    assert found.sentence.startswith("The learning curve can't be extrapolated")
    assert len(found.points) == 4


@pytest.mark.parametrize(
    ("sizes", "scores"),
    [
        ((20, 40), [[0.5, 0.6], [0.7, 0.8]]),
        ((20, 40, 80), [[0.5], [0.6], [0.7]]),
        ((20,), [[0.5]]),
    ],
)
def test_too_few_points_are_shown_and_not_extrapolated(
    sizes: tuple[int, ...], scores: list[list[float]]
) -> None:
    found = fit_curve("accuracy", sizes, scores)
    assert [point.labels for point in found.points] == list(sizes)
    assert "at least 3 numbers of labels and 5 draws" in found.sentence
    assert all(np.isfinite([p.score.low, p.score.high]).all() for p in found.points)


def test_order_does_not_matter_and_undefined_draws_are_left_out() -> None:
    scores = draw(lambda n: 0.85 - 1.2 * n**-0.5, 0.01, np.random.default_rng(0))
    straight = fit_curve("auroc", SIZES, scores)
    with_gaps = [[np.nan, *drawn] for drawn in scores[::-1]]
    assert fit_curve("auroc", (*SIZES[::-1], 10), [*with_gaps, [np.nan]]) == straight


def test_the_same_seed_gives_the_same_curve() -> None:
    scores = draw(lambda n: 0.85 - 1.2 * n**-0.5, 0.02, np.random.default_rng(0))
    assert fit_curve("accuracy", SIZES, scores, seed=3) == fit_curve(
        "accuracy", SIZES, scores, seed=3
    )


def test_draws_that_agree_exactly_do_not_break_the_fit() -> None:
    perfect = fit_curve("accuracy", SIZES, [[1.0] * 5] * 4)
    assert all(0.99 <= point.score.value <= 1.0 for point in perfect.points)
    steady = fit_curve("accuracy", SIZES, [[0.5] * 3, [0.6] * 3, [0.7] * 3, [0.8] * 3])
    assert all(np.isfinite(point.score.high) for point in steady.points)


@pytest.mark.parametrize("seed", range(5))
def test_extrapolated_scores_stay_possible(seed: int) -> None:
    scores = draw(lambda n: 1 - 2 * n**-1.0, 0.01, np.random.default_rng(seed))
    for point in fit_curve("accuracy", SIZES, scores).points:
        if point.extrapolated:
            assert 0 <= point.score.low <= point.score.high <= 1


@pytest.mark.parametrize(
    ("sizes", "scores"),
    [
        ((), []),
        ((20,), [[np.nan]]),
        ((0, 20), [[0.5], [0.6]]),
        ((20, 20), [[0.5], [0.6]]),
        ((20,), []),
    ],
)
def test_nothing_to_draw_is_refused(sizes: tuple[int, ...], scores: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        fit_curve("accuracy", sizes, scores)


def test_intervals_stay_within_what_the_metric_can_be() -> None:
    scores = [[0.80, 0.95, 0.9], [0.95, 0.99, 0.9], [0.98, 0.99], [1.0]]
    curve = fit_curve("accuracy", [20, 40, 80, 160], scores, labels=200)
    assert all(0.0 <= p.score.low <= p.score.value <= p.score.high <= 1.0 for p in curve.points)
