"""Transfer gain: how much better than without transfer, how sure, and that in one sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from retarget.core.text import count
from retarget.core.types import FloatArray, IntArray, Kind, StrArray
from retarget.evaluation.intervals import paired
from retarget.evaluation.metrics import METRICS, score
from retarget.evaluation.results import Gain, Verdict
from retarget.evaluation.wording import MOST_DECIMALS, decimals, plain, roughly, signed

# With labels_needed labels an interval excludes zero four times in five: z(0.975) + z(0.8).
_POWER = (1.960 + 0.842) / 1.960
# Beyond this many times the labels judged so far, "more labels would tell" is no help to anybody.
_MOST_TIMES = 100

_NO_DENOMINATOR = "Transfer was compared with nothing: no baseline was asked for."
_NAMES = {
    "majority": "always guessing the commonest class",
    "pixels": "pixels and edges alone",
    "tfidf": "TF-IDF and a linear model",
    "crf": "a CRF on words, their shapes and their neighbours",
    "random": "the same architecture with random weights",
    "scratch": "the same architecture trained from scratch",
    "small-cnn": "a small network trained from scratch",
}


def gain(
    metric: str,
    kind: Kind,
    targets: IntArray | FloatArray,
    ours: FloatArray,
    theirs: FloatArray,
    *,
    groups: StrArray | None = None,
    folds: IntArray | None = None,
    their_folds: IntArray | None = None,
    weights: FloatArray | None = None,
    sequences: IntArray | None = None,
) -> Gain:
    """Return how much better `ours` is than `theirs`, paired on the same judged examples.

    Args:
        metric: name of a metric; its direction turns the gain so that above zero is better.
        kind: what the targets are.
        targets: of n judged examples, as in `Examples`.
        ours: predictions of the chosen model.
        theirs: predictions of the denominator, same shape.
        groups: (n,) groups that are resampled whole.
        folds: (n,) outer folds under cross-fitting.
        their_folds: (n,) those of `theirs` where they are others; all alike under hold-out.
        weights: (n,) above zero.
        sequences: (n,) ascending, which sequence each example is of; tagging needs it.
    """
    difference = paired(
        metric,
        kind,
        targets,
        ours,
        theirs,
        groups=groups,
        folds=folds,
        other_folds=their_folds,
        weights=weights,
        sequences=sequences,
    )
    value, low, high = difference.value, difference.low, difference.high
    if not METRICS[metric].higher_is_better:
        value, low, high = -value, -high, -low
    judged_in = folds if their_folds is None else their_folds
    their_score = score(metric, kind, targets, theirs, weights, judged_in, sequences)
    return Gain(value, low, high, their_score, difference.how)


def denominator_name(name: str, metric: str) -> str:
    """Return what a denominator is, for people: `pixels` → "pixels and edges alone"."""
    if name == "majority" and "regression" in METRICS[metric].kinds:
        return "always guessing the mean"
    return _NAMES.get(name.partition(":")[0], name)


def verdict(
    gains: Mapping[str, Gain], metric: str, against: str, judged: int, labelled: int
) -> Verdict:
    """Return whether transfer helps, decided by the interval of the gain over one denominator.

    Where it helps, denominators that it was not shown to beat on judging data are named too.

    Args:
        gains: denominator → gain, all of `metric`. Without any there is nothing to tell.
        metric: name of the headline metric.
        against: the strongest denominator.
        judged: how many examples judged.
        labelled: how many had a label; more than `judged` under hold-out.

    Raises:
        KeyError: no gain over `against`.
    """
    if not gains:
        return Verdict("cannot be told apart", _NO_DENOMINATOR, against, metric)
    over = gains[against]
    saying = _Saying(metric, over, _rival(gains, metric, against))
    if not all(map(math.isfinite, (over.value, over.low, over.high))):
        sentence = f"{saying.cannot}: too little was judged ({count(judged, 'example')})."
        return Verdict("cannot be told apart", sentence, against, metric)
    if over.low > 0:
        sentence = f"Transfer helps: {saying.measured}.{_not_told(gains, metric, against)}"
        return Verdict("helps", sentence, against, metric)
    if over.high < 0:
        sentence = f"Transfer hurts: {saying.measured}."
        return Verdict("hurts", sentence, against, metric)
    needed = labels_needed(over, judged)
    more = _more(needed, judged, labelled)
    sentence = f"{saying.cannot}: {saying.difference}. {more}"
    return Verdict("cannot be told apart", sentence, against, metric, needed)


def labels_needed(over: Gain, judged: int) -> int | None:
    """Return about how many more judged labels would tell a gain from zero, four times in five.

    The interval's half towards zero shrinks with 1/√n, the gain is taken to be what it seems.
    `None` where the gain is so near zero that over a hundred times the labels would be needed.
    """
    half = over.value - over.low if over.value > 0 else over.high - over.value
    # Also false for a half-width or gain that is NaN, infinite or zero.
    if not _POWER * half < _MOST_TIMES**0.5 * abs(over.value):
        return None
    times = (_POWER * half / over.value) ** 2
    return roughly(judged * (times - 1))


def _more(needed: int | None, judged: int, labelled: int) -> str:
    """Return what would tell."""
    if needed is None:
        return "They are so close that more labels would hardly tell."
    noun = "more label" if judged == labelled else "more judged label"
    return f"About {count(needed, noun)} would tell, if the difference is what it seems."


def _not_told(gains: Mapping[str, Gain], metric: str, against: str) -> str:
    """Return a sentence on the denominators that were not beaten, "" where all were."""
    left = [name for name, gain in gains.items() if name != against and not gain.low > 0]
    if not left:
        return ""
    names = [denominator_name(name, metric) for name in left]
    said = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f" It was not shown to beat {said}."


def _rival(gains: Mapping[str, Gain], metric: str, against: str) -> str:
    """Return the denominator's name, and that it is the best of several where it is."""
    name = denominator_name(against, metric)
    best = all(gains[against].value <= other.value for other in gains.values())
    return f"the best without pretraining ({name})" if best and len(gains) > 1 else name


@dataclass(frozen=True)
class _Saying:
    """A gain in words: metrics of errors are lower or higher, others plus or minus."""

    metric: str
    over: Gain
    rival: str

    @property
    def places(self) -> int:
        """Decimals: what the interval deserves, and enough to show that it excludes zero."""
        low, high = self.over.low, self.over.high
        small = abs(self.over.denominator_score) <= 1
        places = decimals((high - low) / 2, least=2 if small else -9)
        nearest = min(abs(low), abs(high))
        while low * high > 0 and round(nearest, places) == 0 and places < MOST_DECIMALS:
            places += 1
        return places

    @property
    def cannot(self) -> str:
        return f"Transfer cannot be told apart from {self.rival}"

    @property
    def measured(self) -> str:
        """`accuracy 0.61, +0.28 over X, 95% interval +0.23 to +0.33`."""
        over, shown = self.over, METRICS[self.metric]
        turned = over.value if shown.higher_is_better else -over.value
        ours = plain(over.denominator_score + turned, self.places)
        if shown.higher_is_better:
            than = f"{signed(over.value, self.places)} {'over' if over.value > 0 else 'against'}"
        else:
            than = f"{self._apart(over.value)} than"
        return f"{shown.title} {ours}, {than} {self.rival}, 95% interval {self._interval}"

    @property
    def difference(self) -> str:
        """`+0.01 (−0.04 to +0.06)`."""
        shown = METRICS[self.metric]
        if shown.higher_is_better:
            return f"{shown.title} {signed(self.over.value, self.places)} ({self._interval})"
        return f"{shown.title} {self._apart(self.over.value)} ({self._interval})"

    @property
    def _interval(self) -> str:
        low, high = self.over.low, self.over.high
        if METRICS[self.metric].higher_is_better:
            return f"{signed(low, self.places)} to {signed(high, self.places)}"
        if low * high > 0:
            near, far = sorted((abs(low), abs(high)))
            side = "lower" if low > 0 else "higher"
            return f"{plain(near, self.places)} to {plain(far, self.places)} {side}"
        return f"{self._apart(low)} to {self._apart(high)}"

    def _apart(self, gain: float) -> str:
        if round(gain, self.places) == 0:
            return "the same"
        side = "lower" if gain >= 0 else "higher"
        return f"{plain(abs(gain), self.places)} {side}"
