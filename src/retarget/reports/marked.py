"""Texts of mistakes, with what was found in them and what should have been."""

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from retarget.core.text import printable
from retarget.runs.schema import Marked

JOINERS = "\u200c\u200d"
MEANING = {
    "right": "was found, and is one",
    "missed": "is one, and was not found",
    "wrong": "was found, and is none",
}


def shown(text: str) -> Markup:
    """Return a text as it may stand in a page, whatever it holds.

    White space is a space. Characters that can't be seen or that turn what follows around are
    written as escapes; joiners stay, which scripts and emoji are spelt with.
    """
    return escape("".join(_safe(character) for character in text))


def _safe(character: str) -> str:
    if character.isspace():
        return " "
    return character if character in JOINERS else printable(character, 20)


def marked(text: str, spans: Sequence[Marked]) -> Markup:
    """Return a text with its spans marked, each followed by its label and what is the matter.

    Spans may overlap: what was found instead of what there is mostly does. Of what lies outside
    of the text nothing is shown.
    """
    inside = [s for s in spans if 0 <= s.start < s.end <= len(text)]
    ends = sorted({0, len(text), *(end for s in inside for end in (s.start, s.end))})
    pieces = [_stretch(text, a, b, inside) for a, b in pairwise(ends)]
    return Markup("").join(pieces)


def _stretch(text: str, start: int, end: int, spans: Sequence[Marked]) -> Markup:
    """Return the text between two neighbouring ends of spans, and the labels that end there."""
    over = [s for s in spans if s.start <= start and end <= s.end]
    words = shown(text[start:end])
    if not over:
        return words
    css = " ".join(dict.fromkeys(s.mark for s in over))
    labels = Markup("").join(_label(s) for s in over if s.end == end)
    return Markup('<mark class="{}">{}</mark>{}').format(css, words, labels)


def _label(span: Marked) -> Markup:
    said = span.label if span.mark == "right" else f"{span.label}, {span.mark}"
    return Markup(' <bdi class="said-of {}">{}</bdi> ').format(span.mark, printable(said, 60))


def tally(spans: Sequence[Marked]) -> str:
    """Return how many were right, missed and wrong: `1 right, 2 missed`."""
    counts = {mark: sum(s.mark == mark for s in spans) for mark in MEANING}
    return ", ".join(f"{n} {mark}" for mark, n in counts.items() if n)
