"""Rows of a tagging task: texts become texts with words, and spans come to lie on words.

Spans that people drew seldom begin and end with words. One rule settles them all: a span is
widened to the words that it shares a character with, which also takes white space off its ends;
one outside of its text, or without a word, is left out; of two that overlap the longer stays, of
two as long the earlier. What was changed is counted and named, one problem a kind. So are tags
that break their scheme, which `tags.py` repairs by reading them, and tokens with another number of
tags, which are left out.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from retarget.core.errors import UnreadableInput
from retarget.core.text import count, printable
from retarget.tasks.modalities import Corrupted
from retarget.tasks.readers import Asked, Rows
from retarget.tasks.span_cells import spans_in_cells
from retarget.tasks.tag_faults import TagFaults
from retarget.tasks.tags import OUTSIDE, chunks, detect_scheme, on_words, plain_chunks, read_tag
from retarget.tasks.targets import as_spans, is_missing, kind_of
from retarget.tasks.task import Problem
from retarget.tasks.texts import as_text, load_text
from retarget.tasks.words import Span, Worded, worded

Change = Literal["trimmed", "widened", "outside", "empty", "overlapping"]

_TOLD: Mapping[Change, tuple[str, str]] = {
    "trimmed": (
        "with white space or other invisible characters at an end",
        "They were trimmed to the words in them.",
    ),
    "widened": (
        "that end inside of a word",
        "They were widened to whole words.",
    ),
    "outside": (
        "outside of their text",
        "They were left out. Offsets count characters from 0, and the end is behind the last one.",
    ),
    "empty": (
        "without a word",
        "They were left out.",
    ),
    "overlapping": (
        "that overlap another",
        "A word has one tag, so the longer one was kept, of two as long the earlier.",
    ),
}


_NUMBERED = "its tags are numbers without names: each labels one word, 0 too"


@dataclass
class _Changes:
    """What was done to spans: kind of change → (name of the example, what the span says)."""

    found: dict[Change, list[tuple[str, str]]] = field(default_factory=dict)

    def note(self, change: Change, name: str, text: str, span: Span) -> None:
        """Remember one change."""
        shown = printable(f"{text[max(span.start, 0) : span.end]!r} as {span.label}", 60)
        self.found.setdefault(change, []).append((name, shown))

    def problems(self) -> tuple[Problem, ...]:
        """Return one problem for each kind of change."""
        problems = []
        for change, (what, done) in _TOLD.items():
            if change in self.found:
                named = self.found[change]
                where, example = named[0]
                problems.append(
                    Problem(
                        "bad-target",
                        tuple(dict.fromkeys(name for name, _ in named)),
                        f"{count(len(named), 'span')} {what} (such as {example},"
                        f" {printable(where)}). {done}",
                    )
                )
        return tuple(problems)


def as_tagging(rows: Rows, asked: Asked) -> Rows:
    """Return rows of a tagging task with `Worded` texts and settled spans; others as they are.

    Rows are of tagging where that was asked for or a reader said so; else where labels are lists
    of (start, end, label), also as JSON in a cell; else where every text is a list of tokens and
    every label, or at least half of them, a list of as many tags. Tags may be whole numbers: each
    is then the label of one word, 0 too; below 0, and where there is none, a word has no label.
    Lists of tokens become texts with a space between two.
    """
    if dict(rows.modalities) != {"text": "text"}:
        return rows
    references = [_tokens(_listed(reference)) for reference in rows.inputs["text"]]
    written = spans_in_cells([_listed(label) for label in rows.labels])
    numbered = any(map(_is_numbered, references, written))
    written = [
        _as_tags(one, label, numbered) for one, label in zip(references, written, strict=True)
    ]
    kind = asked.kind or rows.kind
    if kind is None and not _are_tagged_tokens(references, written):
        kind = kind_of([label for label in written if not is_missing(label)])[0]
    if kind not in (None, "tagging"):
        return rows
    if numbered:
        rows = replace(rows, why="; ".join(filter(None, (rows.why, _NUMBERED))))
    if misfits := _misfits(references, written):
        rows = _without(rows, misfits, references, written)
        references = [one for i, one in enumerate(references) if i not in misfits]
        written = [one for i, one in enumerate(written) if i not in misfits]
    texts = [_with_words(reference) for reference in references]
    labels, faults = _spans_of_tags(references, texts, written, rows.names)
    changes = _Changes()
    settled = [
        _settled(text, label, name, changes)
        for text, label, name in zip(texts, labels, rows.names, strict=True)
    ]
    return replace(
        rows,
        inputs={"text": texts},
        labels=settled,
        kind="tagging",
        problems=(*rows.problems, *faults, *changes.problems()),
    )


def settle(
    text: Worded, spans: Iterable[Span]
) -> tuple[tuple[Span, ...], list[tuple[Change, Span]]]:
    """Return spans on whole words, in order and apart, and what was changed, by the rule above."""
    changed: list[tuple[Change, Span]] = []
    moved: dict[Span, Span] = {}
    starts = [start for start, _ in text.words]
    ends = [end for _, end in text.words]
    for span in spans:
        if not 0 <= span.start <= span.end <= len(text.text):
            changed.append(("outside", span))
            continue
        first, behind = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if span.start == span.end or first >= behind:
            changed.append(("empty", span))
            continue
        on = Span(starts[first], ends[behind - 1], span.label)
        if on.start < span.start or on.end > span.end:
            changed.append(("widened", span))
        elif on != span:
            changed.append(("trimmed", span))
        moved.setdefault(on, span)
    kept: list[Span] = []
    for on in sorted(moved, key=lambda one: (one.start - one.end, one)):
        place = bisect_left(kept, on)
        if any(on.start < other.end and other.start < on.end for other in kept[_beside(place)]):
            changed.append(("overlapping", moved[on]))
        else:
            kept.insert(place, on)
    return tuple(kept), changed


def _beside(place: int) -> slice:
    return slice(max(place - 1, 0), place + 1)


def from_tokens(tokens: Sequence[str]) -> Worded:
    """Return a text of tokens with a space between two; its words are the tokens that show."""
    words = []
    start = 0
    for token in tokens:
        if token.strip():
            words.append((start, start + len(token)))
        start += len(token) + 1
    return Worded(" ".join(tokens), tuple(words))


def _with_words(reference: Any) -> Any:
    """Return a reference with its words; what can't be read stays, and identifying it says why."""
    if isinstance(reference, Corrupted):
        return replace(reference, reference=_with_words(reference.reference))
    if _is_tokens(reference):
        reference = from_tokens([as_text(token) for token in reference])
    try:
        text = load_text(reference)
    except UnreadableInput:
        return reference
    return text if isinstance(text, tuple) else worded(text)


def _settled(reference: Any, label: Any, name: str, changes: _Changes) -> Any:
    """Return the settled spans of one example; a label that is no spans as it is."""
    while isinstance(reference, Corrupted):
        reference = reference.reference
    spans = None if is_missing(label) else as_spans(label)
    if spans is None or not isinstance(reference, Worded):
        return label
    kept, changed = settle(reference, spans)
    for change, span in changed:
        changes.note(change, name, reference.text, span)
    return kept


def _listed(value: Any) -> Any:
    """Return an array in a cell, as Parquet and frames hold lists, as a list."""
    return value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value


def _tokens(reference: Any) -> Any:
    """Return a list of tokens with numbers among them as text, and nothing as an empty token."""
    if not isinstance(reference, list) or not any(isinstance(one, str) for one in reference):
        return reference
    tokens = [as_text(one) for one in reference]
    return tokens if _is_tokens(tokens) else reference


def _is_numbered(reference: Any, label: Any) -> bool:
    """Whether a label is as many whole numbers as there are tokens, or nothing at some."""
    return (
        _is_tokens(reference)
        and isinstance(label, list)
        and len(label) == len(reference)
        and any(map(_is_whole, label))
        and all(one is None or _is_whole(one) for one in label)
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _as_tags(reference: Any, label: Any, numbered: bool) -> Any:
    """Return what stands beside tokens as tags, where it is a number, a name or nothing for each;
    where tags are `numbered` also what is more or less than the tokens."""
    if not _is_tokens(reference) or not isinstance(label, (list, tuple)):
        return label
    if len(label) != len(reference) and not numbered:
        return label
    if not all(one is None or isinstance(one, str) or _is_whole(one) for one in label):
        return label
    return [_tag(one) for one in label]


def _tag(value: Any) -> str:
    nothing = value is None or (not isinstance(value, str) and value < 0)
    return OUTSIDE if nothing else str(value)


def _is_tokens(reference: Any) -> bool:
    return isinstance(reference, (list, tuple)) and all(isinstance(one, str) for one in reference)


def _are_tagged_tokens(references: Sequence[Any], labels: Sequence[Any]) -> bool:
    """Whether all texts are lists of tokens, and at least half of the labels lists of as many tags.

    Pairs of texts with two labels each look alike, so among lists of two alone tags must have
    the form of tags. Where some lists of tags are shorter or longer, most must not be of two.
    """
    if not all(map(_is_tokens, references)):
        return False
    told = [
        (reference, label)
        for reference, label in zip(references, labels, strict=True)
        if not is_missing(label)
    ]
    if not told or not all(_is_tokens(label) for _, label in told):
        return False
    fitting = [(reference, label) for reference, label in told if len(reference) == len(label)]
    if fitting and all(read_tag(tag) for _, label in fitting for tag in label):
        return 2 * len(fitting) >= len(told)
    if len(fitting) == len(told):
        return any(len(reference) != 2 for reference in references)
    apart = sum(len(reference) != 2 for reference, _ in fitting)
    return 2 * len(fitting) > len(told) and 2 * apart > len(fitting)


def _misfits(references: Sequence[Any], labels: Sequence[Any]) -> frozenset[int]:
    """Return which lists of tokens have another number of tags.

    No tags at all are no spans, unless others have some.
    """
    tokens = [i for i, one in enumerate(references) if _is_tokens(one) and _is_tokens(labels[i])]
    tagged = any(len(labels[i]) for i in tokens)
    return frozenset(i for i in tokens if tagged and len(references[i]) != len(labels[i]))


def _without(
    rows: Rows, misfits: frozenset[int], references: Sequence[Any], labels: Sequence[Any]
) -> Rows:
    """Return rows without those whose tags don't fit their tokens, counted and named."""
    kept = [i for i in range(len(rows.names)) if i not in misfits]
    first = min(misfits)
    named = tuple(rows.names[i] for i in sorted(misfits))
    what = (
        f"{count(len(misfits), 'example')} with another number of tags than of tokens (such as"
        f" {printable(named[0])}, with {count(len(references[first]), 'token')} and"
        f" {count(len(labels[first]), 'tag')}), left out."
    )

    def some(column: Sequence[Any] | None) -> Sequence[Any] | None:
        return None if column is None else [column[i] for i in kept]

    return replace(
        rows,
        names=[rows.names[i] for i in kept],
        inputs={name: [column[i] for i in kept] for name, column in rows.inputs.items()},
        labels=[rows.labels[i] for i in kept],
        splits=some(rows.splits),
        groups=some(rows.groups),
        domains=some(rows.domains),
        weights=some(rows.weights),
        problems=(*rows.problems, Problem("bad-row", named, what, left_out=True)),
    )


def _spans_of_tags(
    references: Sequence[Any], texts: Sequence[Any], labels: Sequence[Any], names: Sequence[str]
) -> tuple[Sequence[Any], list[Problem]]:
    """Return labels that are lists of tags, one a word, as spans, others as they are; and what is
    wrong with the tags."""
    places = [
        i
        for i, (reference, text, label) in enumerate(zip(references, texts, labels, strict=True))
        if isinstance(text, Worded)
        and _is_tokens(label)
        and len(label) == (len(reference) if _is_tokens(reference) else len(text.words))
    ]
    if not places:
        return labels, []
    visible = {i: _visible(references[i], labels[i]) for i in places}
    faults = TagFaults(detect_scheme(visible.values()))
    for i, tags in visible.items():
        faults.look_at(tags, _in_row(names[i]))
    read = plain_chunks if faults.scheme == "plain" else chunks
    spans = {i: on_words(texts[i].words, read(visible[i])) for i in places}
    return [spans.get(i, label) for i, label in enumerate(labels)], faults.problems()


def _in_row(name: str) -> Callable[[int], str]:
    """Return that every tag of a row stands in it."""
    return lambda _: name


def _visible(reference: Any, tags: Sequence[str]) -> Sequence[str]:
    """Return the tags of tokens that show, which alone are words."""
    if not _is_tokens(reference):
        return tags
    return [tag for token, tag in zip(reference, tags, strict=True) if token.strip()]
