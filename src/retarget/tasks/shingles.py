"""Nearly equal texts: the same words written otherwise, or most of the same short runs of words.

Broder, "On the resemblance and containment of documents" (1997): a text is the set of its
shingles, runs of three words, and two texts resemble each other as the sets overlap (Jaccard).
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retarget.core.errors import UnreadableInput
from retarget.core.progress import progress
from retarget.core.types import FloatArray, IntArray, StrArray
from retarget.tasks.texts import load_text, texts_of
from retarget.tasks.words import Worded

ALIKE = 0.6
"""Least Jaccard of two texts' shingles.

Of a text of 25 words one can be another word (0.77), or two that are neighbours. Of the 9,613
sentences of SST-2 one pair is above it and differs in what it says, of 3,000 sentences of reviews
about one pair in four ("… highly recommend this (product)"); at 0.5 five and half of them are.
"""
MOST_PAIRS = 100_000
FEWEST_WORDS = 4
FEWEST_CHARACTERS = 20
"""Texts of fewer words and fewer characters are alike only if they are equal once normalised."""
SHORT = 12
"""Up to so many words a text has shingles of characters, and from `WORDED` on also of words."""
WORDED = 8
MOST_SHINGLES = 256
"""Of a longer text, those of least hash stand for all."""

_WORDS_LONG, _CHARACTERS_LONG = 3, 5
_WINDOW = 24
_CHECKED_AT_ONCE = 200_000
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(31))
_Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Sets:
    """Sets of shingles, numbered from the rarest on: row r has `of[starts[r]:starts[r + 1]]`."""

    rows: IntArray  # (m,) which texts these are
    starts: IntArray  # (m + 1,)
    of: IntArray  # (s,) ascending in every row


def near_texts(references: Sequence[Any], ids: StrArray) -> IntArray:
    """Return (p, 2) pairs of rows i < j that say nearly the same, in order; equal ids left out.

    Two texts are nearly the same where they are equal once normalised (NFKC, case folded, white
    space and punctuation taken out), or where the Jaccard of their shingles is `ALIKE` or more: of
    three words; of five characters for short texts, and for those without spaces between words.
    Of texts that are equal once normalised each is paired with the first of them, and only that
    one is compared with others. After `MOST_PAIRS` pairs it stops.

    Candidates share one of their rarest shingles, so that none is missed (prefix filtering;
    Chaudhuri, Ganti, Kaushik 2006), and each is checked on all shingles. Only where a shingle is
    in very many texts each is compared with the `_WINDOW` next in size. Memory is linear.
    """
    words = [normalised(reference) for reference in references]
    keys = ["".join(own) for own in words]
    pairs = _equal_pairs(keys, ids)
    first = {key: row for row, key in reversed(list(enumerate(keys))) if key}
    rows = np.array(sorted(first.values()), dtype=np.int64)
    long = [row for row in rows.tolist() if len(words[row]) >= WORDED]
    short = [row for row in rows.tolist() if _is_short(words[row], keys[row])]
    with progress("Comparing texts", len(long) + len(short), "texts") as meter:
        for sets in (
            _word_sets([words[row] for row in long], long),
            _character_sets([keys[row] for row in short], short),
        ):
            for a, b in _alike(sets):
                if len(pairs) >= MOST_PAIRS:
                    break
                pairs.add((min(a, b), max(a, b)))
            meter.advance(len(sets.rows))
    return np.array(sorted(pairs)[:MOST_PAIRS], dtype=np.int64).reshape(-1, 2)


def normalised(reference: Any) -> list[str]:
    """Return the words of a text in NFKC, case folded, without punctuation; [] if unreadable.

    A text that is nothing but punctuation is its own only word. The second text of a pair follows
    a mark that no text holds.
    """
    try:
        text = load_text(reference)
    except UnreadableInput:
        return []
    one = text.text if isinstance(text, Worded) else "\x1e".join(texts_of(text))
    folded = unicodedata.normalize("NFKC", one).casefold()
    return folded.translate(_BARE).split() or ["".join(folded.split())]


class _Bare(dict[int, int | None]):
    """What becomes of each character: punctuation and what can't be seen is taken out."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        goes = category[0] in "PC" and not chr(code).isspace() and category != "Co"
        self[code] = None if goes else code
        return self[code]


_BARE = _Bare({0x1E: 0xFFFF})


def _equal_pairs(keys: Sequence[str], ids: StrArray) -> set[tuple[int, int]]:
    first: dict[str, int] = {}
    pairs: set[tuple[int, int]] = set()
    for row, key in enumerate(keys):
        before = first.setdefault(key, row)
        if key and before != row and ids[before] != ids[row] and len(pairs) < MOST_PAIRS:
            pairs.add((before, row))
    return pairs


def _is_short(words: Sequence[str], key: str) -> bool:
    if len(words) < FEWEST_WORDS:
        return len(key) >= FEWEST_CHARACTERS
    return len(words) <= SHORT or len(key) > 20 * len(words)


def _word_sets(texts: Sequence[Sequence[str]], rows: Sequence[int]) -> _Sets:
    numbers: dict[str, int] = {}
    codes = (
        np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.uint64)
        for words in texts
    )
    return _sets(codes, _WORDS_LONG, rows)


def _character_sets(keys: Sequence[str], rows: Sequence[int]) -> _Sets:
    encoding = f"utf-32-{'le' if sys.byteorder == 'little' else 'be'}"
    codes = (np.frombuffer(key.encode(encoding), dtype=np.uint32).astype(np.uint64) for key in keys)
    return _sets(codes, _CHARACTERS_LONG, rows)


def _sets(texts: Iterable[_Hashes], length: int, rows: Sequence[int]) -> _Sets:
    """Return the sets of all runs of `length` codes, one set a text."""
    each = [_shingles(codes, length) for codes in texts]
    sizes = np.array([len(one) for one in each], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if not len(each):
        return _Sets(np.array(rows, dtype=np.int64), starts, np.empty(0, dtype=np.int64))
    _, number, counts = np.unique(np.concatenate(each), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    of = rank[number]
    owner = np.repeat(np.arange(len(each)), sizes)
    of = of[np.lexsort((of, owner))]
    return _Sets(np.array(rows, dtype=np.int64), starts, of)


def _shingles(codes: _Hashes, length: int) -> _Hashes:
    """Return the different hashes of all runs, 64 bits each; a shorter text is one run."""
    length = min(length, len(codes))
    count = len(codes) - length + 1
    hashed = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        hashed = (hashed ^ codes[place : place + count]) * _MIX[0]
        hashed = (hashed ^ (hashed >> _MIX[2])) * _MIX[1]
    # Sorted, so those of least hash come first.
    return np.unique(hashed)[:MOST_SHINGLES]


def _alike(sets: _Sets) -> Iterable[tuple[int, int]]:
    """Give the pairs of texts whose sets overlap enough."""
    sizes = np.diff(sets.starts)
    first, second = _candidates(sets, sizes)
    for start in range(0, len(first), _CHECKED_AT_ONCE):
        a, b = first[start : start + _CHECKED_AT_ONCE], second[start : start + _CHECKED_AT_ONCE]
        near = _jaccard(sets, sizes, a, b) >= ALIKE
        rows = np.column_stack([sets.rows[a[near]], sets.rows[b[near]]])
        yield from map(tuple, rows.tolist())


def _candidates(sets: _Sets, sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Return pairs that share one of their rarest shingles and are not too unlike in size."""
    # Sets that overlap by t share one of the first |x| - t|x| + 1 in any one order.
    taken = sizes - np.ceil(ALIKE * sizes - 1e-9).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(sets.of)) - sets.starts[owner]
    prefix = within < taken[owner]
    shingle, owner = sets.of[prefix], owner[prefix]
    order = np.lexsort((owner, sizes[owner], shingle))
    shingle, owner = shingle[order], owner[order]
    found: list[IntArray] = []
    base = np.int64(len(sizes))
    for step in range(1, _WINDOW + 1):
        same = np.flatnonzero(shingle[step:] == shingle[:-step])
        a, b = owner[same], owner[same + step]
        fits = sizes[a] >= ALIKE * sizes[b]
        a, b = a[fits], b[fits]
        if not len(same):
            break
        found.append(np.unique(np.minimum(a, b) * base + np.maximum(a, b)))
    codes = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    return codes // base, codes % base


def _jaccard(sets: _Sets, sizes: IntArray, a: IntArray, b: IntArray) -> FloatArray:
    """Return (p,) how much the sets of rows `a` and `b` overlap."""
    total = np.int64(sets.of.max(initial=0) + 1)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    known = owner * total + sets.of
    lengths = sizes[a]
    pair = np.repeat(np.arange(len(a)), lengths)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    asked = b[pair] * total + sets.of[sets.starts[a][pair] + within]
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    shared = np.bincount(pair, known[place] == asked, minlength=len(a))
    return np.asarray(shared / (sizes[a] + sizes[b] - shared))
