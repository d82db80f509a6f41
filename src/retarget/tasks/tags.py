"""Tags of words (IOB1, IOB2, BIOES and its kin) and the spans that they stand for.

One rule reads them all, valid or not: a span of a type begins at B, S and U, and at any other tag
that does not go on with an open span of its type; it ends behind E, L, S and U, and before
whatever does not go on with it. So a sequence that breaks its scheme is repaired by reading it:
an I of no open span begins one. It is the rule of seqeval's `get_entities`, which is that of
CoNLL's own script. A scheme is needed only to say what is broken, and to write.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from retarget.core.errors import UsageError
from retarget.core.text import printable
from retarget.tasks.words import Span

Scheme = Literal["IOB1", "IOB2", "BIOES", "BILOU", "plain"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
OUTSIDE = "O"
NOTHING = ("", "O", "_")
UNNAMED = "_"
# Columns in which fewer tags than this have a tag's form hold one label a word.
MOSTLY_TAGS = 0.9
# How each scheme's letters are read: begin, inside, end, single.
_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}


class Tag(NamedTuple):
    """A tag taken apart: B, I, E or S and the type; `part` is "O" outside, with no type."""

    part: str
    label: str


class Chunk(NamedTuple):
    """Words `first` to `last`, both in it, that make up one span."""

    first: int
    last: int
    label: str


def read_tag(written: str) -> Tag | None:
    """Return a tag taken apart at its first hyphen, `None` for what has not the form of a tag.

    A bare `B` or `I` is of a type called `_`.
    """
    if written in NOTHING:
        return Tag(OUTSIDE, "")
    letter, hyphen, label = written.partition("-")
    if letter not in _LETTERS or (hyphen and not label):
        return None
    return Tag(_LETTERS[letter], label or UNNAMED)


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that all the tags of a data set are written in.

    Fewer than nine tenths of the tags other than O have the form of a tag: plain, one label a
    word. Any E, S, L, U or M: BIOES (BILOU with L or U). Else IOB1 where spans begin with I more
    often than with a B that IOB1 would not write (it writes B only behind a span of the same
    type). Else IOB2.
    """
    tagged = formed = begun = opened = 0
    letters: set[str] = set()
    for written in sequences:
        before = Tag(OUTSIDE, "")
        for text in written:
            tag = read_tag(text)
            tagged += text not in NOTHING
            if tag is None:
                before = Tag(OUTSIDE, "")
                continue
            if tag.part != OUTSIDE:
                formed += 1
                letters.add(text[0])
                fresh = before.label != tag.label
                begun += fresh and tag.part == "B"
                opened += fresh and tag.part == "I"
            before = tag
    if formed < MOSTLY_TAGS * tagged:
        return "plain"
    if letters & set("LU"):
        return "BILOU"
    if letters & set("ESM"):
        return "BIOES"
    return "IOB1" if opened > begun else "IOB2"


def chunks(tags: Sequence[str]) -> tuple[Chunk, ...]:
    """Return the runs of words that tags of any scheme but plain make spans of.

    What has not the form of a tag is outside.
    """
    found: list[Chunk] = []
    before = Tag(OUTSIDE, "")
    for place, written in enumerate(tags):
        tag = read_tag(written) or Tag(OUTSIDE, "")
        if tag.part != OUTSIDE:
            if _goes_on(before, tag):
                found[-1] = Chunk(found[-1].first, place, tag.label)
            else:
                found.append(Chunk(place, place, tag.label))
        before = tag
    return tuple(found)


def plain_chunks(labels: Sequence[str]) -> tuple[Chunk, ...]:
    """Return a run of one word for every label but "", O and _."""
    return tuple(
        Chunk(place, place, label) for place, label in enumerate(labels) if label not in NOTHING
    )


def broken(tags: Sequence[str], scheme: Scheme) -> tuple[int, ...]:
    """Return the places of tags that may not stand where they do.

    IOB2: I that goes on with nothing. IOB1: B behind no span of its type. BIOES and BILOU: I or
    E that goes on with nothing, and B or I with which nothing goes on. Plain: none.
    """
    if scheme == "plain":
        return ()
    read = [read_tag(written) or Tag(OUTSIDE, "") for written in tags]
    found: set[int] = set()
    before = Tag(OUTSIDE, "")
    for place, tag in enumerate([*read, Tag(OUTSIDE, "")]):
        goes_on = _goes_on(before, tag)
        if scheme == "IOB1":
            if tag.part == "B" and before.label != tag.label:
                found.add(place)
        elif tag.part in ("I", "E") and not goes_on:
            found.add(place)
        if scheme in ("BIOES", "BILOU") and before.part in ("B", "I") and not goes_on:
            found.add(place - 1)
        before = tag
    return tuple(sorted(found))


def to_spans(words: Sequence[tuple[int, int]], tags: Sequence[str]) -> tuple[Span, ...]:
    """Return the spans that tags of words stand for, by the rule of this file.

    Args:
        words: (start, end) of each, in characters.
        tags: one a word, in any scheme but plain.
    """
    return on_words(words, chunks(tags))


def on_words(words: Sequence[tuple[int, int]], runs: Iterable[Chunk]) -> tuple[Span, ...]:
    """Return where runs of words lie in the text."""
    return tuple(Span(words[run.first][0], words[run.last][1], run.label) for run in runs)


def to_tags(
    words: Sequence[tuple[int, int]], spans: Iterable[Span], scheme: Scheme = "IOB2"
) -> list[str]:
    """Return one tag a word.

    Args:
        words: (start, end) of each, in order.
        spans: not overlapping; a word is of the span that it shares a character with.
        scheme: IOB1, IOB2, BIOES or BILOU; plain writes the label alone, on every word.

    Raises `UsageError` for another scheme.
    """
    if scheme not in SCHEMES:
        raise UsageError(
            f"There is no scheme of tags {printable(repr(scheme))}. Choose from"
            f" {', '.join(SCHEMES)}."
        )
    tags = [OUTSIDE] * len(words)
    word = 0
    last = Chunk(-1, -1, "")
    for span in sorted(spans):
        while word < len(words) and words[word][1] <= span.start:
            word += 1
        first = word
        while word < len(words) and words[word][0] < span.end:
            word += 1
        if word > first:
            run = Chunk(first, word - 1, span.label)
            touches = last.last == first - 1 and last.label == span.label
            tags[first:word] = _written(run, scheme, touches)
            last = run
    return tags


def _goes_on(before: Tag, tag: Tag) -> bool:
    return before.part in ("B", "I") and tag.part in ("I", "E") and before.label == tag.label


def _written(run: Chunk, scheme: Scheme, touches: bool) -> list[str]:
    size = run.last - run.first + 1
    if scheme == "plain":
        return [run.label] * size
    if scheme in ("IOB1", "IOB2"):
        letters = ["B" if scheme == "IOB2" or touches else "I"] + ["I"] * (size - 1)
    else:
        single, end = ("S", "E") if scheme == "BIOES" else ("U", "L")
        letters = [single] if size == 1 else ["B", *["I"] * (size - 2), end]
    return [f"{letter}-{run.label}" for letter in letters]
