"""Words of a text, by where they lie in it: what tagging predicts for."""

from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of a text from character `start` up to `end`, and what it is."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Worded:
    """A text and its words.

    `words` are (start, end) in characters, in order; none is empty, none overlaps another.
    """

    text: str
    words: tuple[tuple[int, int], ...]
