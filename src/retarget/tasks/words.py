"""Words of a text, by where they lie in it: what tagging predicts for."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from retarget.core.errors import UsageError


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


_Sort = Literal["letter", "lone", "symbol", "space", "control", "format", "extends", "flag"]

_ASCII_WORD = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")
_JOINER = "\u200d"
# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, Han, kana.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029"
    "\u3031-\u3035\u3038-\u303b\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9d"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
# Letters that are part of the grapheme before them: Thai and Lao am, halfwidth voicing marks.
_EXTENDING = frozenset("\u0e33\u0eb3\uff9e\uff9f\u200c\u200d")
# What belongs to the character after it: signs before Arabic numbers and the like, and signs that
# stack the next consonant.
_LEADING = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd"
    "\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011a84\U00011a85\U00011a86\U00011a87"
    "\U00011a88\U00011a89\U00011d46\U00011f02"
)
_STACKERS = frozenset("\u17d2\u1039\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")


def split_words(text: str) -> tuple[tuple[int, int], ...]:
    """Return where the words of a text lie, (start, end) in characters.

    Letters, digits and marks that touch are one word; every other character that can be seen is
    a word of its own. Scripts without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) give a word
    for each grapheme. A grapheme is never divided: combining marks, emoji with modifiers or
    joined ones, flags and key caps stay whole (Unicode Standard Annex 29, joined further where it
    is cheaper to). White space and control characters are in no word; characters of format,
    such as soft hyphens, stay with what they follow.
    """
    if text.isascii():
        return tuple(match.span() for match in _ASCII_WORD.finditer(text))
    words: list[tuple[int, int]] = []
    joins = False
    for start, end, sort in _graphemes(text):
        if sort == "letter" and joins and words[-1][1] == start:
            words[-1] = (words[-1][0], end)
        elif sort != "space":
            words.append((start, end))
        joins = sort == "letter"
    return tuple(words)


def worded(reference: "str | Worded") -> Worded:
    """Return a text with its words, split where nobody has said what they are.

    Raises `UsageError` for what is no single text.
    """
    if isinstance(reference, Worded):
        return reference
    if not isinstance(reference, str):
        raise UsageError(f"Words are found in a text, not in a {type(reference).__name__}.")
    return Worded(reference, split_words(reference))


def _graphemes(text: str) -> Iterator[tuple[int, int, Literal["letter", "lone", "space"]]]:
    """Give (start, end, whether it joins others, stands alone or can't be seen)."""
    start = 0
    for place in range(1, len(text) + 1):
        if place < len(text) and not _breaks(text, start, place):
            continue
        yield start, place, _kind(text[start:place])
        start = place


def _breaks(text: str, start: int, place: int) -> bool:
    """Whether a grapheme that began at `start` ends before the character at `place`."""
    before, here = _sort(text[place - 1]), _sort(text[place])
    if before == "control" or here == "control":
        return True
    if here == "extends":
        # After a character of format that follows nothing, a mark begins anew.
        return before == "format" and _sort(text[start]) == "format"
    if here == "format":
        return _sort(text[start]) in ("space", "format") and text[place - 1] not in _LEADING
    if text[place - 1] in _LEADING:
        return False
    if here == "flag":
        grapheme = text[start:place].lstrip("".join(_LEADING))
        return before != "flag" or len(grapheme) % 2 == 0
    # Hangul's jamo lie between the scripts that have such signs.
    if here == "letter" and "\u0900" <= text[place] <= "\u17ff" and not _is_jamo(text[place]):
        last = place - 1
        while last > start and _sort(text[last]) == "extends" and text[last] not in _STACKERS:
            last -= 1
        return text[last] not in _STACKERS
    return not (text[place - 1] == _JOINER and here == "symbol" and _sort(text[start]) != "space")


def _is_jamo(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff"


def _kind(grapheme: str) -> Literal["letter", "lone", "space"]:
    if all(_hidden(character) for character in grapheme):
        return "space"
    base = next((c for c in grapheme if not _hidden(c) and c not in _LEADING), grapheme[0])
    if grapheme[0].isspace() or _UNSPACED.match(base):
        return "lone"
    return "letter" if _sort(base) in ("letter", "extends") else "lone"


def _hidden(character: str) -> bool:
    sort = _sort(character)
    return (
        sort in ("space", "control", "format")
        or character in "\u200c\u200d"
        or ("\ufe00" <= character <= "\ufe0f" or "\U000e0020" <= character <= "\U000e01ef")
    )


@lru_cache(maxsize=1 << 14)
def _sort(character: str) -> _Sort:
    if character in _EXTENDING or "\U0001f3fb" <= character <= "\U0001f3ff":
        return "extends"
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "flag"
    category = unicodedata.category(character)
    if character in _LEADING and category == "Cf":
        return "lone"
    if category[0] == "M" or "\U000e0020" <= character <= "\U000e007f":
        return "extends"
    if category in ("Cc", "Zl", "Zp") or character == "\u200b":
        return "control"
    if character.isspace():
        return "space"
    if category == "Cf":
        return "format"
    if category[0] in "LN":
        return "letter"
    return "symbol" if category in ("So", "Sm") else "lone"
