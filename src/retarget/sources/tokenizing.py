"""Texts as pieces of words: a fast tokenizer, and which piece belongs to which word."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from retarget.core.errors import SourceError
from retarget.core.text import printable
from retarget.core.types import IntArray

MAX_TOKENIZER = 50_000_000  # characters; the largest known are below 35 million

Words = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pieces:
    """One text, or a pair of texts, as a model reads it.

    Attributes:
        ids: (n,) of the pieces.
        types: (n,) 0, for the second of a pair 1 where the model tells them apart.
        words: (n,) which word a piece belongs to, from 1; 0 for none.
        leading: how many pieces at the beginning are no part of the text.
        trailing: how many at the end.
    """

    ids: IntArray
    types: IntArray
    words: IntArray
    leading: int
    trailing: int


class Tokenizes(Protocol):
    """What makes pieces of texts."""

    size: int
    begins: bool

    def pieces(self, raw: Any) -> Pieces:
        """Return a text, a pair of texts or a text with words as pieces."""

    @property
    def lowercases(self) -> bool:
        """Whether it takes capital letters for small ones."""

    def to_json(self) -> str:
        """Return all that it knows, as text."""


class TextTokenizer:
    """A tokenizer of the `tokenizers` library from its JSON. Safe to use from several threads.

    Attributes:
        size: one more than the largest id that it gives.
        begins: whether a text begins with a piece that is no part of it, such as `[CLS]`.
        prompt: what is put before a text, or the first of a pair. Texts with words are read
            without: their words would have other places.
    """

    def __init__(
        self, text: str, *, lowercase: bool = False, special: bool = True, prompt: str = ""
    ) -> None:
        """Read the JSON; `lowercase` text before anything else, add `special` pieces around it.

        Raises `SourceError` for anything but a tokenizer's JSON.
        """
        self._tokenizer = _tokenizer(text)
        self._special = special
        self.prompt = prompt
        if lowercase:
            _lower_first(self._tokenizer)
        empty, pair = self.pieces(""), self.pieces(("a", "b"))
        ids = [*self._tokenizer.get_vocab(with_added_tokens=True).values(), *empty.ids, *pair.ids]
        self.size = int(max(ids, default=-1)) + 1
        if not self.size:
            raise SourceError("The tokenizer knows no pieces of words.")
        self.begins = empty.leading > 0 or pair.leading > 0

    @property
    def lowercases(self) -> bool:
        """Whether it takes capital letters for small ones."""
        return bool(np.array_equal(self.pieces("Abc").ids, self.pieces("abc").ids))

    def to_json(self) -> str:
        """Return the JSON that the `tokenizers` library reads, lowercasing included."""
        return str(self._tokenizer.to_str(pretty=True))

    def pieces(self, raw: Any) -> Pieces:
        """Return a text (`str`), a pair of texts, or a text with `words` as pieces.

        Half surrogates, which no text should hold, are read as U+FFFD.
        """
        if isinstance(raw, str):
            return self._of(self._encode(self.prompt + raw))
        if isinstance(raw, tuple):
            first, second = raw
            return self._of(self._encode(self.prompt + first, second))
        return self._with_words(raw.text, raw.words)

    def _encode(self, *texts: str, special: bool | None = None) -> Any:
        add = self._special if special is None else special
        try:
            return self._tokenizer.encode(*texts, add_special_tokens=add)
        except (UnicodeEncodeError, TypeError):
            whole = [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]
            kept = [w if len(w) == len(t) else _plain(t) for w, t in zip(whole, texts, strict=True)]
            return self._tokenizer.encode(*kept, add_special_tokens=add)

    def _of(self, found: Any) -> Pieces:
        ids = np.array(found.ids, dtype=np.int64)
        leading, trailing = _around(found.special_tokens_mask)
        types = np.array(found.type_ids, dtype=np.int64)
        return Pieces(ids, types, np.zeros_like(ids), leading, trailing)

    def _with_words(self, text: str, words: Words) -> Pieces:
        """Align pieces to words. Where a piece reaches over the border between two words the text
        is cut there first, so that every piece belongs to one word at most."""
        found = self._encode(text)
        pieces = self._of(found)
        if not words:
            return pieces
        bounds = np.array(words, dtype=np.int64)
        end = len(found.ids) - pieces.trailing
        offsets = _offsets(found)[pieces.leading : end]
        first, last = _touched(offsets, bounds)
        if not (last > first).any():
            numbers = np.zeros(len(found.ids), dtype=np.int64)
            numbers[pieces.leading : end] = np.where(last >= first, first + 1, 0)
            return Pieces(pieces.ids, pieces.types, numbers, pieces.leading, pieces.trailing)
        crossed = {int(k) for f, t in zip(first, last, strict=True) for k in range(f + 1, t + 1)}
        return self._cut(text, bounds, pieces, sorted(crossed))

    def _cut(self, text: str, bounds: IntArray, whole: Pieces, at: list[int]) -> Pieces:
        """Return the pieces of a text cut before the words `at`, or before all of them."""
        for cuts in (at, range(1, len(bounds))):
            places = [0, *(int(bounds[k, 0]) for k in cuts), len(text)]
            parts = [
                (start, self._encode(text[start:stop], special=False))
                for start, stop in pairwise(places)
            ]
            offsets = np.concatenate([_offsets(part) + start for start, part in parts])
            first, last = _touched(offsets, bounds)
            if not (last > first).any():
                break
        ids = [np.array(part.ids, dtype=np.int64) for _, part in parts]
        lead, trail = whole.leading, whole.trailing
        end = len(whole.ids) - trail
        numbers = np.where(last >= first, first + 1, 0)
        return Pieces(
            np.concatenate([whole.ids[:lead], *ids, whole.ids[end:]]),
            np.concatenate([whole.types[:lead], numbers * 0, whole.types[end:]]),
            np.concatenate([whole.ids[:lead] * 0, numbers, whole.ids[end:] * 0]),
            lead,
            trail,
        )


def _plain(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _offsets(found: Any) -> IntArray:
    return np.array(found.offsets, dtype=np.int64).reshape(-1, 2)


def _around(special: list[int]) -> tuple[int, int]:
    """Return how many pieces at the beginning and at the end are no part of a text."""
    n = len(special)
    leading = next((i for i, mark in enumerate(special) if not mark), n)
    trailing = next((i for i, mark in enumerate(reversed(special)) if not mark), n)
    if leading == n:  # nothing else: what stands first begins it
        leading = min(1, n)
        trailing = n - leading
    return leading, trailing


def _touched(offsets: IntArray, bounds: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first and the last word that each piece overlaps; the last is below the first
    where it overlaps none."""
    first = np.searchsorted(bounds[:, 1], offsets[:, 0], side="right")
    last = np.searchsorted(bounds[:, 0], offsets[:, 1], side="left") - 1
    return first, np.where(offsets[:, 1] > offsets[:, 0], last, first - 1)


def _tokenizer(text: str) -> Any:
    from tokenizers import Tokenizer

    if not isinstance(text, str) or len(text) > MAX_TOKENIZER:
        raise SourceError(f"A tokenizer is at most {MAX_TOKENIZER:,} characters of JSON.")
    try:
        made: Any = Tokenizer.from_str(text)
        made.no_truncation()
        made.no_padding()
        made.encode("a", "b")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust code is no Exception
        reason = printable(str(error).strip().partition("\n")[0])
        raise SourceError(f"The tokenizer can't be read ({reason}).") from error
    return made


def _lower_first(tokenizer: Any) -> None:
    from tokenizers import normalizers

    own = tokenizer.normalizer
    lower = normalizers.Lowercase()
    tokenizer.normalizer = normalizers.Sequence([lower, own]) if own else lower
