"""Kinds of method beside each other: a row each, and a dot with its interval."""

from dataclasses import dataclass

from markupsafe import Markup

from retarget.core.text import count
from retarget.evaluation.results import Estimate
from retarget.reports import numbers, svg, trials
from retarget.reports.plots import NARROW, whisker, x_axis
from retarget.runs.schema import MethodRecord, RunRecord, TrainingRecord

_NAMES = {"frozen": "frozen features", "mean": "mean of all"}
MEAN = trials.MEAN


@dataclass(frozen=True)
class MethodRow:
    """A kind of method, and the training behind it, where it is one.

    `css` and `shape` tell it apart in plots, where mixes look like what they are mixed from.
    """

    record: MethodRecord
    training: TrainingRecord | None
    chosen: bool
    css: str
    shape: str

    @property
    def name(self) -> str:
        """What it is called: `finetune`; `finetune at 25%` for a mix."""
        return method_name(self.record)

    @property
    def whole(self) -> bool:
        """Whether it is itself, not a point on the way to the source's weights."""
        return is_whole(self.record)

    @property
    def trained(self) -> str:
        """How many parameters were trained, and their share: `3.4M (100%)`."""
        if not self.record.trainable:
            return numbers.MISSING
        return numbers.part_of(
            self.record.trainable, self.training.cost.parameters if self.training else 0
        )


def is_whole(method: MethodRecord) -> bool:
    """Whether it is a kind itself, not another point on the way from the source to its weights."""
    return method.test is not None


def method_name(method: MethodRecord) -> str:
    """Return what a kind of method is called for people."""
    name = _NAMES.get(method.name, method.name)
    return name if is_whole(method) else f"{name} at {method.share:.0%}"


def rows(record: RunRecord) -> tuple[MethodRow, ...]:
    """Return a row for every kind of method, mixes after what they are mixed from."""
    trained = {t.method: t.training for t in trials.ranked(record)[::-1] if t.training}
    names = list(dict.fromkeys(method.name for method in record.methods))
    order = sorted(record.methods, key=lambda m: (names.index(m.name), not is_whole(m), -m.share))
    ours = _chosen(record)
    return tuple(
        MethodRow(
            method,
            trained.get(method.name),
            method.name == ours and is_whole(method),
            f"c{names.index(method.name) % 8}",
            svg.SHAPES[names.index(method.name) % len(svg.SHAPES)],
        )
        for method in order
    )


def _chosen(record: RunRecord) -> str:
    """Return the name of the kind that was handed over, "" where it is none of them."""
    members = record.chosen.members
    if trials.is_mixed(record):
        return MEAN
    if any(member.training for member in members):
        return members[0].method
    return next((m.name for m in record.methods if not m.trainable and m.name != MEAN), "")


def methods_plot(drawn: tuple[MethodRow, ...], metric: str) -> Markup:
    """Draw the score of every kind: a dot, its interval, on one scale."""
    found = [row.record.score for row in drawn]
    if not found:
        return Markup("")
    low, high = svg.bounds(v for s in found for v in (s.value, s.low, s.high))
    x = svg.Scale(low, high, 10, NARROW - 10)
    height = 44.0
    bottom = height * len(drawn)
    parts: list[str] = []
    for i, row in enumerate(drawn):
        parts += _row(row, x, height * i)
    parts += x_axis(x, bottom, NARROW)
    title = f"{metric} of {count(len(drawn), 'method')} on judging examples, 95% intervals"
    return svg.picture(numbers.capital(title), NARROW, bottom + 20, *parts)


def _row(row: MethodRow, x: svg.Scale, top: float) -> list[str]:
    shown = _shown(row.record.score)
    room = NARROW - svg.text_width(shown) - 12
    css = "strong" if row.chosen else ""
    return [
        svg.label(0, top + 14, row.name, css, room=room / (1.1 if row.chosen else 1.0)),
        svg.label(NARROW, top + 14, shown, anchor="end"),
        svg.line(0, top + 29, NARROW, top + 29, "grid"),
        whisker(x, row.record.score, top + 29, row.css),
    ]


def _shown(score: Estimate) -> str:
    """Return a score as the room of a plot allows."""
    said = numbers.estimate(score)
    return said if svg.text_width(said) < 0.6 * NARROW else numbers.middle(score)
