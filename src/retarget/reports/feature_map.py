"""The map of features: a scatter of examples, told apart by colour and shape."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from retarget.core.text import count
from retarget.reports import numbers, svg
from retarget.reports.plots import COLOURS, WIDTH
from retarget.runs.schema import MapPoint

MOST_POINTS = 3000
MOST_LABELS = 24
STEPS = 5


@dataclass(frozen=True)
class Mark:
    """How the examples of one label look. `css` names the colour."""

    name: str
    css: str
    shape: str
    points: tuple[MapPoint, ...]


def marks(points: Sequence[MapPoint], kind: str) -> tuple[Mark, ...]:
    """Return the marks of a map: one for every label, or for every fifth of the values.

    Shapes differ where colours would not do. The labels with the fewest examples share one grey
    mark where there are more than can be told apart. Of very many points, evenly many are drawn.
    """
    finite = [p for p in points if math.isfinite(p.x) and math.isfinite(p.y)]
    some = finite[:: max(1, math.ceil(len(finite) / MOST_POINTS))]
    if kind == "regression" and all(_is_number(p.label) for p in some):
        return _by_value(some)
    return _by_label(some)


def _by_label(points: Sequence[MapPoint]) -> tuple[Mark, ...]:
    counts = Counter(p.label for p in points)
    kept = sorted(name for name, _ in counts.most_common(MOST_LABELS))
    shapes = svg.SHAPES if len(kept) > COLOURS else ("circle",)
    found = [
        Mark(name, f"c{i % COLOURS}", shapes[i % len(shapes)], _with_label(points, name))
        for i, name in enumerate(kept)
    ]
    rest = tuple(p for p in points if p.label not in kept)
    if rest:
        others = count(len(counts) - len(kept), "other label")
        found.insert(0, Mark(others, "rest", "circle", rest))
    return tuple(found)


def _with_label(points: Sequence[MapPoint], label: str) -> tuple[MapPoint, ...]:
    return tuple(p for p in points if p.label == label)


def _by_value(points: Sequence[MapPoint]) -> tuple[Mark, ...]:
    order = sorted(points, key=lambda p: float(p.label))
    found = []
    for step in range(STEPS):
        some = order[len(order) * step // STEPS : len(order) * (step + 1) // STEPS]
        if some:
            name = " to ".join(numbers.score(float(p.label)) for p in (some[0], some[-1]))
            found.append(Mark(name, f"s{step}", "circle", tuple(some)))
    return tuple(found)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def map_plot(drawn: Sequence[Mark]) -> Markup:
    """Draw the map: judging examples filled, the others hollow."""
    points = [p for one in drawn for p in one.points]
    if not points:
        return Markup("")
    across, along = svg.bounds((p.x for p in points), 0.04), svg.bounds((p.y for p in points), 0.04)
    height = 300.0
    x, y = svg.Scale(*across, 8, WIDTH - 8), svg.Scale(*along, height - 8, 8)
    radius = 3.4 if len(points) <= 400 else 2.4
    parts = [svg.rect(0.5, 0.5, WIDTH - 1, height - 1, "frame")]
    for one in drawn:
        dots = [
            svg.mark(one.shape, x(p.x), y(p.y), radius, "fill" if p.judged else "hollow")
            for p in one.points
        ]
        parts.append(svg.group(svg.hint(one.name), *dots, css=f"{one.css} dots"))
    title = f"Map of the features of {count(len(points), 'example')} by label"
    return svg.picture(title, WIDTH, height, *parts)


def key(shape: str, css: str) -> Markup:
    """Return a mark for a legend."""
    drawn = svg.group(svg.mark(shape, 8, 8, 5, "fill"), css=css)
    return svg.element("svg", drawn, viewBox="0 0 16 16", class_="key", aria_hidden="true")
