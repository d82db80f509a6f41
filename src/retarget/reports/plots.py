"""The plots of a report, one function each. Each returns a picture, or nothing to draw."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from retarget.core.text import count
from retarget.evaluation.results import Calibration, Estimate, Gain, LearningCurve
from retarget.reports import numbers, svg
from retarget.reports.denominators import short_name
from retarget.reports.trials import LayerSeries, is_chosen
from retarget.runs.schema import RunRecord

WIDTH = 400.0
NARROW = 340.0  # text of these plots is larger on a phone
COLOURS = 8
MOST_SERIES = 6


def gain_plot(gains: dict[str, Gain], metric: str) -> Markup:
    """Draw the gain over every denominator: a dot, its interval, and the line of no gain."""
    if not gains:
        return Markup("")
    low, high = svg.bounds([0.0, *(v for g in gains.values() for v in (g.value, g.low, g.high))])
    x = svg.Scale(low, high, 10, WIDTH - 10)
    row = 52.0
    bottom = row * len(gains)
    parts: list[str] = []
    for i, (name, measured) in enumerate(gains.items()):
        y = row * i
        shown = numbers.gain(measured)
        room = WIDTH - svg.text_width(shown) - 16
        parts.append(svg.label(0, y + 14, f"over {short_name(name)}", "strong", room=room / 1.1))
        parts.append(svg.label(WIDTH, y + 14, shown, anchor="end"))
        parts.append(svg.line(0, y + 33, WIDTH, y + 33, "grid"))
        parts.append(svg.line(x(0), y + 22, x(0), y + 44, "zero"))
        parts.append(whisker(x, measured, y + 33, _direction(measured)))
    parts += x_axis(x, bottom, signed=True)
    parts.append(svg.label(0, bottom + 36, "← transfer hurts", "muted"))
    parts.append(svg.label(WIDTH, bottom + 36, "transfer helps →", "muted", anchor="end"))
    title = f"Transfer gain in {metric} over {count(len(gains), 'denominator')}, 95% intervals"
    return svg.picture(title, WIDTH, bottom + 44, *parts)


def _direction(measured: Gain) -> str:
    return "good" if measured.low > 0 else "bad" if measured.high < 0 else "unsure"


def whisker(x: svg.Scale, measured: Gain | Estimate, y: float, css: str) -> Markup:
    """Return a dot with its interval at height `y`, nothing for what was not measured."""
    if not math.isfinite(measured.value):
        return Markup("")
    parts = [svg.mark("circle", x(measured.value), y, 5, "fill")]
    if math.isfinite(measured.low) and math.isfinite(measured.high):
        parts.insert(0, svg.whisker(x(measured.low), x(measured.high), y, "stroke"))
    return svg.group(*parts, css=css)


def x_axis(x: svg.Scale, bottom: float, width: float = WIDTH, signed: bool = False) -> list[str]:
    """Return the numbers under a plot whose drawing ends at `bottom`."""
    places = numbers.ticks(x.low, x.high, 5)
    parts: list[str] = []
    for place, words in zip(places, numbers.tick_labels(places, signed), strict=True):
        half = svg.text_width(words) / 2
        at = min(max(x(place), half), width - half)
        parts.append(svg.label(at, bottom + 14, words, "tick", anchor="middle"))
    return parts


def y_axis(y: svg.Scale, left: float, right: float) -> list[Markup]:
    """Return the numbers left of a plot, and a line across it for each."""
    places = numbers.ticks(y.low, y.high, 5)
    parts = []
    for place, words in zip(places, numbers.tick_labels(places), strict=True):
        parts.append(svg.line(left, y(place), right, y(place), "grid"))
        parts.append(svg.label(left - 7, y(place) + 4.5, words, "tick", anchor="end"))
    return parts


def left_margin(low: float, high: float) -> float:
    """Return the room that the numbers of `y_axis` need."""
    words = numbers.tick_labels(numbers.ticks(low, high, 5))
    return 12 + max((svg.text_width(w) for w in words), default=20.0)


def range_plot(measured: Estimate, low: float, high: float) -> Markup:
    """Draw one estimate with its interval on a scale shared by the rows of a table."""
    x = svg.Scale(low, high, 5, 115)
    drawn = (svg.line(5, 8, 115, 8, "grid"), whisker(x, measured, 8, "plain"))
    return svg.element(
        "svg", *drawn, viewBox="0 0 120 16", class_="range", aria_hidden="true", focusable="false"
    )


def layers_plot(record: RunRecord, series: Sequence[LayerSeries], metric: str) -> Markup:
    """Draw the score of every single layer, shallow to deep, one line a source."""
    drawn = series[:MOST_SERIES]
    low, high = svg.bounds(t.score for one in drawn for t in one.trials)
    left = left_margin(low, high)
    x, y = svg.Scale(0, 1, left + 10, WIDTH - 14), svg.Scale(low, high, 230, 26)
    parts: list[str] = [*y_axis(y, left, WIDTH - 4), svg.label(0, 13, metric, "muted")]
    for i, one in enumerate(drawn):
        at = [
            (x(k / (len(one.trials) - 1)), y(trial.score), trial)
            for k, trial in enumerate(one.trials)
            if math.isfinite(trial.score)
        ]
        shapes = [svg.polyline([(a, b) for a, b, _ in at], "stroke")]
        for a, b, trial in at:
            said = f"{one.source}, {trial.layers[0]}: {numbers.score(trial.score)}"
            dot = svg.mark(svg.SHAPES[i % len(svg.SHAPES)], a, b, 4.5, "fill")
            shapes.append(svg.group(svg.hint(said), dot))
            if is_chosen(record, trial):
                shapes.append(svg.mark("circle", a, b, 9, "stroke ring"))
        parts.append(svg.group(*shapes, css=f"c{i % COLOURS}"))
    parts.append(svg.label(left + 4, 250, "shallow", "muted"))
    parts.append(svg.label(WIDTH - 4, 250, "deep", "muted", anchor="end"))
    title = f"Validation {metric} by layer, shallow to deep, for {count(len(drawn), 'source')}"
    return svg.picture(title, WIDTH, 258, *parts)


def curve_plot(curve: LearningCurve, metric: str, labels: str = "labels") -> Markup:
    """Draw performance against labels: measured solid, extrapolated hollow and dashed.

    `labels` is what they are called, in the plural.
    """
    points = sorted(curve.points, key=lambda p: p.labels)
    if not points:
        return Markup("")
    low, high = svg.bounds(v for p in points for v in (p.score.value, p.score.low, p.score.high))
    left = left_margin(low, high)
    fewest, most = max(1, points[0].labels), max(2, points[-1].labels)
    x = svg.Scale(fewest, most, left + 16, WIDTH - 22, log=True)
    y = svg.Scale(low, high, 230, 26)
    parts: list[str] = [*y_axis(y, left, WIDTH - 4), svg.label(0, 13, metric, "muted")]
    measured = [p for p in points if not p.extrapolated]
    beyond = [*measured[-1:], *(p for p in points if p.extrapolated)]
    for some, css in ((beyond, "beyond"), (measured, "measured")):
        band = [(x(p.labels), y(p.score.high)) for p in some if math.isfinite(p.score.high)]
        band += [(x(p.labels), y(p.score.low)) for p in some[::-1] if math.isfinite(p.score.low)]
        path = [(x(p.labels), y(p.score.value)) for p in some if math.isfinite(p.score.value)]
        shapes = svg.polygon(band, "band"), svg.polyline(path, "stroke")
        parts.append(svg.group(*shapes, css=f"c0 {css}"))
    parts += [
        _curve_point(x(p.labels), y, p.score, count(p.labels, labels[:-1]), p.extrapolated)
        for p in points
        if math.isfinite(p.score.value)
    ]
    parts += _label_counts(x, [p.labels for p in points])
    parts.append(svg.label(WIDTH - 4, 268, f"{labels} (log scale)", "muted", anchor="end"))
    title = f"Learning curve: {metric} against number of {labels}, 95% intervals"
    return svg.picture(title, WIDTH, 276, *parts)


def _curve_point(x: float, y: svg.Scale, score: Estimate, labels: str, beyond: bool) -> Markup:
    kind = "extrapolated" if beyond else "measured"
    parts = [
        svg.hint(f"{labels}, {kind}: {numbers.estimate(score)}"),
        svg.mark("circle", x, y(score.value), 4.5, "hollow" if beyond else "fill"),
    ]
    if math.isfinite(score.low) and math.isfinite(score.high):
        parts.insert(1, svg.pole(x, y(score.low), y(score.high), "stroke thin"))
    return svg.group(*parts, css=f"c0 {'beyond' if beyond else 'measured'}")


def _label_counts(x: svg.Scale, labels: Sequence[int]) -> list[Markup]:
    """Write as many of the counts under the axis as fit, the last one always."""
    parts: list[Markup] = []
    free = math.inf
    for labels_here in sorted(set(labels), reverse=True):
        words = f"{labels_here:,}"
        half = svg.text_width(words) / 2
        at = min(x(labels_here), WIDTH - half)
        if at + half < free:
            parts.append(svg.label(at, 248, words, "tick", anchor="middle"))
            free = at - half - 8
    return parts


def calibration_plot(calibration: Calibration, noun: str = "example") -> Markup:
    """Draw how often answers of each confidence were right; dots grow with their examples.

    `noun` is what one of them is called.
    """
    size, left, top = 386.0, 36.0, 14.0
    x = svg.Scale(0, 1, left, size)
    y = svg.Scale(0, 1, top + size - left, top)
    bins = [b for b in calibration.bins if b.examples > 0]
    most = max((b.examples for b in bins), default=1)
    at = [(x(b.confidence), y(b.accuracy), b) for b in bins]
    parts: list[str] = [*y_axis(y, left, size), svg.line(x(0), y(0), x(1), y(1), "diagonal")]
    parts += x_axis(x, y(0) + 4)
    shapes = [svg.line(a, y(one.confidence), a, b, "stroke thin") for a, b, one in at]
    for a, b, one in at:
        said = f"{count(one.examples, noun)}: confidence {one.confidence:.2f}, "
        said += f"right {one.accuracy:.2f}"
        dot = svg.mark("circle", a, b, 3 + 7 * math.sqrt(one.examples / most), "fill seen")
        shapes.append(svg.group(svg.hint(said), dot))
    parts.append(svg.group(*shapes, css="c0"))
    parts.append(svg.label(size, y(0) + 37, "confidence", "muted", anchor="end"))
    parts.append(svg.label(left + 8, top + 12, "share that was right", "muted halo"))
    title = "Reliability curve: share of right answers against confidence, after scaling"
    return svg.picture(title, WIDTH, y(0) + 46, *parts)
