"""What happens to texts on the way to a model: slips of the hand, case, punctuation, scanning.

Each takes a text, a pair or a text with its words, a severity from 1 to 3 and a generator, and
returns the same kind of thing. They go word by word: a text with words keeps as many, in their
order, none empty, each where it now lies. Of both texts of a pair each has its own noise.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from retarget.tasks.texts import Text
from retarget.tasks.words import Worded

Change = Callable[[str, np.random.Generator], str]

_TYPOS = (0.02, 0.06, 0.12)  # share of characters where a finger slips
_CASE = (0.15, 0.5, 1.0)  # share of words
_PUNCTUATION = (0.15, 0.4, 0.8)  # share of marks dropped; a third as many words get one
_CONFUSED = (0.04, 0.1, 0.2)  # share of shapes that can be mistaken for another
_BROKEN = (0.02, 0.05, 0.1)  # share of words cut in two, and of gaps lost

_MARKS = ",.;:!?-'\""
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHAPES: Mapping[str, str] = {
    "rn": "m",
    "cl": "d",
    "vv": "w",
    "fi": "ﬁ",
    "ri": "n",
    "m": "rn",
    "d": "cl",
    "w": "vv",
    "l": "1",
    "1": "l",
    "i": "l",
    "I": "l",
    "o": "0",
    "O": "0",
    "0": "O",
    "e": "c",
    "c": "e",
    "h": "b",
    "n": "ri",
    "u": "ii",
    "a": "o",
    "s": "5",
    "S": "5",
    "5": "S",
    "B": "8",
    "8": "B",
    "g": "9",
    "t": "f",
    "f": "t",
    ",": ".",
    ".": ",",
}
_SHAPE = re.compile("|".join(sorted(map(re.escape, _SHAPES), key=len, reverse=True)))
_WORD = re.compile(r"\S+")


def typos(text: Text, severity: int, random: np.random.Generator) -> Text:
    """Let fingers slip: two characters swapped, one dropped, doubled, or hit beside its key."""
    rate = _TYPOS[severity - 1]
    return _corrupted(text, random, lambda word, own: _mistyped(word, rate, own))


def case(text: Text, severity: int, random: np.random.Generator) -> Text:
    """Write words in lower case, in CAPITALS or aNyHOw."""
    rate = _CASE[severity - 1]

    def change(word: str, own: np.random.Generator) -> str:
        if own.random() >= rate:
            return word
        style = own.integers(3)
        if style < 2:
            return word.upper() if style else word.lower()
        return "".join(c.upper() if own.random() < 0.5 else c.lower() for c in word)

    return _corrupted(text, random, change)


def punctuation(text: Text, severity: int, random: np.random.Generator) -> Text:
    """Leave marks out, and put others behind words; a word that is all marks keeps one."""
    rate = _PUNCTUATION[severity - 1]

    def change(word: str, own: np.random.Generator) -> str:
        kept = "".join(c for c in word if not (_is_mark(c) and own.random() < rate)) or word[0]
        if own.random() < rate / 3:
            kept += _MARKS[own.integers(len(_MARKS))]
        return kept

    return _corrupted(text, random, change)


def ocr(text: Text, severity: int, random: np.random.Generator) -> Text:
    """Mistake shapes for others as scanners do (rn for m, 1 for l), and break white space."""
    confused, broken = _CONFUSED[severity - 1], _BROKEN[severity - 1]

    def change(word: str, own: np.random.Generator) -> str:
        seen = _SHAPE.sub(
            lambda shape: _SHAPES[shape[0]] if own.random() < confused else shape[0], word
        )
        if len(seen) > 2 and own.random() < broken:
            cut = 1 + int(own.integers(len(seen) - 1))
            seen = f"{seen[:cut]} {seen[cut:]}"
        return seen

    def join(gap: str, own: np.random.Generator) -> str:
        return "" if gap.isspace() and own.random() < broken else gap

    return _corrupted(text, random, change, join)


def _corrupted(
    text: Text, random: np.random.Generator, change: Change, change_gap: Change | None = None
) -> Text:
    if isinstance(text, tuple):
        first, second = (_string(one, random, change, change_gap) for one in text)
        return (first, second)
    if isinstance(text, Worded):
        return _rebuilt(text.text, text.words, random, change, change_gap)
    return _string(text, random, change, change_gap)


def _string(
    text: str, random: np.random.Generator, change: Change, change_gap: Change | None
) -> str:
    words = [match.span() for match in _WORD.finditer(text)]
    return _rebuilt(text, words, random, change, change_gap).text


def _rebuilt(
    text: str,
    words: Sequence[tuple[int, int]],
    random: np.random.Generator,
    change: Change,
    change_gap: Change | None,
) -> Worded:
    """Return the text with every word, and every gap between words, changed; words moved along."""
    pieces: list[str] = []
    moved: list[tuple[int, int]] = []
    length = end = 0
    for number, (start, stop) in enumerate(words):
        gap = text[end:start]
        if change_gap is not None and number:
            gap = change_gap(gap, random)
        word = change(text[start:stop], random)
        pieces += (gap, word)
        begin = length + len(gap)
        length = begin + len(word)
        moved.append((begin, length))
        end = stop
    pieces.append(text[end:])
    return Worded("".join(pieces), tuple(moved))


def _mistyped(word: str, rate: float, random: np.random.Generator) -> str:
    slips = np.flatnonzero(random.random(len(word)) < rate)
    if not len(slips):
        return word
    typed = list(word)
    for place in slips.tolist():
        kind = random.integers(4)
        if kind == 0 and place + 1 < len(typed):
            typed[place], typed[place + 1] = typed[place + 1], typed[place]
        elif kind == 1 and len(word) > 1:
            typed[place] = ""
        elif kind == 2:
            typed[place] = _neighbour(typed[place], random)
        else:
            typed[place] *= 2
    return "".join(typed) or word


def _neighbour(key: str, random: np.random.Generator) -> str:
    """Return what lies beside a key in its row; what is on no key is typed twice."""
    row = next((row for row in _ROWS if key and key.lower() in row), "")
    if not row:
        return key * 2
    place = row.index(key.lower())
    beside = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    hit = beside[int(random.integers(len(beside)))]
    return hit.upper() if key.isupper() else hit


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


TEXT_CORRUPTIONS: Mapping[str, Callable[[Any, int, np.random.Generator], Any]] = {
    "typos": typos,
    "case": case,
    "punctuation": punctuation,
    "ocr": ocr,
}
