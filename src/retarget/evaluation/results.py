"""What was measured: plain records that runs store and reports draw."""

from dataclasses import dataclass
from typing import Literal

from retarget.core.notebook import interval, shown
from retarget.core.text import count

VerdictWord = Literal["helps", "cannot be told apart", "hurts"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval. `how` names the interval's method in a few words."""

    value: float
    low: float
    high: float
    how: str = ""


@dataclass(frozen=True)
class Gain:
    """How much better the chosen model is than a denominator, paired on the same examples.

    `value`, `low`, `high` are differences of the headline metric, turned so that above zero
    means that transfer is better. `denominator_score` is the denominator's own score.
    """

    value: float
    low: float
    high: float
    denominator_score: float
    how: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer. `sentence` is for people; `labels_needed` is about how many more labels would
    tell, where it can't be told."""

    word: VerdictWord
    sentence: str
    against: str
    metric: str
    labels_needed: int | None = None


@dataclass(frozen=True)
class Part:
    """Scores of one class, group, domain or range of sizes; of one type of entity, or of seen or
    unseen ones, where `examples` counts true entities."""

    name: str
    examples: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class CalibrationBin:
    """Examples whose confidence fell between `low` and `high`."""

    low: float
    high: float
    examples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error before and after temperature scaling, and the curve after."""

    before: Estimate
    after: Estimate
    temperature: float
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]`: examples of class i called class j, in the order of `classes`.

    For tagging `classes` are types, and the examples entities whose words were found exactly.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """All that the judging examples said, once.

    `metric` is the headline; `higher_is_better` is about it. `notes` say what could not judge.
    `examples` counts sequences where examples are parts of them. `per_novelty` is the recall of
    entities "seen" among those learned from and of "unseen" ones; `per_size` has the headline
    metric by how large inputs are, the smallest first.
    """

    metric: str
    higher_is_better: bool
    examples: int
    metrics: dict[str, Estimate]
    per_class: tuple[Part, ...] = ()
    per_group: tuple[Part, ...] = ()
    per_domain: tuple[Part, ...] = ()
    calibration: Calibration | None = None
    confusion: Confusion | None = None
    notes: tuple[str, ...] = ()
    per_novelty: tuple[Part, ...] = ()
    per_size: tuple[Part, ...] = ()

    def _repr_html_(self) -> str:
        measured = [(n, interval(m.value, m.low, m.high)) for n, m in self.metrics.items()]
        sentence = " ".join([f"Judged on {count(self.examples, 'example')}.", *self.notes])
        return shown(sentence, ("metric", "value (95% interval)"), measured)


@dataclass(frozen=True)
class CurvePoint:
    """Performance on choosing data when fitted on `labels` labels."""

    labels: int
    score: Estimate
    extrapolated: bool = False


@dataclass(frozen=True)
class LearningCurve:
    """Performance against number of labels. `sentence` says what more labels would bring."""

    metric: str
    points: tuple[CurvePoint, ...]
    sentence: str
