import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.tasks.text_corruptions import TEXT_CORRUPTIONS
from retarget.tasks.words import Worded

SENTENCE = "The quick brown fox, which burns Clover; won't modernise 1000 illicit things. " * 20
NAMES = sorted(TEXT_CORRUPTIONS)


def worded(pieces: list[tuple[str, str]]) -> Worded:
    text, words = "", []
    for gap, word in pieces:
        start = len(text) + len(gap)
        text += gap + word
        words.append((start, len(text)))
    return Worded(text, tuple(words))


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.tuples(st.text(max_size=3), st.text(min_size=1, max_size=12)), max_size=8),
    severity=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("name", NAMES)
def test_words_stay_as_many_in_order_and_none_empty(
    name: str, pieces: list[tuple[str, str]], severity: int, seed: int
) -> None:
    before = worded(pieces)
    after = TEXT_CORRUPTIONS[name](before, severity, np.random.default_rng(seed))
    assert len(after.words) == len(before.words)
    last = 0
    for start, end in after.words:
        assert last <= start < end <= len(after.text)
        last = end


@settings(deadline=None, max_examples=60)
@given(text=st.text(st.characters(), max_size=60), severity=st.integers(1, 3))
@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_corrupted_alike_and_never_to_nothing(
    name: str, text: str, severity: int
) -> None:
    made = [TEXT_CORRUPTIONS[name](text, severity, np.random.default_rng(1)) for _ in range(2)]
    assert made[0] == made[1]
    assert bool(made[0].strip()) is bool(text.strip())
    pair = TEXT_CORRUPTIONS[name]((text, "b c"), severity, np.random.default_rng(1))
    assert pair[0] == made[0]


@pytest.mark.parametrize("name", NAMES)
def test_more_severe_changes_more_words(name: str) -> None:
    before = SENTENCE.split()
    spans = worded([(" ", word) for word in before])
    changed = []
    for severity in (1, 2, 3):
        after = TEXT_CORRUPTIONS[name](spans, severity, np.random.default_rng(3))
        words = [after.text[start:end] for start, end in after.words]
        changed.append(sum(a != b for a, b in zip(before, words, strict=True)))
    assert 0 < changed[0] < changed[1] < changed[2]
