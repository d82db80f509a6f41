"""Robustness: what corruption of the judging inputs leaves of every kind of method."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from retarget.evaluation.metrics import METRICS
from retarget.evaluation.results import Estimate
from retarget.evaluation.robustness import Robustness
from retarget.reports import numbers, svg
from retarget.reports.methods import MethodRow
from retarget.reports.plots import NARROW, left_margin, x_axis, y_axis

MEANING = (
    "Kept is, of the lead over guessing that a model has on clean inputs, the share that it still "
    "has on corrupted ones: 100% if corruption costs nothing, 0% if guessing would do as well."
)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Stressed:
    """A kind of method that was judged under corruption."""

    row: MethodRow
    robustness: Robustness


@dataclass(frozen=True)
class Cell:
    """What methods keep under one corruption of one severity, in the order of the methods."""

    severity: int
    kept: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class CorruptionRows:
    """A corruption and its severities, the mildest first."""

    corruption: str
    cells: tuple[Cell, ...]


def stressed(rows: Sequence[MethodRow]) -> tuple[Stressed, ...]:
    """Return the kinds that were judged under corruption, in order."""
    return tuple(Stressed(r, r.record.robustness) for r in rows if r.record.robustness)


def by_corruption(judged: Sequence[Stressed]) -> tuple[CorruptionRows, ...]:
    """Return the shares kept, by corruption and severity."""
    kept = [{(c.corruption, c.severity): c.kept for c in one.robustness.cells} for one in judged]
    cells = list(dict.fromkeys(cell for one in kept for cell in one))
    return tuple(
        CorruptionRows(
            name,
            tuple(
                Cell(severity, tuple(one.get((name, severity)) for one in kept))
                for severity in sorted(s for other, s in cells if other == name)
            ),
        )
        for name in dict.fromkeys(name for name, _ in cells)
    )


def trade_plot(judged: Sequence[Stressed]) -> Markup:
    """Draw the clean score against the share kept: a point a method, a line through its mixes."""
    drawn = [(one, _place(one)) for one in judged]
    points = {id(one): place for one, place in drawn if place}
    if not points:
        return Markup("")
    x, y, left = _scales([one for one in judged if id(one) in points])
    parts: list[str] = [*y_axis(y, left, NARROW - 2), *_frame(x, judged[0].robustness.metric)]
    at = {key: (x(a), y(100 * b)) for key, (a, b) in points.items()}
    for name in dict.fromkeys(one.row.record.name for one in judged):
        some = [one for one in judged if one.row.record.name == name and id(one) in at]
        parts += _method(some, at)
    parts += _shares([one for one in judged if id(one) in at and _is_mixed(one)], at)
    metric = numbers.metric_name(judged[0].robustness.metric)
    title = f"Share kept under corruption against {metric} on clean inputs, by method"
    return svg.picture(title, NARROW, 296, *parts)


def _is_mixed(one: Stressed) -> bool:
    return one.row.record.share < 1.0 or not one.row.whole


def _place(one: Stressed) -> tuple[float, float] | None:
    kept, clean = one.robustness.kept, one.robustness.clean.value
    if kept is None or not (math.isfinite(kept.value) and math.isfinite(clean)):
        return None
    return clean, kept.value


def _scales(judged: Sequence[Stressed]) -> tuple[svg.Scale, svg.Scale, float]:
    kept = [100 * one.robustness.kept.value for one in judged if one.robustness.kept]
    low, high = svg.bounds(kept, 0.16)
    left = left_margin(low, high)
    ends = svg.bounds((one.robustness.clean.value for one in judged), 0.14)
    return svg.Scale(*ends, left + 8, NARROW - 8), svg.Scale(low, high, 240, 26), left


def _frame(x: svg.Scale, metric: str) -> list[str]:
    """Draw what is written around the plot, with an arrow to where it is better."""
    name = f"{numbers.metric_name(metric)} on clean inputs"
    higher = metric not in METRICS or METRICS[metric].higher_is_better
    said = f"{name} →" if higher else f"← {name}"
    right = svg.label(NARROW - 2, 283, said, "muted", anchor="end", room=NARROW - 8)
    return [svg.label(0, 13, "% kept under corruption ↑", "muted"), right, *x_axis(x, 244, NARROW)]


def _method(some: Sequence[Stressed], at: dict[int, tuple[float, float]]) -> list[Markup]:
    """Draw a method and its mixes, joined in the order of their shares."""
    if not some:
        return []
    order = sorted(some, key=lambda one: one.row.record.share)
    shapes = [svg.polyline([at[id(one)] for one in order], "stroke thin")]
    for one in order:
        said = f"{one.row.name}: {numbers.estimate(one.robustness.clean)} on clean inputs, "
        said += f"{numbers.kept(one.robustness.kept)} kept"
        radius, css = (6.0, "fill") if one.row.whole else (4.5, "hollow")
        dot = svg.mark(one.row.shape, *at[id(one)], radius, css)
        shapes.append(svg.group(svg.hint(said), dot))
    return [svg.group(*shapes, css=some[0].row.css)]


def _shares(mixes: Sequence[Stressed], at: dict[int, tuple[float, float]]) -> list[Markup]:
    """Write the share of each mix beside its point, where there is room."""
    taken: list[Box] = [(a - 8, b - 8, a + 8, b + 8) for a, b in at.values()]
    found = []
    for one in mixes:
        words = f"{one.row.record.share:.0%}"
        width, (a, b) = svg.text_width(words), at[id(one)]
        for left, base in ((a + 10, b + 4.5), (a - 10 - width, b + 4.5), (a - width / 2, b - 11),
                           (a - width / 2, b + 20)):  # fmt: skip
            box = (left, base - 11, left + width, base + 3)
            inside = left > 0 and left + width < NARROW and box[1] > 20 and box[3] < 240
            if inside and not any(_meet(box, other) for other in taken):
                found.append(svg.label(left, base, words, "tick halo"))
                taken.append(box)
                break
    return found


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
