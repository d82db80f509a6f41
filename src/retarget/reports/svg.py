"""Small SVG pictures: text stays text, colours come from the page, everything is escaped.

Shapes are styled by class only, so that the page's colours (and the dark) reach them. Lengths are
in units of the view box; text is 13 units high.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from retarget.core.text import printable

TEXT_SIZE = 13.0
SHAPES = ("circle", "square", "triangle", "diamond", "cross")


@dataclass(frozen=True)
class Scale:
    """Maps data from `low` … `high` to `start` … `end`, clipped to them; `log` bends it."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        part = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, part)) * (self.end - self.start)


def bounds(values: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """Return the least and greatest finite value, moved apart by `margin` of their distance."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    space = (high - low) * margin or abs(high) * 0.1 or 0.5
    return low - space, high + space


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """Return `<tag …>children</tag>`. `class_` is the class, `_` in other names is a hyphen.

    Children and attributes are escaped unless they are `Markup`; numbers get one decimal.
    """
    written = Markup("")
    for name, value in attributes.items():
        shown = value if isinstance(value, str) else _short(value)
        written += Markup(' {}="{}"').format(
            "class" if name == "class_" else name.replace("_", "-"), shown
        )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, inside)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if math.isfinite(value) else "0"


def picture(title: str, width: float, height: float, *children: str) -> Markup:
    """Return a whole picture that scales with the page and is read out as `title`."""
    return element(
        "svg",
        hint(title),
        *children,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        role="img",
        class_="plot",
    )


def hint(words: str) -> Markup:
    """Return what is said of a shape: shown beside the pointer, read out to those who listen."""
    return element("title", printable(words, 300))


def label(
    x: float, y: float, words: str, css: str = "", anchor: str = "start", room: float = math.inf
) -> Markup:
    """Return text at (x, y), its baseline; what is longer than `room` ends in an ellipsis."""
    shown = fitted(printable(words), room)
    full = (hint(words),) if shown != printable(words) else ()
    return element("text", *full, shown, x=x, y=y, class_=css, text_anchor=anchor)


def text_width(words: str, size: float = TEXT_SIZE) -> float:
    """Return about how wide `words` is, rather too wide than too narrow."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in words)
    capitals = sum(c.isupper() or c in "mwMW@%" for c in words)
    return size * (0.56 * (len(words) - wide - capitals) + 0.74 * capitals + 1.05 * wide)


def fitted(words: str, room: float, size: float = TEXT_SIZE) -> str:
    """Return `words`, shortened with an ellipsis until they fit into `room`."""
    if text_width(words, size) <= room:
        return words
    while words and text_width(words + "…", size) > room:
        words = words[:-1]
    return words.rstrip() + "…"


def line(x1: float, y1: float, x2: float, y2: float, css: str = "") -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def rect(x: float, y: float, width: float, height: float, css: str = "") -> Markup:
    """Return a rectangle."""
    return element("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=css)


def polyline(points: Sequence[tuple[float, float]], css: str = "") -> Markup:
    """Return a line through points."""
    return element("polyline", points=_joined(points), class_=css)


def polygon(points: Sequence[tuple[float, float]], css: str = "") -> Markup:
    """Return a filled outline through points."""
    return element("polygon", points=_joined(points), class_=css)


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in points)


def group(*children: str, css: str = "") -> Markup:
    """Return shapes that share a class."""
    return element("g", *children, class_=css)


def mark(shape: str, x: float, y: float, r: float, css: str = "") -> Markup:
    """Return a mark of one of `SHAPES`, as large to the eye as a circle of radius `r`."""
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=r, class_=css)
    if shape == "square":
        return rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r, css)
    if shape == "triangle":
        return polygon([(x, y - 1.25 * r), (x + 1.2 * r, y + r), (x - 1.2 * r, y + r)], css)
    if shape == "diamond":
        s = 1.3 * r
        return polygon([(x, y - s), (x + s, y), (x, y + s), (x - s, y)], css)
    a, b = 1.3 * r, 0.45 * r
    corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)]
    corners += [(b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    return polygon([(x + dx, y + dy) for dx, dy in corners], css)


def whisker(low: float, high: float, y: float, css: str = "", cap: float = 4.0) -> Markup:
    """Return a horizontal interval from x = `low` to `high` with end caps."""
    return group(
        line(low, y, high, y),
        line(low, y - cap, low, y + cap),
        line(high, y - cap, high, y + cap),
        css=css,
    )


def pole(x: float, low: float, high: float, css: str = "", cap: float = 3.5) -> Markup:
    """Return a vertical interval from y = `low` to `high` with end caps."""
    return group(
        line(x, low, x, high),
        line(x - cap, low, x + cap, low),
        line(x - cap, high, x + cap, high),
        css=css,
    )
