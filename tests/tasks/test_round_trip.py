"""Spans become tags of words and spans again, as readers and `predict` do it, in any script."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from retarget.runs.predict import Found, called
from retarget.tasks.open import open_task
from retarget.tasks.tagged import settle
from retarget.tasks.tags import SCHEMES, detect_scheme, to_spans, to_tags
from retarget.tasks.task import Task
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Span, split_words, worded

ODD = (
    "e\u0301", "👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "🇫", "1\ufe0f\u20e3", "東京", "กำ", "क्ष", "لا",
    "\u200b", "\u00ad", "\ufeff", "\u202e", "\r\n", "\u2028", "\u00a0", "ﬁ", "İ", "ß", "𝒳", "-",
)  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(ODD),
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    st.sampled_from("ab .,'"),
)
TEXTS = st.lists(PIECES, min_size=1, max_size=14).map("".join)
LABELS = st.sampled_from(["x", "y-z", "é 東", "O", "B-x"])
DRAWN = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), LABELS), max_size=5)


def _on_words(text: str, drawn: list[tuple[int, int, str]]) -> tuple[Span, ...]:
    """Return spans that begin and end with words, apart: the n-th word and some behind it."""
    words, free, spans = split_words(text), 0, []
    for skipped, size, label in drawn:
        first, behind = free + skipped % 3, free + skipped % 3 + size
        if behind > len(words):
            break
        spans.append(Span(words[first][0], words[behind - 1][1], label))
        free = behind
    return tuple(spans)


def _by_words(words: Any, spans: Any) -> list[tuple[int, int, str]]:
    """Return the first and the last word of each span, by number, with its label."""
    first = {start: i for i, (start, _) in enumerate(words)}
    last = {end: i for i, (_, end) in enumerate(words)}
    return [(first[span.start], last[span.end], span.label) for span in spans]


def _again(task: Task) -> list[tuple[Span, ...]]:
    """Return what `predict` makes of probabilities that are sure of the tags of every word."""
    rows = unfold(task)
    sure = np.full((len(rows.sentences), len(rows.task.classes)), 1e-3)
    sure[np.arange(len(sure)), rows.task.examples.targets] = 1.0
    found = called(Found(task, rows.task, rows.sentences, sure), rows.task.classes)
    for text, spans in zip(task.examples.inputs["text"], found, strict=True):
        assert all(one.text == text.text[one.start : one.end] for one in spans)
    return [tuple(Span(one.start, one.end, one.label) for one in spans) for spans in found]


@settings(deadline=None, max_examples=200)
@given(TEXTS, DRAWN)
def test_spans_on_words_come_back_from_tags_of_any_scheme(text: str, drawn: Any) -> None:
    spans = _on_words(text, drawn)
    words = split_words(text)
    assert settle(worded(text), spans) == (spans, [])
    for scheme in SCHEMES:
        tags = to_tags(words, spans, scheme)
        assert len(tags) == len(words)
        if scheme != "plain":
            assert to_spans(words, tags) == spans


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=st.lists(st.tuples(TEXTS, DRAWN), min_size=1, max_size=3))
@pytest.mark.parametrize("how", ["list", "jsonl", "utf-16"])
def test_spans_come_back_from_what_predict_says(how: str, drawn: Any, tmp_path: Path) -> None:
    texts = [text for text, _ in drawn]
    assume(all(split_words(text) for text in texts))
    spans = [_on_words(*one) for one in drawn]
    if how == "list":
        task = open_task(texts, spans, kind="tagging")
    else:
        path = tmp_path / "x.jsonl"
        records = [{"text": t, "spans": s} for t, s in zip(texts, spans, strict=True)]
        ascii_only = how == "jsonl"
        lines = (json.dumps(one, ensure_ascii=ascii_only) for one in records)
        path.write_bytes("\n".join(lines).encode("utf-8" if ascii_only else how))
        task = open_task(path)
    assert [text.text for text in task.examples.inputs["text"]] == texts
    assert task.examples.targets.tolist() == spans
    assert _again(task) == spans


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(TEXTS, DRAWN), min_size=1, max_size=3), st.sampled_from(SCHEMES[:4]))
def test_tags_of_tokens_are_the_spans_that_predict_says(drawn: Any, scheme: Any) -> None:
    tokens, tags, wanted = [], [], []
    for text, own in drawn:
        words, spans = split_words(text), _on_words(text, own)
        tokens.append([text[a:b] for a, b in words])
        tags.append(to_tags(words, spans, scheme))
        firsts, behinds = (
            {a: i for i, (a, _) in enumerate(words)},
            {b: i for i, (_, b) in enumerate(words)},
        )
        wanted.append([(firsts[s.start], behinds[s.end], s.label) for s in spans])
    assume(all(tokens) and any(wanted) and detect_scheme(tags) != "plain")
    task = open_task(tokens, tags, kind="tagging")
    for text, own_tokens, spans, expected in zip(
        task.examples.inputs["text"], tokens, _again(task), wanted, strict=True
    ):
        assert text.text == " ".join(own_tokens)
        assert _by_words(text.words, spans) == expected
