"""Countable parts of a text: its words and pairs of words, and pieces of its words.

They are what scikit-learn's `CountVectorizer` would count, with `ngram_range=(1, 2)` and with
`analyzer="char_wb", ngram_range=(2, 5)`.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from retarget.tasks.texts import Text, texts_of

_WORD = re.compile(r"\b\w\w+\b")
_SHORTEST, _LONGEST = 2, 5
SECOND = "2: "
"""What parts of a pair's second text begin with, so that they are counted apart."""


def text_parts(text: Text) -> Mapping[str, list[str]]:
    """Return `words` (single words of two letters or more, and neighbours) and `characters`.

    Everything is in lower case; pieces are of 2 to 5 characters, with a space before and after
    each word.
    """
    words: list[str] = []
    characters: list[str] = []
    for prefix, one in zip(("", SECOND), texts_of(text), strict=False):
        lowered = one.lower()
        words += [prefix + part for part in _word_parts(lowered)]
        characters += [prefix + part for part in _pieces(lowered)]
    return {"words": words, "characters": characters}


def _word_parts(text: str) -> list[str]:
    words = _WORD.findall(text)
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def _pieces(text: str) -> Iterator[str]:
    for word in text.split():
        padded = f" {word} "
        for size in range(_SHORTEST, _LONGEST + 1):
            for start in range(max(1, len(padded) - size + 1)):
                yield padded[start : start + size]
            if size >= len(padded):
                # Longer pieces of a short word would all be the word itself.
                break
