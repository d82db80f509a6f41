"""What a training changed: how far each layer moved, and how alike its features remained."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from retarget.reports import numbers, svg
from retarget.reports.plots import NARROW
from retarget.runs.schema import Drift, LayerDrift

ROW = 22.0
TOP = 40.0
NAMES = 104.0
MIDDLE = 222.0  # where the first panel ends
MOST_LAYERS = 60


def furthest(drifts: Sequence[Drift]) -> float:
    """Return the largest relative distance of weights, so that all plots share one scale."""
    moved = [one.weights for drift in drifts for one in drift.layers if one.weights is not None]
    return max(filter(math.isfinite, moved), default=0.0)


def drift_plot(drift: Drift, most: float) -> Markup:
    """Draw, layer by layer, the distance of weights as bars to `most`, and CKA as dots."""
    layers = [one for one in drift.layers if _known(one.weights) or _known(one.cka)]
    layers = layers[:: max(1, math.ceil(len(layers) / MOST_LAYERS))]
    if not layers:
        return Markup("")
    bottom = TOP + ROW * len(layers)
    lowest = min([0.0, *(one.cka for one in layers if one.cka is not None and _known(one.cka))])
    moved = svg.Scale(0.0, most or 1.0, NAMES, MIDDLE - 20)
    alike = svg.Scale(lowest, 1.0, MIDDLE + 14, NARROW - 12)
    parts: list[str] = [*_axes(moved, alike, bottom)]
    parts += [_layer(one, TOP + ROW * i, moved) for i, one in enumerate(layers)]
    parts.append(_alike(layers, alike))
    title = f"What {drift.method} changed, by layer: distance of weights, and CKA of features"
    return svg.picture(title, NARROW, bottom + 6, *parts)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _layer(one: LayerDrift, top: float, moved: svg.Scale) -> Markup:
    parts = [svg.label(0, top + 15, one.layer, "tick", room=NAMES - 12)]
    if one.weights is not None and _known(one.weights):
        said = f"{one.layer}: weights moved by {percent(one.weights)}"
        bar = svg.rect(moved(0), top + 4, max(1.0, moved(one.weights) - moved(0)), 13, "fill")
        parts.append(svg.group(svg.hint(said), bar))
    return svg.group(*parts, css="c1")


def _alike(layers: Sequence[LayerDrift], alike: svg.Scale) -> Markup:
    at = [
        (alike(one.cka), TOP + ROW * i + 10.5, one)
        for i, one in enumerate(layers)
        if one.cka is not None and _known(one.cka)
    ]
    shapes = [svg.polyline([(a, b) for a, b, _ in at], "stroke thin")]
    for a, b, one in at:
        said = f"{one.layer}: CKA {numbers.score(one.cka or 0.0)}"
        shapes.append(svg.group(svg.hint(said), svg.mark("circle", a, b, 4.2, "fill")))
    return svg.group(*shapes, css="c0")


def _axes(moved: svg.Scale, alike: svg.Scale, bottom: float) -> list[Markup]:
    parts = [
        svg.label(NAMES, 13, "weights moved", "muted"),
        svg.label(MIDDLE + 14, 13, "features alike", "muted"),
    ]
    for scale, times, unit in ((moved, 100, "%"), (alike, 1, "")):
        places = numbers.ticks(scale.low, scale.high, 2)
        words = numbers.tick_labels(tuple(times * place for place in places))
        for place, said in zip(places, words, strict=True):
            x = scale(place)
            parts.append(svg.line(x, TOP - 4, x, bottom + 2, "grid"))
            parts.append(svg.label(x, 32, said + unit, "tick", anchor="middle"))
    return parts


def percent(part: float | None) -> str:
    """Return a relative distance: `12%`, `0.3%`, or a dash."""
    if part is None or not math.isfinite(part):
        return numbers.MISSING
    size = 100 * part
    places = 0 if size >= 9.95 or size == 0 else min(4, max(1, -math.floor(math.log10(size))))
    return f"{numbers.number(size, places)}%"
