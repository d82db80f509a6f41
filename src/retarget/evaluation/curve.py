"""The learning curve: performance against number of labels, and what more labels would bring."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retarget.core.text import count
from retarget.core.types import FloatArray, IntArray
from retarget.evaluation.metrics import METRICS
from retarget.evaluation.quantiles import t_quantile
from retarget.evaluation.results import CurvePoint, Estimate, LearningCurve
from retarget.evaluation.wording import plain, roughly, signed

FURTHER = (2, 4)
# Seen: 0.07 to 0.35 for networks (Hestness et al.), up to 1 for simple ones; 2 for early plateaus.
EXPONENTS = np.geomspace(0.05, 2.0, 400)
_SAMPLES, _FEWEST = 20_000, 100
_ROUND = (1, 2, 3, 5, 10, 15, 20, 30, 50)
_FAR = 10
# Draws of all examples still differ by what was learned from them.
_LEAST_APART = 0.25
_BORROWED = 4.0  # degrees of freedom that each size's variance borrows from all sizes together

_CANNOT = "The learning curve can't be extrapolated"
_NO_RISE = f"{_CANNOT}: more labels did not help where it was measured."
_NO_LAW = f"{_CANNOT}: it does not bend as learning curves do."
_TOO_NOISY = (
    f"{_CANNOT}: its points vary more than they rise. More draws or judged labels would tell."
)
_TOO_SHORT = f"{_CANNOT}: that takes at least 3 numbers of labels and 5 draws in all."


@dataclass(frozen=True)
class Measured:
    """Draws of a shortfall (how far from perfect) by number of labels, in rising order of labels.

    Attributes:
        labels: (m,) numbers of labels.
        shortfall: (m,) means over the draws at each.
        variance: (m,) variance between draws, shrunk towards one in proportion to 1/n.
        draws: (m,) how many.
        freedom: degrees of freedom behind the variances, 0 where every size has one draw.
        shared: variance of what all draws have in common, as they come from the same examples.
    """

    labels: FloatArray
    shortfall: FloatArray
    variance: FloatArray
    draws: FloatArray
    freedom: float
    shared: float

    @property
    def half_width(self) -> FloatArray:
        """(m,) half of a 95% t interval of the means; 0 where nothing says how they vary."""
        if self.freedom == 0:
            return np.zeros(len(self.labels))
        freedom = np.where(self.draws > 1, self.draws - 1 + _BORROWED, self.freedom)
        reach = [t_quantile(0.975, float(min(f, self.freedom))) for f in freedom]
        return np.asarray(np.array(reach) * np.sqrt(self.variance / self.draws + self.shared))


@dataclass(frozen=True)
class Outlook:
    """What more labels would bring, and whether that is certain enough to draw."""

    certain: bool
    sentence: str


@dataclass(frozen=True)
class Curves:
    """Sampled curves that fit what was measured: shortfall(n) = asymptote + factor · n^−exponent.

    `offset` is how far other examples than those scored on would lie from each curve; `falling`
    the share of the samples, before any was refused, in which more labels helped.
    """

    asymptote: FloatArray
    factor: FloatArray
    exponent: FloatArray
    offset: FloatArray
    falling: float

    def at(self, labels: float) -> FloatArray:
        """Return (S,) shortfalls at a number of labels."""
        return np.asarray(self.asymptote + self.factor * labels**-self.exponent)

    def elsewhere(self, labels: float) -> FloatArray:
        """Return (S,) shortfalls on other examples than those scored on, none below zero."""
        return np.maximum(self.at(labels) + self.offset, 0)

    def labels_for(self, shortfall: FloatArray) -> FloatArray:
        """Return (S,) numbers of labels at which each reaches its shortfall; inf for never."""
        over = shortfall - self.asymptote
        reached = np.full(len(over), np.inf)
        may = over > 1e-12 * self.factor
        with np.errstate(over="ignore"):
            reached[may] = (self.factor[may] / over[may]) ** (1 / self.exponent[may])
        return reached


def fit_curve(
    metric: str,
    sizes: Sequence[int],
    scores: Sequence[Sequence[float]],
    *,
    labels: int | None = None,
    seed: int = 0,
) -> LearningCurve:
    """Return the measured curve and its extrapolation to twice and four times the labels.

    The distance from a perfect score follows an inverse power law, a + b · n^−c (Figueroa et al.
    2012, "Predicting sample size required for classification performance"; Hestness et al. 2017,
    "Deep learning scaling is predictable, empirically"). The interval covers what the draws leave
    open about a, b and c: curves are sampled from their posterior given the draws, with flat
    priors on today's score, on the rise so far and on log c, and with a, b ≥ 0. Where nothing
    bounds the truth (a near 0, c small) and draws are noisy, it lies above in about one of ten.

    Draws are taken to come, without replacement, from the examples of the largest size, and to be
    scored on what they hold: large draws overlap, and what all share moves the curve as a whole.

    Args:
        metric: name of a metric.
        sizes: m numbers of labels fitted on, in any order; at least 3 to extrapolate.
        scores: m lists of scores on choosing data, one a draw of that many labels. Draws that are
            not finite are left out.
        labels: the number of labels at hand; the largest size where not given.
        seed: of the sampling.

    Raises:
        ValueError: no finite score, sizes below 1, or not one list of scores a size.
    """
    kept = [
        (int(size), finite)
        for size, draws in sorted(zip(sizes, scores, strict=True), key=lambda pair: pair[0])
        if len(finite := np.asarray(draws, float)[np.isfinite(draws)])
    ]
    if not kept or kept[0][0] < 1 or len({size for size, _ in kept}) < len(kept):
        raise ValueError("a learning curve needs finite scores at different sizes from 1 up")
    higher, (least, most) = METRICS[metric].higher_is_better, METRICS[metric].bounds
    perfect, sign = (most, -1.0) if higher else (least, 1.0)
    measured = _summarise([(size, sign * (draws - perfect)) for size, draws in kept])
    points = _measured_points(metric, measured, perfect, sign)
    now = labels or int(measured.labels[-1])
    if len(kept) < 3 or measured.draws.sum() < 5:
        return LearningCurve(metric, points, _TOO_SHORT)
    curves = _sample_curves(measured, np.random.default_rng(seed))
    if curves.falling < 0.05 or len(curves.factor) < _FEWEST:
        why = _NO_RISE if curves.falling < 0.05 else _NO_LAW
        return LearningCurve(metric, points, why)
    outlook = _outlook(metric, curves, now)
    if not outlook.certain:
        return LearningCurve(metric, points, outlook.sentence)
    further = tuple(
        CurvePoint(now * times, _estimate(perfect + sign * curves.elsewhere(now * times)), True)
        for times in FURTHER
    )
    return LearningCurve(metric, (*points, *further), outlook.sentence)


def _summarise(kept: list[tuple[int, FloatArray]]) -> Measured:
    """Return means and shrunk variances of the shortfalls drawn at each size."""
    draws = np.array([len(values) for _, values in kept], float)
    means = np.array([values.mean() for _, values in kept])
    within = np.array([((values - values.mean()) ** 2).sum() for _, values in kept])
    freedom = float((draws - 1).sum())
    labels = np.array([size for size, _ in kept], float)
    apart = np.maximum(1 - labels / labels[-1], _LEAST_APART)
    noise = within @ (labels / apart) / freedom if freedom else 1.0
    variance = (within + _BORROWED * noise * apart / labels) / (draws - 1 + _BORROWED)
    # Draws that agree to the last digit would make the fit infinitely sure of itself.
    least = (1e-4 * max(float(np.abs(means).max()), 1e-6)) ** 2
    shared = float(noise / labels[-1]) if freedom else 0.0
    return Measured(labels, means, np.maximum(variance, least), draws, freedom, shared)


def _measured_points(
    metric: str, measured: Measured, perfect: float, sign: float
) -> tuple[CurvePoint, ...]:
    """Return the points that were measured, as scores."""
    points = []
    for labels, shortfall, half_width, draws in zip(
        measured.labels, measured.shortfall, measured.half_width, measured.draws, strict=True
    ):
        score, half = float(perfect + sign * shortfall), float(half_width)
        how = f"t over {count(int(draws), 'draw')}" if half else "one draw, no interval"
        low, high = np.clip((score - half, score + half), *METRICS[metric].bounds)
        points.append(CurvePoint(int(labels), Estimate(score, float(low), float(high), how)))
    return tuple(points)


def _sample_curves(measured: Measured, rng: np.random.Generator) -> Curves:
    """Return curves from the posterior.

    For a given exponent the curve is linear in today's shortfall and in the fall so far, so both
    follow a bivariate t and the exponent's marginal likelihood is closed.
    """
    first, last = measured.labels[0], measured.labels[-1]
    span = first**-EXPONENTS - last**-EXPONENTS  # (E,)
    shape = (measured.labels ** -EXPONENTS[:, None] - last ** -EXPONENTS[:, None]) / span[:, None]
    design = np.stack([np.ones_like(shape), shape], axis=2)  # (E, m, 2)
    pick, today, fall = _posterior(design, measured, rng)
    exponent, factor = EXPONENTS[pick], fall / span[pick]
    asymptote = today - factor * last**-exponent
    kept = (fall > 0) & (asymptote >= 0)
    offset = rng.standard_normal(int(kept.sum())) * measured.shared**0.5
    falling = float((fall > 0).mean())
    return Curves(asymptote[kept], factor[kept], exponent[kept], offset, falling)


def _posterior(
    design: FloatArray, measured: Measured, rng: np.random.Generator
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Draw (S,) numbers of designs and (S,) their two coefficients, given what was measured.

    `design` is (E, m, 2): one linear model for each exponent. The noise's scale is unknown.
    """
    freedom = measured.draws.sum() - 2
    precision = measured.draws / measured.variance
    information = np.einsum("emi,m,emj->eij", design, precision, design)
    covariance = np.linalg.inv(information)
    pull = np.einsum("emi,m->ei", design, precision * measured.shortfall)
    best = np.einsum("eij,ej->ei", covariance, pull)
    residual = measured.shortfall - np.einsum("emi,ei->em", design, best)
    squares = measured.freedom + (precision * residual**2).sum(axis=1) + 1e-12
    evidence = -0.5 * np.linalg.slogdet(information)[1] - 0.5 * freedom * np.log(squares)
    share = np.exp(evidence - evidence.max())
    pick = rng.choice(len(design), size=_SAMPLES, p=share / share.sum())
    scale = np.sqrt(squares[pick] / rng.chisquare(freedom, _SAMPLES))
    noise = rng.standard_normal((_SAMPLES, 2))
    lower = np.linalg.cholesky(covariance)[pick]
    first, second = (best[pick] + scale[:, None] * np.einsum("sij,sj->si", lower, noise)).T
    return pick, first, second


def _estimate(scores: FloatArray) -> Estimate:
    """Return the median of sampled scores with the middle 95%."""
    low, middle, high = np.quantile(scores, [0.025, 0.5, 0.975])
    return Estimate(float(middle), float(low), float(high), "inverse power law, sampled fits")


def _outlook(metric: str, curves: Curves, now: int) -> Outlook:
    """Return in one sentence what more labels would bring, in steps that people count in."""
    higher = METRICS[metric].higher_is_better
    title = METRICS[metric].title
    today = curves.at(now)
    unit = 0.01 if higher else 0.01 * float(np.median(today))
    rise = np.quantile((today - curves.at(2 * now)) / unit, [0.025, 0.5, 0.975])
    least = 1 if higher else 2
    if rise[1] < least and rise[2] < 2 * least:
        return Outlook(True, _little(rise, now, title, higher))
    if rise[1] < least or curves.falling < 0.95:
        return Outlook(False, _TOO_NOISY)
    step = max(size for size in _ROUND if size <= max(rise[1], 1))
    needed = np.maximum(curves.labels_for(today - step * unit) - now, 1)
    low, middle, high = np.quantile(needed, [0.025, 0.5, 0.975], method="closest_observation")
    far = _FAR * now
    reach = f"{roughly(high):,}" if high <= far else f"more than {roughly(far):,}"
    what = f"+{count(step, 'point')} of {title}" if higher else f"{step}% lower {title}"
    return Outlook(
        True,
        f"About {count(roughly(middle), 'more label')} for {what} "
        f"(95% interval {roughly(low):,} to {reach}).",
    )


def _little(rise: FloatArray, now: int, title: str, higher: bool) -> str:
    low, high = plain(float(rise[0]), 1), plain(float(rise[2]), 1)
    middle = float(rise[1])
    what = (
        f"{signed(middle, 1)} points of {title}" if higher else f"{plain(middle, 1)}% lower {title}"
    )
    return (
        f"More labels of this kind would bring little: twice as many ({2 * now:,}) would mean "
        f"about {what} (95% interval {low} to {high})."
    )
